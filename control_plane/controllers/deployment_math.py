"""The arithmetic of rolling updates: pure functions over a Deployment and its ReplicaSets.

Upstream: `pkg/controller/deployment/util/deployment_util.go`, `rolling.go`, `sync.go`. Scales are returned as
`Scale` values; the controller writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from argosy.objects import intstr, meta
from argosy.objects.types import JsonObject
from control_plane.controllers.equality import bare

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
TEMPLATE_HASH = "pod-template-hash"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ROLLBACK_TO = "deprecated.deployment.rollback.to"
NOT_COPIED = (LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO)
MAX_HISTORY_CHARS = 2000


class Scale(NamedTuple):
    replica_set: JsonObject
    replicas: int


def wanted(obj: JsonObject) -> int:
    """spec.replicas of a Deployment or a ReplicaSet."""
    value = meta.spec(obj).get("replicas")
    return 1 if value is None else int(value)


def available(replica_set: JsonObject) -> int:
    return int(meta.status(replica_set).get("availableReplicas", 0))


def total_wanted(sets: Sequence[JsonObject]) -> int:
    return sum(wanted(each) for each in sets)


def total(sets: Sequence[JsonObject], field: str) -> int:
    return sum(int(meta.status(each).get(field, 0)) for each in sets)


def strategy(deployment: JsonObject) -> str:
    return str((meta.spec(deployment).get("strategy") or {}).get("type", "RollingUpdate"))


def is_rolling(deployment: JsonObject) -> bool:
    return strategy(deployment) == "RollingUpdate"


def limits(deployment: JsonObject) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods. Both may not be 0; maxUnavailable is at most the wanted number."""
    if not is_rolling(deployment):
        return 0, 0
    rolling = meta.spec(deployment).get("strategy", {}).get("rollingUpdate") or {}
    replicas = wanted(deployment)
    surge = intstr.scaled(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = intstr.scaled(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def min_available(deployment: JsonObject) -> int:
    return wanted(deployment) - limits(deployment)[1] if is_rolling(deployment) else 0


def annotated(replica_set: JsonObject, annotation: str) -> int | None:
    try:
        return int(meta.annotations(replica_set)[annotation])
    except (KeyError, ValueError):
        return None


def revision(obj: JsonObject) -> int:
    return annotated(obj, REVISION) or 0


def by_creation(sets: Sequence[JsonObject]) -> list[JsonObject]:
    """Oldest first."""
    return sorted(sets, key=lambda each: (str(meta.metadata(each).get("creationTimestamp", "")), meta.name(each)))


def active(sets: Sequence[JsonObject]) -> list[JsonObject]:
    """Those that want pods."""
    return [each for each in sets if wanted(each) > 0]


def same_template(a: JsonObject, b: JsonObject) -> bool:
    """Equal pod templates, their hash label aside."""
    return _without_hash(a) == _without_hash(b)


def _without_hash(template: JsonObject) -> object:
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != TEMPLATE_HASH}
    return bare({**template, "metadata": {**metadata, "labels": labels}})


def split(deployment: JsonObject, sets: Sequence[JsonObject]) -> tuple[JsonObject | None, list[JsonObject]]:
    """(the ReplicaSet of the present template, all others): with several equal ones the oldest is the new one."""
    template = meta.spec(deployment)["template"]
    ordered = by_creation(sets)
    new = next((each for each in ordered if same_template(meta.spec(each)["template"], template)), None)
    return new, [each for each in ordered if new is None or meta.uid(each) != meta.uid(new)]


def new_set_replicas(deployment: JsonObject, sets: Sequence[JsonObject], new: JsonObject | None) -> int:
    """What the new ReplicaSet may be scaled up to now. `sets` are all, `new` included."""
    target, current = wanted(deployment), 0 if new is None else wanted(new)
    if not is_rolling(deployment):
        return target
    room = target + limits(deployment)[0] - total_wanted(sets)
    return current if room <= 0 else current + min(room, target - current)


def scale_down_old(deployment: JsonObject, sets: Sequence[JsonObject], new: JsonObject) -> list[Scale]:
    """Steps that keep enough pods available: first pods that are not available anyway, then the oldest sets."""
    old = [each for each in by_creation(sets) if meta.uid(each) != meta.uid(new)]
    if not total_wanted(old):
        return []
    least = min_available(deployment)
    new_unavailable = wanted(new) - available(new)
    most = total_wanted(sets) - least - new_unavailable
    if most <= 0:
        return []
    replicas = {meta.uid(each): wanted(each) for each in old}
    cleaned = 0
    for each in old:
        surplus = min(most - cleaned, wanted(each) - available(each))
        if surplus > 0:
            replicas[meta.uid(each)] -= surplus
            cleaned += surplus
    spare = total(sets, "availableReplicas") - least
    for each in old:
        step = min(replicas[meta.uid(each)], spare)
        if step > 0:
            replicas[meta.uid(each)] -= step
            spare -= step
    return [Scale(each, replicas[meta.uid(each)]) for each in old if replicas[meta.uid(each)] != wanted(each)]


def is_saturated(deployment: JsonObject, new: JsonObject | None) -> bool:
    """The new ReplicaSet has all wanted pods, available."""
    target = wanted(deployment)
    return (
        new is not None
        and wanted(new) == target
        and annotated(new, DESIRED_REPLICAS) == target
        and available(new) == target
    )


def is_scaling_event(deployment: JsonObject, sets: Sequence[JsonObject]) -> bool:
    """spec.replicas changed since the ReplicaSets were last scaled."""
    target = wanted(deployment)
    desired = [annotated(each, DESIRED_REPLICAS) for each in active(sets)]
    return any(value is not None and value != target for value in desired)


def rescale(deployment: JsonObject, new: JsonObject | None, old: Sequence[JsonObject]) -> list[Scale]:
    """The steps of a change of spec.replicas: in the middle of a rollout every ReplicaSet gets its share.

    Steps that keep the size are there too: their annotations say which change they have seen.
    """
    target = wanted(deployment)
    sets = [*old, new] if new is not None else list(old)
    alive = active(sets)
    if len(alive) <= 1:
        only = alive[0] if alive else new or (by_creation(old)[-1] if old else None)
        return [] if only is None else [Scale(only, target)]
    if is_saturated(deployment, new):
        return [Scale(each, 0) for each in by_creation(active(old))]
    if not is_rolling(deployment):
        return []
    return _proportionally(deployment, alive)


def _proportionally(deployment: JsonObject, alive: Sequence[JsonObject]) -> list[Scale]:
    target = wanted(deployment)
    allowed = target + limits(deployment)[0] if target > 0 else 0
    to_add = allowed - total_wanted(alive)
    newest_first = by_creation(alive)
    if to_add > 0:
        newest_first.reverse()
    ordered = sorted(newest_first, key=lambda each: -wanted(each))
    sizes: list[int] = []
    added = 0
    for each in ordered:
        share = _share(deployment, each, to_add - added) if to_add else 0
        sizes.append(wanted(each) + share)
        added += share
    if to_add:
        sizes[0] = max(0, sizes[0] + to_add - added)
    return [Scale(each, size) for each, size in zip(ordered, sizes, strict=True)]


def _share(deployment: JsonObject, replica_set: JsonObject, rest: int) -> int:
    """What of `rest` goes to one ReplicaSet, by its part of the deployment before the change."""
    size, target = wanted(replica_set), wanted(deployment)
    if not size or not rest:
        return 0
    if not target:
        fraction = -size
    else:
        before = annotated(replica_set, MAX_REPLICAS) or int(meta.status(deployment).get("replicas", 0)) or size
        after = target + limits(deployment)[0]
        fraction = _rounded(size * after, before) - size
    return min(fraction, rest) if rest > 0 else max(fraction, rest)


def _rounded(numerator: int, denominator: int) -> int:
    """Half away from zero; both are positive."""
    return (2 * numerator + denominator) // (2 * denominator)


def replica_annotations(deployment: JsonObject) -> dict[str, str]:
    target = wanted(deployment)
    return {DESIRED_REPLICAS: str(target), MAX_REPLICAS: str(target + limits(deployment)[0])}


def new_set_annotations(deployment: JsonObject, new: JsonObject | None, revision_: int) -> dict[str, str]:
    """The annotations of the new ReplicaSet: the deployment's own, its scale, and its revision with its history."""
    result = dict(meta.annotations(new)) if new is not None else {}
    result |= {key: text for key, text in meta.annotations(deployment).items() if key not in NOT_COPIED}
    before = result.get(REVISION, "")
    old_revision = int(before) if before.isdigit() else 0
    if old_revision < revision_:
        result[REVISION] = str(revision_)
        if before:
            history = [part for part in result.get(REVISION_HISTORY, "").split(",") if part]
            if before not in history:
                history.append(before)
            while len(",".join(history)) > MAX_HISTORY_CHARS:
                history.pop(0)
            result[REVISION_HISTORY] = ",".join(history)
    return result | (replica_annotations(deployment) if new is None else {})


def expired_history(deployment: JsonObject, old: Sequence[JsonObject]) -> list[JsonObject]:
    """Old, empty ReplicaSets beyond revisionHistoryLimit, lowest revisions first."""
    limit = meta.spec(deployment).get("revisionHistoryLimit")
    if limit is None:
        return []
    alive = [each for each in old if not meta.is_deleting(each)]
    surplus = len(alive) - int(limit)
    lowest_first = sorted(by_creation(alive), key=revision)[: max(0, surplus)]
    return [each for each in lowest_first if _is_empty(each)]


def _is_empty(replica_set: JsonObject) -> bool:
    status = meta.status(replica_set)
    observed = int(status.get("observedGeneration", 0))
    return not status.get("replicas") and not wanted(replica_set) and meta.generation(replica_set) <= observed
