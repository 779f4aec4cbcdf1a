"""What a DaemonSet does next, and what its status says; pure.

Upstream: `pkg/controller/daemon/daemon_controller.go` (podsShouldBeOnNode), `update.go` (rollingUpdate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from argosy.objects import intstr, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import daemon_pods as daemons
from control_plane.controllers import pods as podlib

ByNode = Mapping[str, Sequence[JsonObject]]


@dataclass
class Plan:
    create_on: list[str] = field(default_factory=list)
    """Names of nodes."""
    delete: list[JsonObject] = field(default_factory=list)
    failed: list[tuple[str, JsonObject]] = field(default_factory=list)
    """Failed pods by their nodes: deleted when their back-off is over."""
    succeeded: list[tuple[str, JsonObject]] = field(default_factory=list)
    """Finished pods, deleted at once."""


def surge(daemon_set: JsonObject, nodes: int) -> int:
    return _step(daemon_set, "maxSurge", nodes)


def unavailable(daemon_set: JsonObject, nodes: int) -> int:
    return _step(daemon_set, "maxUnavailable", nodes)


def _step(daemon_set: JsonObject, name: str, nodes: int) -> int:
    strategy = meta.spec(daemon_set).get("updateStrategy") or {}
    value = (strategy.get("rollingUpdate") or {}).get(name)
    if strategy.get("type") != "RollingUpdate" or value is None:
        return 0
    return intstr.scaled(value, nodes, round_up=True)


def manage(daemon_set: JsonObject, nodes: Sequence[JsonObject], pods: ByNode, hash_: str, now: float) -> Plan:
    """Where pods are missing, and which are too many."""
    plan = Plan()
    # More than none of any number of nodes: whether extra pods are allowed at all.
    surging = surge(daemon_set, 100) > 0
    for node in nodes:
        _manage_node(plan, daemon_set, node, pods.get(meta.name(node), ()), hash_, surging, now)
    known = {meta.name(node) for node in nodes}
    for name, found in pods.items():
        if name not in known:
            # Meant for a node that is gone: never scheduled, so nothing else would remove them.
            plan.delete += [pod for pod in found if not meta.spec(pod).get("nodeName") and not meta.is_deleting(pod)]
    return plan


def _manage_node(
    plan: Plan, daemon_set: JsonObject, node: JsonObject, pods: Sequence[JsonObject], hash_: str,
    surging: bool, now: float,
) -> None:  # fmt: skip
    name = meta.name(node)
    fit = daemons.fit(daemon_set, node)
    if fit.should_run and not pods:
        plan.create_on.append(name)
        return
    if not fit.should_continue:
        plan.delete += [pod for pod in pods if not meta.is_deleting(pod)]
        return
    running = []
    for pod in pods:
        if meta.is_deleting(pod):
            continue
        phase = podlib.phase(pod)
        if phase == "Failed":
            plan.failed.append((name, pod))
        elif phase == "Succeeded":
            plan.succeeded.append((name, pod))
        else:
            running.append(pod)
    if not surging:
        plan.delete += running[1:]
    elif running:
        plan.delete += _superfluous(daemon_set, running, hash_, now)
    elif fit.should_run and not any(podlib.is_terminal(pod) for pod in pods):
        # Its pods are on their way out, and an extra one is allowed.
        plan.create_on.append(name)


def _superfluous(daemon_set: JsonObject, running: Sequence[JsonObject], hash_: str, now: float) -> list[JsonObject]:
    """While surging a node may have two: the oldest of each revision, while the old is ready and the new not."""
    if len(running) < 2:
        return []
    new = [pod for pod in running if daemons.is_updated(pod, hash_)]
    old = [pod for pod in running if not daemons.is_updated(pod, hash_)]
    extra = [*new[1:], *old[1:]]
    if new and old and (not podlib.is_ready(old[0]) or daemons.is_available(daemon_set, new[0], now)):
        extra.append(old[0])
    return extra


def rolling_update(daemon_set: JsonObject, nodes: Sequence[JsonObject], pods: ByNode, hash_: str, now: float) -> Plan:
    """Which old pods go, and (surging) which nodes get an extra one."""
    wanted = [meta.name(node) for node in nodes if daemons.fit(daemon_set, node).should_run]
    most_away, most_extra = unavailable(daemon_set, len(wanted)), surge(daemon_set, len(wanted))
    if wanted and not most_away and not most_extra:
        most_away = 1
    if most_extra:
        return _surging(daemon_set, wanted, pods, hash_, now, most_extra)
    plan = Plan()
    away = 0
    candidates = []
    for name in wanted:
        pair = _pair(pods.get(name, ()), hash_)
        if pair is None or (pair[0] is None) == (pair[1] is None):
            # None there, or too many: making and deleting pods puts it right, and until then it is away.
            away += 1
            continue
        new, old = pair
        if new is not None:
            away += not daemons.is_available(daemon_set, new, now)
        elif old is not None and not daemons.is_available(daemon_set, old, now):
            away += 1
            plan.delete.append(old)
        elif old is not None:
            candidates.append(old)
    plan.delete += candidates[: max(0, most_away - away)]
    return plan


def _surging(daemon_set: JsonObject, wanted: Sequence[str], pods: ByNode, hash_: str, now: float, most: int) -> Plan:
    plan = Plan()
    extra = 0
    candidates = []
    for name in wanted:
        pair = _pair(pods.get(name, ()), hash_)
        if pair is None:
            extra += 1
            continue
        new, old = pair
        if old is None:
            continue
        old_serves = daemons.is_available(daemon_set, old, now)
        if new is None:
            if old_serves:
                candidates.append(name)
            else:
                plan.create_on.append(name)
        elif not old_serves or daemons.is_available(daemon_set, new, now):
            plan.delete.append(old)
        else:
            extra += 1
    plan.create_on += candidates[: max(0, most - extra)]
    return plan


def _pair(pods: Sequence[JsonObject], hash_: str) -> tuple[JsonObject | None, JsonObject | None] | None:
    """(pod of the present template, pod of another one) of a node; None when there are several of a sort."""
    staying = [pod for pod in pods if not meta.is_deleting(pod)]
    new = [pod for pod in staying if daemons.is_updated(pod, hash_)]
    old = [pod for pod in staying if not daemons.is_updated(pod, hash_)]
    if len(new) > 1 or len(old) > 1:
        return None
    return (new[0] if new else None), (old[0] if old else None)


def status(
    daemon_set: JsonObject, nodes: Sequence[JsonObject], pods: ByNode, hash_: str, collisions: int,
    now: float, *, observed: bool,
) -> JsonObject:  # fmt: skip
    """Counts nodes by the oldest pod on each. `observed`: this generation was acted on."""
    desired = current = misscheduled = ready = updated = available = 0
    for node in nodes:
        found = pods.get(meta.name(node), ())
        if not daemons.fit(daemon_set, node).should_run:
            misscheduled += bool(found)
            continue
        desired += 1
        if not found:
            continue
        current += 1
        pod = found[0]
        ready += podlib.is_ready(pod)
        available += daemons.is_available(daemon_set, pod, now)
        updated += daemons.is_updated(pod, hash_)
    old = meta.status(daemon_set)
    result: JsonObject = {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": desired,
        "numberReady": ready,
    }
    generation = meta.generation(daemon_set) if observed else int(old.get("observedGeneration") or 0)
    optional = {
        "observedGeneration": generation,
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": desired - available,
        "collisionCount": collisions,
    }
    result |= {name: count for name, count in optional.items() if count}
    if old.get("conditions"):
        result["conditions"] = old["conditions"]
    return result


def next_available_s(daemon_set: JsonObject, pods: ByNode, now: float) -> float | None:
    """Seconds until the next ready pod counts as available; nothing else would wake the controller then."""
    min_ready_s = int(meta.spec(daemon_set).get("minReadySeconds", 0))
    waits = [wait for found in pods.values() for pod in found if (wait := podlib.available_in(pod, min_ready_s, now))]
    return min(waits) + 0.05 if waits else None
