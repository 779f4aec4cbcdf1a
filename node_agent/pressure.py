"""What a node runs short of, and which pod has to go for it: pure.

Signals, thresholds, the order of pods and the messages are upstream's (pkg/kubelet/eviction,
`helpers.go`). `Reclaimer` (reclaiming.py) acts on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.objects import durations, meta, quantity
from argosy.objects.pod_qos import BEST_EFFORT, qos_class
from argosy.objects.types import JsonObject
from argosy.scheduling import taints
from node_agent.node_status import Level, Pressure
from node_agent.resources import SYSTEM_CRITICAL_PRIORITY, all_containers, amount, pod_amount

MEMORY: Final = "memory.available"
NODEFS, NODEFS_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGEFS, IMAGEFS_INODES = "imagefs.available", "imagefs.inodesFree"
PIDS: Final = "pid.available"
SIGNALS: Final = {
    MEMORY: "memory",
    NODEFS: "ephemeral-storage",
    NODEFS_INODES: "inodes",
    IMAGEFS: "ephemeral-storage",
    IMAGEFS_INODES: "inodes",
    PIDS: "pids",
}
"""To the resource that is short."""
DISKS: Final = (NODEFS, NODEFS_INODES, IMAGEFS, IMAGEFS_INODES)


@dataclass(frozen=True)
class Threshold:
    """Below it the node is short. One of `amount` and `percent` holds."""

    signal: str
    amount: int = 0
    percent: float = 0.0
    grace_s: float = 0.0
    """How long it must be so before a pod is ended; 0: hard."""

    def value(self, level: Level) -> int:
        return int(level.capacity * self.percent / 100) if self.percent else self.amount


@dataclass(frozen=True)
class PodUsage:
    """What a pod takes, by container where it is a container's."""

    memory: Mapping[str, int] = field(default_factory=dict)
    disk: Mapping[str, int] = field(default_factory=dict)
    """Writable layers and logs."""
    volumes: int = 0
    """Bytes of its volumes on disk."""


def thresholds(hard: Sequence[str], soft: Sequence[str] = (), grace: Sequence[str] = ()) -> tuple[Threshold, ...]:
    """From flags: `memory.available<100Mi`, `nodefs.available<10%`; grace `memory.available=1m30s`.

    Raises ValueError naming what cannot be.
    """
    periods: dict[str, float] = {}
    for text in grace:
        signal, equals, period = text.partition("=")
        if not equals or signal not in SIGNALS:
            raise ValueError(f"--eviction-soft-grace-period {text}: SIGNAL=DURATION, of {', '.join(SIGNALS)}")
        periods[signal] = durations.parse_go(period)
    result = [_threshold(text, "--eviction-hard", 0.0) for text in hard]
    for text in soft:
        found = _threshold(text, "--eviction-soft", 0.0)
        if periods.get(found.signal, 0.0) <= 0:
            raise ValueError(f"grace period must be specified for the soft eviction threshold {found.signal}")
        result.append(Threshold(found.signal, found.amount, found.percent, periods[found.signal]))
    # A threshold of nothing is one that was turned off.
    return tuple(item for item in result if item.amount or item.percent)


def _threshold(text: str, flag: str, grace_s: float) -> Threshold:
    signal, less, value = text.partition("<")
    if not less or signal not in SIGNALS:
        raise ValueError(f"{flag} {text}: SIGNAL<VALUE, with a signal of {', '.join(SIGNALS)}")
    if value.endswith("%"):
        percent = float(value.removesuffix("%"))
        if not 0 <= percent < 100:
            raise ValueError(f"{flag} {text}: a percentage from 0% to under 100%")
        return Threshold(signal, percent=percent, grace_s=grace_s)
    return Threshold(signal, amount=quantity.value(value), grace_s=grace_s)


def met(found: Iterable[Threshold], levels: Mapping[str, Level]) -> list[Threshold]:
    """Those that the node is below, memory first, as it is the most pressing."""
    below = [
        item
        for item in found
        if item.signal in levels and levels[item.signal].available < item.value(levels[item.signal])
    ]
    return sorted(below, key=lambda item: (item.signal != MEMORY, item.signal != PIDS))


