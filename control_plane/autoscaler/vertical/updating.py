"""Which pods should be made anew, and in what order: those whose requests are furthest from the recommendation. Pure.

Source: VPA `pkg/updater/priority`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from argosy.host import parse_rfc3339
from argosy.objects import meta, quantity
from argosy.objects.types import JsonObject
from control_plane.autoscaler.vertical.recommendation import CPU, RESOURCES

LIFETIME_S: Final = 12 * 3600.0
"""A pod within its bounds is left alone for this long."""
SIGNIFICANT_CHANGE: Final = 0.1
QUICK_OOM_S: Final = 600.0


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
    outside = grows = False
    requested: dict[str, int] = {}
    wanted: dict[str, int] = {}
    for container in meta.spec(pod).get("containers") or ():
        found = by_name.get(container["name"])
        if found is None:
            continue
        requests = (container.get("resources") or {}).get("requests") or {}
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
