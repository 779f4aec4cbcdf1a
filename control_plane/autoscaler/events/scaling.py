"""How many replicas the triggers' demands come to. Pure.

While something is active: the greatest demand, at least one. When nothing is: down to the least number, or to zero,
once the cool-down is over. A trigger that cannot be asked stops the way down; after some failures the fallback holds.
While there is work, the number falls only to the greatest of a window's demands, as a HorizontalPodAutoscaler's does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from control_plane.autoscaler.events.triggers import Demand
from control_plane.autoscaler.pods.behavior import History, stabilised


@dataclass(frozen=True)
class Limits:
    least: int
    most: int
    cooldown_s: float
    window_s: float = 0.0
    """How long a demand holds against lesser ones."""
    fallback: tuple[int, int] | None = None
    """(failures in a row, replicas)"""


@dataclass(frozen=True)
class Decision:
    replicas: int
    active: bool
    fallback: bool = False


def decide(
    current: int,
    demands: Sequence[Demand | None],
    limits: Limits,
    *,
    failures: int,
    idle_s: float,
) -> Decision:
    """`demands` are None for triggers that failed; `failures` counts polls in a row with such; `idle_s` is the time
    since something was last active."""
    known = [demand for demand in demands if demand is not None]
    failed = len(known) < len(demands)
    active = any(demand.active for demand in known)
    wanted = max((demand.replicas for demand in known), default=0)
    if failed and limits.fallback is not None and failures >= limits.fallback[0]:
        return Decision(_within(max(wanted, limits.fallback[1]), limits), True, fallback=True)
    if active:
        wanted = _within(max(wanted, 1), limits)
        return Decision(max(wanted, current) if failed else wanted, True)
    if failed or (current > 0 and idle_s < limits.cooldown_s):
        return Decision(min(max(current, limits.least), limits.most), False)
    return Decision(limits.least, False)


def steadied(decision: Decision, current: int, limits: Limits, history: History, now_s: float) -> Decision:
    """The decision after its window, which it is noted in; only while something is active, whatever failed."""
    if not decision.active or decision.fallback:
        return decision
    history.forget(now_s - limits.window_s)
    stable, _ = stabilised(current, decision.replicas, 0.0, limits.window_s, history, now_s)
    return replace(decision, replicas=_within(stable, limits))


def _within(replicas: int, limits: Limits) -> int:
    return min(max(replicas, limits.least), limits.most)
