"""Pods that wait for a node: ready ones by priority, failed ones until their pause is over or something changed.

Three places, as upstream (pkg/scheduler/internal/queue): `active` (a heap), `backoff` (a heap by the end of the
pause) and `unschedulable` (until an event concerns a rule that ruled nodes out). The caller moves time by asking.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass
from enum import Enum

from argosy.host import Clock
from control_plane.scheduler.pod_info import PodInfo


class Change(Enum):
    """What happened in the cluster, and which rules it may satisfy (empty: any)."""

    NODE_ADDED = ()
    NODE_ALLOCATABLE = ("NodeResourcesFit",)
    NODE_LABELS = (
        "NodeAffinity",
        "PodTopologySpread",
        "InterPodAffinity",
        "NodeName",
        "VolumeBinding",
        "VolumeZone",
    )
    VOLUME = ("VolumeBinding", "VolumeZone", "VolumeRestrictions")
    NODE_TAINTS = ("TaintToleration", "NodeUnschedulable", "PodTopologySpread")
    POD_GONE = ("NodeResourcesFit", "NodePorts", "PodTopologySpread", "InterPodAffinity", "VolumeRestrictions")
    POD_PLACED = ("PodTopologySpread", "InterPodAffinity")
    NAMESPACE = ("InterPodAffinity", "PodTopologySpread")


@dataclass
class Queued:
    info: PodInfo
    since_s: float
    """When it came, or came back from its last attempt: among equals the one that waits longest is first."""
    attempts: int = 0
    ready_at_s: float = 0.0
    """The end of its pause."""
    rejected_by: tuple[str, ...] = ()
    parked_at_s: float = 0.0


class SchedulingQueue:
    """Not thread-safe: one event loop. Each pod is in one place only; stale entries of heaps are dropped when met."""

    def __init__(self, clock: Clock, *, initial_s: float = 1.0, max_s: float = 10.0, flush_s: float = 300.0) -> None:
        self._clock = clock
        self._initial_s, self._max_s, self._flush_s = initial_s, max_s, flush_s
        self._numbers = itertools.count()
        self._active: list[tuple[int, float, int, str]] = []
        self._backoff: list[tuple[float, int, str]] = []
        self._in_active: dict[str, Queued] = {}
        self._in_backoff: dict[str, Queued] = {}
        self._unschedulable: dict[str, Queued] = {}
        """The longest parked first."""
        self._changes: dict[Change, None] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._in_active) + len(self._in_backoff) + len(self._unschedulable)

    @property
    def waiting(self) -> dict[str, int]:
        """How many pods are in each place."""
        return {
            "active": len(self._in_active),
            "backoff": len(self._in_backoff),
            "unschedulable": len(self._unschedulable),
        }

    def put(self, info: PodInfo) -> None:
        """A pod is new or changed. A change of the pod itself is worth another attempt."""
        held = self._in_active.get(info.key) or self._in_backoff.get(info.key)
        if held is not None and held.info.uid == info.uid:
            if info.priority != held.info.priority and info.key in self._in_active:
                self._activate(info.key, held, info)
            held.info = info
            return
        held = self._unschedulable.pop(info.key, None)
        if held is not None and held.info.uid == info.uid:
            held.info = info
            self._release(info.key, held)
            return
        self.remove(info.key)
        self._activate(info.key, Queued(info, self._clock.now()))

    def update(self, info: PodInfo) -> None:
        """As `put`, for changes that do not make another attempt worth while (status, annotations)."""
        held = self._unschedulable.get(info.key)
        if held is not None and held.info.uid == info.uid:
            held.info = info
        else:
            self.put(info)

    def remove(self, key: str) -> None:
        for place in (self._in_active, self._in_backoff, self._unschedulable):
            place.pop(key, None)

    def failed(self, queued: Queued, rejected_by: tuple[str, ...]) -> None:
        """The pod did not fit: it waits for a change that concerns `rejected_by`."""
        self._punish(queued)
        queued.rejected_by = rejected_by
        queued.parked_at_s = self._clock.monotonic()
        self._unschedulable.pop(queued.info.key, None)
        self._unschedulable[queued.info.key] = queued
        self._wake.set()

    def retry(self, queued: Queued) -> None:
        """Something else went wrong: it comes again after its pause."""
        self._punish(queued)
        queued.rejected_by = ()
        self._release(queued.info.key, queued)

    def changed(self, change: Change) -> None:
        """Something happened; taken into account with the next `pop`."""
        self._changes[change] = None
        if self._unschedulable:
            self._wake.set()

    def pop_ready(self) -> Queued | None:
        """The most urgent pod; None when all must wait."""
        self._settle()
        while self._active:
            priority, since_s, _, key = heapq.heappop(self._active)
            queued = self._in_active.get(key)
            if queued is not None and (-queued.info.priority, queued.since_s) == (priority, since_s):
                del self._in_active[key]
                return queued
        return None

    async def pop(self) -> Queued:
        """The most urgent pod, once there is one."""
        while True:
            self._wake.clear()
            queued = self.pop_ready()
            if queued is not None:
                return queued
            try:
                async with asyncio.timeout(self._next_s()):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _next_s(self) -> float | None:
        """Seconds to the next pause's end or flush."""
        times = [self._backoff[0][0]] if self._backoff else []
        if self._unschedulable:
            times.append(next(iter(self._unschedulable.values())).parked_at_s + self._flush_s)
        return max(0.0, min(times) - self._clock.monotonic()) if times else None

    def _punish(self, queued: Queued) -> None:
        queued.attempts += 1
        queued.since_s = self._clock.now()
        pause_s = min(self._max_s, self._initial_s * float(1 << min(queued.attempts - 1, 30)))
        queued.ready_at_s = self._clock.monotonic() + pause_s

    def _release(self, key: str, queued: Queued) -> None:
        """Out of `unschedulable`: to `active`, or to `backoff` while its pause lasts."""
        if queued.ready_at_s <= self._clock.monotonic():
            self._activate(key, queued)
        else:
            self._in_backoff[key] = queued
            heapq.heappush(self._backoff, (queued.ready_at_s, next(self._numbers), key))
            self._wake.set()

    def _activate(self, key: str, queued: Queued, info: PodInfo | None = None) -> None:
        queued.info = info or queued.info
        self._in_active[key] = queued
        heapq.heappush(self._active, (-queued.info.priority, queued.since_s, next(self._numbers), key))
        self._wake.set()

    def _settle(self) -> None:
        """Let changes and the clock take effect."""
        now_s = self._clock.monotonic()
        changes = list(self._changes)
        self._changes.clear()
        while self._unschedulable:
            key, queued = next(iter(self._unschedulable.items()))
            if now_s - queued.parked_at_s < self._flush_s:
                break
            del self._unschedulable[key]
            self._release(key, queued)
        for key, queued in list(self._unschedulable.items()) if changes else ():
            if any(_concerns(change, queued.rejected_by) for change in changes):
                del self._unschedulable[key]
                self._release(key, queued)
        while self._backoff and self._backoff[0][0] <= now_s:
            ready_at_s, _, key = heapq.heappop(self._backoff)
            held = self._in_backoff.get(key)
            if held is not None and held.ready_at_s == ready_at_s:
                del self._in_backoff[key]
                self._activate(key, held)


def _concerns(change: Change, rejected_by: tuple[str, ...]) -> bool:
    return not change.value or not rejected_by or any(plugin in change.value for plugin in rejected_by)
