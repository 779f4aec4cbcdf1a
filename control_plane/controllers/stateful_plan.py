"""What a StatefulSet does next, and what its status says; pure.

OrderedReady: pods come in the order of their ordinals, each when its predecessor is available, and go in the reverse
order, one at a time. Parallel: all at once. Scaling comes before updating. Upstream:
`pkg/controller/statefulset/stateful_set_control.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from argosy.objects import intstr, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import history
from control_plane.controllers import pods as podlib
from control_plane.controllers import stateful_pods as members

ClaimOf = Callable[[str], JsonObject | None]
"""A claim of the set's namespace by its name."""


class Action(Enum):
    CREATE = "create"
    """The pod's claims, then the pod."""
    CLAIMS = "claims"
    """Claims that are missing, and owners of claims by the retention policy."""
    UPDATE = "update"
    """Labels, volumes and claims of a pod that lost them."""
    DELETE = "delete"


@dataclass(frozen=True)
class Step:
    action: Action
    pod: JsonObject


@dataclass
class Plan:
    """Phases one after the other; the steps of one phase together. A failure ends it."""

    phases: list[list[Step]] = field(default_factory=list)
    updating: list[JsonObject] = field(default_factory=list)
    """Pods that go for an update: those of the last phase."""


@dataclass(frozen=True)
class Revisions:
    current: JsonObject
    update: JsonObject


def plan(set_: JsonObject, revisions: Revisions, pods: Sequence[JsonObject], claim_of: ClaimOf, now: float) -> Plan:
    """`pods` are those that the set controls."""
    result = Plan()
    if meta.is_deleting(set_):
        return result
    replicas, condemned = split(set_, revisions, pods)
    monotonic = not members.is_parallel(set_)
    steps, blocked = _for_replicas(set_, replicas, claim_of, monotonic, now)
    result.phases.append(steps)
    if blocked:
        return result
    owners = [Step(Action.CLAIMS, pod) for pod in condemned if not _claims_match(set_, pod, claim_of)]
    steps, blocked = _for_condemned(set_, replicas, condemned, monotonic, now)
    result.phases += [owners, steps]
    if blocked or (meta.spec(set_).get("updateStrategy") or {}).get("type") == "OnDelete":
        return result
    result.updating = _to_update(set_, revisions, replicas, now)
    result.phases.append([Step(Action.DELETE, pod) for pod in result.updating])
    return result


def split(
    set_: JsonObject, revisions: Revisions, pods: Sequence[JsonObject]
) -> tuple[list[JsonObject], list[JsonObject]]:
    """(a pod for each wanted ordinal, made up where there is none; pods beyond them, highest ordinal first)."""
    start = members.start_ordinal(set_)
    by_ordinal: dict[int, JsonObject] = {}
    condemned = []
    for pod in pods:
        ordinal = members.ordinal_of(pod)
        if members.in_range(set_, pod):
            by_ordinal[ordinal] = pod
        elif ordinal >= 0:
            condemned.append(pod)
    replicas = [
        by_ordinal.get(ordinal) or _new_pod(set_, revisions, ordinal)
        for ordinal in range(start, start + members.wanted(set_))
    ]
    return replicas, sorted(condemned, key=members.ordinal_of, reverse=True)


def _new_pod(set_: JsonObject, revisions: Revisions, ordinal: int) -> JsonObject:
    """By the update revision, but below the partition by the current one."""
    strategy = meta.spec(set_).get("updateStrategy") or {}
    rolling, start = strategy.get("rollingUpdate"), members.start_ordinal(set_)
    if rolling is not None:
        below = start + int(rolling.get("partition") or 0)
    elif strategy.get("type") == "RollingUpdate":
        below = start + int(meta.status(set_).get("currentReplicas") or 0)
    else:
        below = 0
    revision = revisions.current if ordinal < below else revisions.update
    return members.new_pod(history.restored(set_, revision), ordinal, meta.name(revision))


def exists(pod: JsonObject) -> bool:
    return bool(meta.uid(pod))


def _claims_match(set_: JsonObject, pod: JsonObject, claim_of: ClaimOf) -> bool:
    """A claim that is missing is no mismatch: only a pod that still waits has it made again."""
    found = (claim_of(name) for name in members.claim_names(set_, pod))
    return all(claim is None or members.claim_owners(set_, pod, claim) is None for claim in found)