def pressure(short: Iterable[Threshold]) -> Pressure:
    """The Node's conditions."""
    signals = {item.signal for item in short}
    return Pressure(memory=MEMORY in signals, disk=bool(signals & set(DISKS)), pids=PIDS in signals)


def is_critical(pod: JsonObject) -> bool:
    """Never ended by the node itself."""
    if "kubernetes.io/config.mirror" in meta.annotations(pod):
        return True
    return int(meta.spec(pod).get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY


def refusal(pod: JsonObject, told: Pressure) -> str:
    """Why a node that is short takes a pod not; empty when it takes it."""
    if is_critical(pod) or not (told.memory or told.disk or told.pids):
        return ""
    if told.memory and not told.disk and not told.pids:
        if qos_class(pod) != BEST_EFFORT:
            return ""
        taint = {"key": "node.kubernetes.io/memory-pressure", "effect": taints.NO_SCHEDULE}
        if taints.first_untolerated([taint], meta.spec(pod).get("tolerations") or [], (taints.NO_SCHEDULE,)) is None:
            return ""
    names = (("MemoryPressure", told.memory), ("DiskPressure", told.disk), ("PIDPressure", told.pids))
    return f"The node had condition: [{' '.join(name for name, is_so in names if is_so)}]. "


def rank(pods: Iterable[JsonObject], usage: Mapping[str, PodUsage], signal: str) -> list[JsonObject]:
    """Who goes first: pods beyond their requests, then by priority, then by how far they are beyond them.

    `usage` is by pod uid; a pod of which nothing is known goes first.
    """
    resource = SIGNALS[signal]

    def order(pod: JsonObject) -> tuple[bool, bool, int, int]:
        used = usage.get(meta.uid(pod))
        priority = int(meta.spec(pod).get("priority") or 0)
        if resource == "pids" or used is None:
            return used is not None, False, priority, 0
        beyond = _taken(used, resource) - _request(pod, resource)
        return True, beyond <= 0, priority, -beyond

    return sorted((pod for pod in pods if not is_critical(pod)), key=order)


def message(pod: JsonObject, used: PodUsage | None, short: Threshold, level: Level) -> str:
    """Why a pod was ended, as its status and event say it."""
    resource = SIGNALS[short.signal]
    binary = resource in ("memory", "ephemeral-storage")
    threshold, available = short.value(level), level.available
    shown = [quantity.of_bytes(value) if binary else str(value) for value in (threshold, available)]
    text = f"The node was low on resource: {resource}. Threshold quantity: {shown[0]}, available: {shown[1]}. "
    by_name = {"memory": used.memory, "ephemeral-storage": used.disk}.get(resource, {}) if used else {}
    for container in all_containers(pod):
        name = str(container["name"])
        request = amount(container, "requests", resource)
        wanted = request.value if request else 0
        if by_name.get(name, 0) > wanted:
            is_told = quantity.of_bytes(wanted) if wanted else "0"
            text += (
                f"Container {name} was using {quantity.of_bytes(by_name[name])}, request is {is_told}, "
                f"has larger consumption of {resource}. "
            )
    return text


def _taken(used: PodUsage, resource: str) -> int:
    if resource == "memory":
        return sum(used.memory.values())
    return sum(used.disk.values()) + used.volumes


def _request(pod: JsonObject, resource: str) -> int:
    return pod_amount(pod, resource) // 10**9 if resource in ("memory", "ephemeral-storage") else 0


class Observed:
    """Since when each threshold is met, for those with a grace period."""

    def __init__(self) -> None:
        self._since_s: dict[Threshold, float] = {}

    def due(self, short: Sequence[Threshold], now_s: float) -> list[Threshold]:
        """Those that have been met for long enough."""
        self._since_s = {item: self._since_s.get(item, now_s) for item in short}
        return [item for item in short if now_s - self._since_s[item] >= item.grace_s]
