"""Which pods should be changed, in what order, and how: those whose requests are furthest from the recommendation.

Pure. Source: VPA `pkg/updater/priority` and `pkg/updater/restriction`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from argosy.host import parse_rfc3339
from argosy.objects import conditions, meta, quantity
from argosy.objects.types import JsonObject
from argosy.scheduling.resources import DEFERRED, RESIZE_IN_PROGRESS, RESIZE_PENDING
from control_plane.autoscaler.vertical.recommendation import CPU, RESOURCES

LIFETIME_S: Final = 12 * 3600.0
"""A pod within its bounds is left alone for this long."""
SIGNIFICANT_CHANGE: Final = 0.1
QUICK_OOM_S: Final = 600.0
DEFERRED_S: Final = 300.0
"""A resize that its node puts off for longer gives way to an eviction."""
IN_PROGRESS_S: Final = 3600.0


class InPlace(Enum):
    """What is to be done about a pod that is far from its recommendation and may be resized."""

    RESIZE = "resize"
    WAIT = "wait"
    EVICT = "evict"


def in_place(pod: JsonObject, now_s: float, *, disruptable: bool) -> InPlace:
    """`disruptable`: its workload can do without it for a while (upstream `CanInPlaceUpdate`)."""
    pending, progress = conditions.get(pod, RESIZE_PENDING), conditions.get(pod, RESIZE_IN_PROGRESS)
    if meta.status(pod).get("phase") == "Pending" or not disruptable:
        return InPlace.WAIT
    if pending is not None:
        late = pending.get("reason") != DEFERRED or _since(pending, now_s) > DEFERRED_S
        return InPlace.EVICT if late else InPlace.WAIT
    if progress is not None:
        failed = bool(progress.get("reason") or progress.get("message"))
        return InPlace.EVICT if failed or _since(progress, now_s) > IN_PROGRESS_S else InPlace.WAIT
    return InPlace.RESIZE


def is_disruptive(pod: JsonObject) -> bool:
    """Whether a resize may start a container of the pod anew."""
    containers = meta.spec(pod).get("containers") or ()
    policies = [policy for container in containers for policy in container.get("resizePolicy") or ()]
    return any(policy.get("restartPolicy") == "RestartContainer" for policy in policies)


def _since(condition: JsonObject, now_s: float) -> float:
    try:
        return now_s - parse_rfc3339(str(condition.get("lastTransitionTime")))
    except ValueError:
        return 0.0


@dataclass(frozen=True)
class Priority:
    outside: bool
    """Some request is outside the recommended bounds."""
    grows: bool
    """Some request is below its target."""
    change: float
    """The sum of the requests' relative distances from their targets."""

    @property
    def rank(self) -> tuple[bool, float]:
        """Pods that need more come first."""
        return (self.grows, self.change)


def priority(pod: JsonObject, recommendations: Sequence[JsonObject]) -> Priority:
    by_name = {item["containerName"]: item for item in recommendations}
    statuses = {item["name"]: item for item in meta.status(pod).get("containerStatuses") or ()}
    outside = grows = False
    requested: dict[str, int] = {}
    wanted: dict[str, int] = {}
    for container in meta.spec(pod).get("containers") or ():
        found = by_name.get(container["name"])
        if found is None:
            continue
        # While it is resized a pod asks for more than it has: what it has counts.
        in_force = statuses.get(container["name"], {}).get("resources")
        requests = (in_force if in_force is not None else container.get("resources") or {}).get("requests") or {}
        for name in RESOURCES:
            target = (found.get("target") or {}).get(name)
            if target is None:
                continue
            now, goal = _amount(name, requests.get(name)), _amount(name, target)
            requested[name] = requested.get(name, 0) + now
            wanted[name] = wanted.get(name, 0) + goal
            grows = grows or goal > now
            lower, upper = (found.get("lowerBound") or {}).get(name), (found.get("upperBound") or {}).get(name)
            if not now or (lower and now < _amount(name, lower)) or (upper and now > _amount(name, upper)):
                outside = True
    change = sum(abs(wanted[name] - requested[name]) / max(requested[name], 1) for name in wanted)
    return Priority(outside, grows, change)


def should_update(pod: JsonObject, found: Priority, now_s: float) -> bool:
    """Whether a pod is to be made anew now."""
    started = meta.status(pod).get("startTime")
    if not started or found.change <= 0:
        return False
    if found.outside or _ran_out_quickly(pod):
        return True
    return now_s >= parse_rfc3339(started) + LIFETIME_S and found.change >= SIGNIFICANT_CHANGE


def _ran_out_quickly(pod: JsonObject) -> bool:
    """A container ran out of memory soon after its start: waiting would only let it do so again."""
    for status in meta.status(pod).get("containerStatuses") or ():
        ended = (status.get("lastState") or {}).get("terminated") or {}
        if ended.get("reason") != "OOMKilled" or not ended.get("startedAt") or not ended.get("finishedAt"):
            continue
        if parse_rfc3339(ended["finishedAt"]) - parse_rfc3339(ended["startedAt"]) < QUICK_OOM_S:
            return True
    return False


def evictable(replicas: int, running: int, evicted: int, tolerance: float = 0.5, least: int = 2) -> int:
    """How many more pods of one controller may be evicted now.

    `replicas` are wanted, `running` are there and not pending; `evicted` went in this round. Fewer than `least`
    replicas are left alone; of one, none would be left, so it must be allowed by `least`.
    """
    if running < least:
        return 0
    allowed = int(replicas * tolerance) or (1 if running == replicas else 0)
    return max(0, running - (replicas - allowed) - evicted)


def _amount(name: str, text: object) -> int:
    if text is None:
        return 0
    return quantity.milli(text) if name == CPU else quantity.value(text)