def _for_replicas(
    set_: JsonObject, replicas: Sequence[JsonObject], claim_of: ClaimOf, monotonic: bool, now: float
) -> tuple[list[Step], bool]:
    """(steps, nothing more is to be done now)."""
    steps: list[Step] = []
    for pod in replicas:
        if podlib.is_terminal(pod):
            # Whatever its exit code: a finished pod is made anew, once it is gone.
            if not meta.is_deleting(pod):
                steps.append(Step(Action.DELETE, pod))
            if monotonic:
                return steps, True
            continue
        if not exists(pod):
            found = (claim_of(name) for name in members.claim_names(set_, pod))
            if not any(claim is not None and members.is_stale(set_, meta.name(pod), claim) for claim in found):
                steps.append(Step(Action.CREATE, pod))
            if monotonic:
                return steps, True
            continue
        if meta.status(pod).get("phase", "Pending") == "Pending":
            missing = any(claim_of(name) is None for name in members.claim_names(set_, pod))
            if missing or not _claims_match(set_, pod, claim_of):
                steps.append(Step(Action.CLAIMS, pod))
        if monotonic and not members.is_available(set_, pod, now):
            return steps, True
        matching = members.identity_matches(set_, pod) and members.storage_matches(set_, pod)
        if not meta.is_deleting(pod) and (not matching or not _claims_match(set_, pod, claim_of)):
            steps.append(Step(Action.UPDATE, pod))
    return steps, False


def _for_condemned(
    set_: JsonObject, replicas: Sequence[JsonObject], condemned: Sequence[JsonObject], monotonic: bool, now: float
) -> tuple[list[Step], bool]:
    """Parallel: all at once. Ordered: the highest, when all others are available, or it is itself the first that is
    not."""
    if not monotonic:
        return [Step(Action.DELETE, pod) for pod in condemned if not meta.is_deleting(pod)], False
    if not condemned:
        return [], False
    first = condemned[0]
    if meta.is_deleting(first):
        return [], True
    unavailable = [pod for pod in (*replicas, *reversed(condemned)) if not members.is_available(set_, pod, now)]
    if not members.is_available(set_, first, now) and unavailable and unavailable[0] is not first:
        return [], True
    return [Step(Action.DELETE, first)], True


def max_unavailable(set_: JsonObject) -> int:
    rolling = (meta.spec(set_).get("updateStrategy") or {}).get("rollingUpdate") or {}
    value = rolling.get("maxUnavailable")
    return 1 if value is None else max(1, intstr.scaled(value, members.wanted(set_), round_up=False))


def _to_update(
    set_: JsonObject, revisions: Revisions, replicas: Sequence[JsonObject], now: float
) -> list[JsonObject]:
    """Highest ordinals first, as many as may be away; a pod that is away already costs nothing."""
    rolling = (meta.spec(set_).get("updateStrategy") or {}).get("rollingUpdate") or {}
    partition = int(rolling.get("partition") or 0)
    away = [not members.is_available(set_, pod, now) for pod in replicas]
    room = max_unavailable(set_) - sum(away)
    chosen = []
    for index in range(len(replicas) - 1, partition - 1, -1):
        pod = replicas[index]
        old = members.revision_of(pod) != meta.name(revisions.update)
        if not exists(pod) or not old or meta.is_deleting(pod) or podlib.is_terminal(pod):
            continue
        if away[index]:
            chosen.append(pod)
        elif room > 0:
            chosen.append(pod)
            room -= 1
    return chosen


def status(
    set_: JsonObject, revisions: Revisions, collisions: int, pods: Sequence[JsonObject],
    updating: Sequence[JsonObject], now: float,
) -> JsonObject:  # fmt: skip
    """`updating` are pods that were just deleted for an update and are still in `pods`."""
    min_ready_s = int(meta.spec(set_).get("minReadySeconds", 0))
    current, update = meta.name(revisions.current), meta.name(revisions.update)
    gone = {meta.uid(pod) for pod in updating}
    staying = [pod for pod in pods if not meta.is_deleting(pod) and meta.uid(pod) not in gone]
    ready = [pod for pod in pods if members.is_ready(pod)]
    counts = {
        "replicas": len(pods),
        "readyReplicas": len(ready),
        "availableReplicas": sum(podlib.available_in(pod, min_ready_s, now) == 0 for pod in ready),
        "currentReplicas": sum(members.revision_of(pod) == current for pod in staying),
        "updatedReplicas": sum(members.revision_of(pod) == update for pod in staying),
    }
    wanted = members.wanted(set_)
    rolling = (meta.spec(set_).get("updateStrategy") or {}).get("type") == "RollingUpdate"
    if rolling and counts["updatedReplicas"] == counts["readyReplicas"] == counts["replicas"] == wanted:
        counts["currentReplicas"], current = counts["updatedReplicas"], update
    result: JsonObject = {
        "observedGeneration": meta.generation(set_),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": collisions,
    }
    result |= {name: count for name, count in counts.items() if count or name in ("replicas", "availableReplicas")}
    kept = meta.status(set_).get("conditions")
    if kept:
        result["conditions"] = kept
    return result


def next_available_s(set_: JsonObject, pods: Sequence[JsonObject], now: float) -> float | None:
    """Seconds until the next ready pod counts as available; nothing else would wake the controller then."""
    min_ready_s = int(meta.spec(set_).get("minReadySeconds", 0))
    waits = [wait for pod in pods if (wait := podlib.available_in(pod, min_ready_s, now))]
    return min(waits) + 0.05 if waits else None
