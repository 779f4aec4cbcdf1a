"""How fast a number of pods may change: stabilisation windows, scaling policies, limits. Pure.

Source: pkg/controller/podautoscaler/horizontal.go (normalizeDesiredReplicas…, convertDesiredReplicasWith…).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from argosy.objects import quantity
from argosy.objects.types import JsonObject
from control_plane.autoscaler.pods.replicas import Tolerances

MAX_REMEMBERED: Final = 4096
"""Recommendations and changes kept of one autoscaler; the longest window, an hour, has 240 at the default period."""

UP: Final = "scaleUp"
DOWN: Final = "scaleDown"


@dataclass(frozen=True)
class Verdict:
    """A number of pods and what the conditions AbleToScale and ScalingLimited say of it."""

    replicas: int
    able_reason: str
    able_message: str
    limited: bool
    limited_reason: str
    limited_message: str


@dataclass
class History:
    """What one autoscaler recommended and did, newest last, as (time, number)."""

    recommendations: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MAX_REMEMBERED))
    added: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MAX_REMEMBERED))
    removed: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MAX_REMEMBERED))

    def changed(self, before: int, after: int, now_s: float) -> None:
        """The target was scaled."""
        (self.added if after > before else self.removed).append((now_s, abs(after - before)))

    def forget(self, before_s: float) -> None:
        """Drop what no window reaches any more."""
        for each in (self.recommendations, self.added, self.removed):
            while each and each[0][0] < before_s:
                each.popleft()


@dataclass(frozen=True)
class Defaults:
    """What holds where the object says nothing."""

    downscale_stabilization_s: float = 300.0
    tolerance: float = 0.1


def tolerances(behavior: JsonObject | None, defaults: Defaults) -> Tolerances:
    def of(direction: str) -> float:
        given = ((behavior or {}).get(direction) or {}).get("tolerance")
        return defaults.tolerance if given is None else quantity.milli(given) / 1000

    return Tolerances(of(UP), of(DOWN))


def longest_window_s(behavior: JsonObject | None, defaults: Defaults) -> float:
    """How far back a decision looks."""
    result = defaults.downscale_stabilization_s
    for direction in (UP, DOWN):
        rules = (behavior or {}).get(direction) or {}
        periods = [policy.get("periodSeconds") or 0 for policy in rules.get("policies") or ()]
        result = max(result, rules.get("stabilizationWindowSeconds") or 0, *periods, 0)
    return result


def normalise(
    current: int,
    wanted: int,
    limits: tuple[int, int],
    behavior: JsonObject | None,
    history: History,
    defaults: Defaults,
    now_s: float,
) -> Verdict:
    """`limits` are the least and most pods. Notes `wanted` among the recommendations."""
    history.forget(now_s - longest_window_s(behavior, defaults))
    if behavior is None:
        stable, reason = stabilised(current, wanted, 0.0, defaults.downscale_stabilization_s, history, now_s)
        return _limited(current, stable, limits, _plain_bounds(current), reason)
    up, down = behavior.get(UP) or {}, behavior.get(DOWN) or {}
    down_s = down.get("stabilizationWindowSeconds")
    windows = (
        float(up.get("stabilizationWindowSeconds") or 0),
        defaults.downscale_stabilization_s if down_s is None else float(down_s),
    )
    stable, reason = stabilised(current, wanted, *windows, history, now_s)
    bounds = (_lowest(current, down, history, now_s), _highest(current, up, history, now_s))
    return _limited(current, stable, limits, bounds, reason)


def stabilised(
    current: int, wanted: int, up_s: float, down_s: float, history: History, now_s: float
) -> tuple[int, tuple[str, str]]:
    """Up no further than the lowest recent recommendation, down no further than the highest.

    `wanted` is noted among them.
    """
    up = min([wanted, *(number for at, number in history.recommendations if at > now_s - up_s)])
    down = max([wanted, *(number for at, number in history.recommendations if at > now_s - down_s)])
    history.recommendations.append((now_s, wanted))
    stable = min(max(current, up), down)
    if stable == wanted:
        return stable, ("ReadyForNewScale", "recommended size matches current size")
    if wanted >= current:
        text = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        return stable, ("ScaleUpStabilized", text)
    text = "recent recommendations were higher than current one, applying the highest recent recommendation"
    return stable, ("ScaleDownStabilized", text)


def _plain_bounds(current: int) -> tuple[int, int]:
    """Without a behavior: at once down to anything, and up to double, or four."""
    return 0, max(2 * current, 4)


def _limited(
    current: int, wanted: int, limits: tuple[int, int], bounds: tuple[int, int], able: tuple[str, str]
) -> Verdict:
    least, most = limits
    lowest, highest = min(bounds[0], current), max(bounds[1], current)
    if wanted > current and wanted > min(most, highest):
        if highest < most:
            text = "the desired replica count is increasing faster than the maximum scale rate"
            return Verdict(highest, *able, True, "ScaleUpLimit", text)
        text = "the desired replica count is more than the maximum replica count"
        return Verdict(most, *able, True, "TooManyReplicas", text)
    if wanted < current and wanted < max(least, lowest):
        if lowest > least:
            text = "the desired replica count is decreasing faster than the maximum scale rate"
            return Verdict(lowest, *able, True, "ScaleDownLimit", text)
        text = "the desired replica count is less than the minimum replica count"
        return Verdict(least, *able, True, "TooFewReplicas", text)
    if wanted > most:
        text = "the desired replica count is more than the maximum replica count"
        return Verdict(most, *able, True, "TooManyReplicas", text)
    if wanted < least:
        text = "the desired replica count is less than the minimum replica count"
        return Verdict(least, *able, True, "TooFewReplicas", text)
    text = "the desired count is within the acceptable range"
    return Verdict(wanted, *able, False, "DesiredWithinRange", text)


def _highest(current: int, rules: JsonObject, history: History, now_s: float) -> int:
    """The most pods that the scale-up policies allow now."""
    return _bound(current, rules, history, now_s, lambda start, percent: math.ceil(start * (100 + percent) / 100), 1)


def _lowest(current: int, rules: JsonObject, history: History, now_s: float) -> int:
    """The fewest pods that the scale-down policies allow now."""
    return _bound(current, rules, history, now_s, lambda start, percent: int(start * (100 - percent) / 100), -1)


def _bound(
    current: int,
    rules: JsonObject,
    history: History,
    now_s: float,
    by_percent: Callable[[int, int], int],
    sign: int,
) -> int:
    select = rules.get("selectPolicy") or "Max"
    if select == "Disabled":
        return current
    proposals = []
    for policy in rules.get("policies") or ():
        since_s = now_s - (policy.get("periodSeconds") or 0)
        start = current - _sum(history.added, since_s) + _sum(history.removed, since_s)
        value = policy.get("value") or 0
        proposals.append(start + sign * value if policy.get("type") == "Pods" else by_percent(start, value))
    if not proposals:
        return current
    # "Max" means the policy of the greatest change: the most pods upwards, the fewest downwards.
    return max(proposals) if (select == "Max") == (sign > 0) else min(proposals)


def _sum(changes: Iterable[tuple[float, int]], since_s: float) -> int:
    return sum(number for at, number in changes if at > since_s)
