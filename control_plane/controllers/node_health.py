"""When a node counts as lost, which taints its conditions mean, and how fast a zone is evicted; pure but for time.

Upstream: `pkg/controller/nodelifecycle/node_lifecycle_controller.go`. A sign of life is any change of the node's
lease or of its Ready condition's heartbeat, timed by this process's own clock: the node's clock may be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from argosy.host import Clock, rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from argosy.scheduling import taints

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
EVICTING: Final = (NOT_READY, UNREACHABLE)
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
REGION_LABEL: Final = "topology.kubernetes.io/region"
WATCHED_CONDITIONS: Final = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
CONDITION_TAINTS: Final[Mapping[tuple[str, str], str]] = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
CONTROLLED_TAINTS: Final = (*CONDITION_TAINTS.values(), taints.UNSCHEDULABLE)


@dataclass
class _Sign:
    heartbeat: object
    renewed: object
    at_s: float


class SignsOfLife:
    """When each node was last heard of."""

    def __init__(self, clock: Clock, grace_s: float, startup_grace_s: float) -> None:
        self._clock = clock
        self._grace_s = grace_s
        self._startup_grace_s = startup_grace_s
        self._signs: dict[str, _Sign] = {}

    def is_lost(self, node: JsonObject, lease: JsonObject | None) -> bool:
        """To be asked regularly: a change is timed when it is seen."""
        now = self._clock.monotonic()
        ready = conditions.get(node, "Ready")
        heartbeat = None if ready is None else (ready.get("lastHeartbeatTime"), ready.get("lastTransitionTime"))
        renewed = None if lease is None else meta.spec(lease).get("renewTime")
        sign = self._signs.get(meta.uid(node))
        if sign is None:
            sign = self._signs[meta.uid(node)] = _Sign(heartbeat, renewed, now)
        elif (sign.heartbeat, sign.renewed) != (heartbeat, renewed):
            # What this controller wrote itself (Unknown) is no sign of the node's life.
            ours = ready is not None and ready.get("status") == "Unknown" and sign.renewed == renewed
            sign.heartbeat, sign.renewed = heartbeat, renewed
            if not ours:
                sign.at_s = now
        grace_s = self._startup_grace_s if ready is None else self._grace_s
        return now > sign.at_s + grace_s

    def forget(self, node: JsonObject) -> None:
        self._signs.pop(meta.uid(node), None)

    def renew_all(self) -> None:
        """After a time in which nothing could be heard (every node was lost at once) all start anew."""
        for sign in self._signs.values():
            sign.at_s = self._clock.monotonic()


def lost_status(node: JsonObject, now: float) -> JsonObject | None:
    """The status of a node that is not heard of any more; None when it says so already."""
    found = list(meta.status(node).get("conditions") or ())
    changed = False
    for type_ in WATCHED_CONDITIONS:
        old = conditions.get(node, type_)
        if old is not None and old.get("status") == "Unknown":
            continue
        changed = True
        reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        heartbeat = None if old is None else old.get("lastHeartbeatTime")
        if old is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
            heartbeat = meta.metadata(node).get("creationTimestamp")
        new = conditions.make(type_, "Unknown", rfc3339(now), reason, message)
        if heartbeat:
            new["lastHeartbeatTime"] = heartbeat
        found = conditions.with_condition(found, new)
    return {**meta.status(node), "conditions": found} if changed else None


def ready_status(node: JsonObject) -> str:
    """True, False or Unknown; empty for a node that never said."""
    ready = conditions.get(node, "Ready")
    return "" if ready is None else str(ready.get("status"))


def taints_of(node: JsonObject) -> list[JsonObject]:
    return meta.spec(node).get("taints") or []


def _has(found: Iterable[JsonObject], key: str, effect: str) -> bool:
    return any(each.get("key") == key and each.get("effect") == effect for each in found)


def scheduling_taints(node: JsonObject, now: float) -> list[JsonObject]:
    """The node's taints with the NoSchedule ones as its conditions and spec.unschedulable say now."""
    wanted = []
    for (type_, status), key in CONDITION_TAINTS.items():
        condition = conditions.get(node, type_)
        if condition is not None and condition.get("status") == status:
            wanted.append(key)
    if meta.spec(node).get("unschedulable"):
        wanted.append(taints.UNSCHEDULABLE)
    found = [
        each
        for each in taints_of(node)
        if each.get("effect") != taints.NO_SCHEDULE
        or each.get("key") not in CONTROLLED_TAINTS
        or each.get("key") in wanted
    ]
    for key in wanted:
        if not _has(found, key, taints.NO_SCHEDULE):
            found.append({"key": key, "effect": taints.NO_SCHEDULE, "timeAdded": rfc3339(now)})
    return found


def evicting_taint(node: JsonObject) -> str:
    """The NoExecute taint that the node deserves; none when it is ready, or never said and still has its grace."""
    return {"False": NOT_READY, "Unknown": UNREACHABLE}.get(ready_status(node), "")


def with_evicting_taint(found: Sequence[JsonObject], key: str, now: float) -> list[JsonObject]:
    """`found` with `key` as the only evicting taint; none for an empty key."""
    kept = [
        each
        for each in found
        if each.get("effect") != taints.NO_EXECUTE or each.get("key") not in EVICTING or each.get("key") == key
    ]
    if key and not _has(kept, key, taints.NO_EXECUTE):
        kept.append({"key": key, "effect": taints.NO_EXECUTE, "timeAdded": rfc3339(now)})
    return kept


def is_evicting(node: JsonObject) -> bool:
    """It has the evicting taint that it deserves."""
    key = evicting_taint(node)
    return bool(key) and _has(taints_of(node), key, taints.NO_EXECUTE)


class Zone(Enum):
    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


def zone_of(node: JsonObject) -> str:
    labels = meta.labels(node)
    return f"{labels.get(REGION_LABEL, '')}:{labels.get(ZONE_LABEL, '')}"


def zone_state(statuses: Sequence[str], threshold: float) -> Zone:
    """`statuses` are the Ready conditions of a zone's nodes."""
    ready = sum(status == "True" for status in statuses)
    lost = len(statuses) - ready
    if not ready and lost:
        return Zone.FULL
    if lost > 2 and lost / len(statuses) >= threshold:
        return Zone.PARTIAL
    return Zone.NORMAL


def eviction_rate(state: Zone, size: int, rate: float, secondary: float, large: int) -> float:
    """Nodes per second that start being evicted. A half-dead zone is rather this side's network than the nodes."""
    if state is not Zone.PARTIAL:
        return rate
    return secondary if size > large else 0.0
