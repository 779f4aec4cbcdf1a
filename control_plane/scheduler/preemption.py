"""Making room: which pods of lower priority must go from which node, so that a pod that fits nowhere fits there.

Rules: pkg/scheduler/framework/preemption. Pure, but for the snapshot: pods are taken out of it and put back while
nodes are tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from argosy.objects import conditions, meta, selectors
from argosy.objects.selectors import SelectorError
from argosy.objects.types import JsonObject
from control_plane.scheduler import cycle
from control_plane.scheduler.columns import Mask
from control_plane.scheduler.cycle import Misfit
from control_plane.scheduler.plugins import Profile
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot

MIN_CANDIDATES = 100
CANDIDATE_SHARE = 0.1
"""Nodes that are looked at closely: a tenth of them, but no fewer than 100 (upstream's DefaultPreemptionArgs)."""
NO_START = "~"
"""Later than any time: a pod that has not started is the youngest."""
PREEMPTED = "PreemptionByScheduler"
"""The reason of a victim's DisruptionTarget condition."""
TERMINATING = "not eligible due to a terminating pod on the nominated node."
NEVER = "not eligible due to preemptionPolicy=Never."
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"

Budgets = Callable[[str], Sequence[JsonObject]]
"""The PodDisruptionBudgets of a namespace."""


@dataclass(frozen=True)
class Candidate:
    node_name: str
    victims: tuple[PodInfo, ...]
    """Highest priority first."""
    violations: int
    """Victims whose disruption budget is used up."""

    def rank(self) -> tuple[object, ...]:
        """The least is taken: budgets first, then the importance and number of victims, then the youngest."""
        highest = self.victims[0].priority
        earliest = min(_started(victim) for victim in self.victims if victim.priority == highest)
        return (
            self.violations,
            highest,
            # Shifted above zero: a few important victims are no better than many negative ones.
            sum(victim.priority + (1 << 31) for victim in self.victims),
            len(self.victims),
            _Reversed(earliest),
        )


@dataclass(frozen=True, order=False)
class _Reversed:
    """Orders texts the other way round."""

    text: str

    def __lt__(self, other: _Reversed) -> bool:
        return self.text > other.text


def _started(info: PodInfo) -> str:
    return str(meta.status(info.pod).get("startTime") or NO_START)


def not_eligible(info: PodInfo, nominated: str, snapshot: Snapshot) -> str:
    """Why the pod may not push others out now; empty when it may."""
    if info.spec.get("preemptionPolicy") == "Never":
        return NEVER
    for other in snapshot.pods_on(nominated) if nominated else ():
        if other.deleting and other.priority < info.priority and _was_preempted(other):
            return TERMINATING
    return ""


def _was_preempted(info: PodInfo) -> bool:
    """Pods that end for another reason make no room that was meant for somebody."""
    target = conditions.get(info.pod, "DisruptionTarget")
    return target is not None and target.get("status") == "True" and target.get("reason") == PREEMPTED


def _helpful(misfit: Misfit, snapshot: Snapshot) -> Mask:
    """Rows where the removal of pods could help."""
    mask = snapshot.alive.copy()
    for rejection in misfit.rejections:
        for reason, rows in rejection.reasons:
            if not reason.evictable:
                mask[rows] = False
    return mask


@contextmanager
def _without(snapshot: Snapshot, pods: Sequence[PodInfo], node_name: str) -> Iterator[None]:
    for other in pods:
        snapshot.remove_pod(other.uid)
    try:
        yield
    finally:
        for other in pods:
            snapshot.put_pod(other, node_name)


def _budget_left(pods: Sequence[PodInfo], budgets: Budgets) -> dict[str, bool]:
    """By uid whether the pod may go without breaking a disruption budget, one after the other."""
    left: dict[str, int] = {}
    result: dict[str, bool] = {}
    for info in pods:
        broken = False
        for budget in budgets(info.namespace):
            try:
                selector = selectors.from_object(meta.spec(budget).get("selector"))
            except SelectorError:
                continue
            if selector.everything or not selector.matches(meta.labels(info.pod)):
                continue
            if meta.name(info.pod) in (meta.status(budget).get("disruptedPods") or {}):
                continue
            key = meta.key(budget)
            left.setdefault(key, int(meta.status(budget).get("disruptionsAllowed") or 0))
            left[key] -= 1
            broken = broken or left[key] < 0
        result[info.uid] = not broken
    return result


def candidate(info: PodInfo, row: int, snapshot: Snapshot, profile: Profile, budgets: Budgets) -> Candidate | None:
    """The fewest, least important victims on one node; None when even without all lower pods it does not fit."""
    name = snapshot.names[row]
    lower = [other for other in snapshot.pods_on(name) if other.priority < info.priority]
    if not lower:
        return None
    lower.sort(key=lambda other: (-other.priority, _started(other), other.key))
    within = _budget_left(lower, budgets)

    def fits() -> bool:
        left, _ = cycle.feasible(info, snapshot, profile)
        return bool(left[row])

    victims: list[PodInfo] = []
    with _without(snapshot, lower, name):
        if not fits():
            return None
        # Those whose budget would break are spared first, then the important ones.
        for other in sorted(lower, key=lambda pod: within[pod.uid]):
            snapshot.put_pod(other, name)
            if not fits():
                snapshot.remove_pod(other.uid)
                victims.append(other)
    victims.sort(key=lambda other: (-other.priority, _started(other), other.key))
    return Candidate(name, tuple(victims), sum(not within[victim.uid] for victim in victims)) if victims else None


def find(
    info: PodInfo, misfit: Misfit, snapshot: Snapshot, profile: Profile, budgets: Budgets
) -> tuple[Candidate | None, str]:
    """The best node to make room on, or none and what to say about it."""
    helpful = _helpful(misfit, snapshot)
    rows = np.flatnonzero(helpful)
    most = max(MIN_CANDIDATES, int(len(rows) * CANDIDATE_SHARE))
    found: list[Candidate] = []
    looked_at = 0
    for row in rows:
        if not any(other.priority < info.priority for other in snapshot.pods_on(snapshot.names[int(row)])):
            continue
        own = candidate(info, int(row), snapshot, profile, budgets)
        if own is not None:
            found.append(own)
        looked_at += 1
        if looked_at >= most:
            break
    if found:
        return min(found, key=Candidate.rank), ""
    counts: Counter[str] = Counter()
    if len(rows):
        counts[NO_VICTIMS] = len(rows)
    if misfit.nodes - len(rows):
        counts[NOT_HELPFUL] = misfit.nodes - len(rows)
    return None, cycle.available(misfit.nodes, counts)
