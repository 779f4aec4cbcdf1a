"""PodTopologySpread: a group of pods lies evenly over domains (KEP-895), as a must or as a wish.

`default_selector` gives what pods without constraints of their own are spread by: their services and controller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from argosy.objects.selectors import NOTHING, Selector
from argosy.objects.types import JsonObject
from argosy.scheduling.spread import HOSTNAME, Constraint, default_constraints
from control_plane.scheduler.columns import Ints, Mask, Rows
from control_plane.scheduler.plugins.base import MAX_SCORE, Reason, Reasons, at_domain, per_domain
from control_plane.scheduler.plugins.node_affinity import node_affinity_mask
from control_plane.scheduler.plugins.taint_toleration import hard_taints_tolerated
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot

MISMATCH = "node(s) didn't match pod topology spread constraints"
MISSING_LABEL = MISMATCH + " (missing required label)"


@dataclass(frozen=True)
class _Counted:
    constraint: Constraint
    ids: Ints
    skew: Ints
    """Per row what the skew would be with the pod there."""


def _has_all_keys(constraints: list[Constraint], snapshot: Snapshot) -> Mask:
    mask = snapshot.alive.copy()
    for constraint in constraints:
        mask &= snapshot.labels.ids(constraint.topology_key) >= 0
    return mask


def _counted_nodes(constraint: Constraint, base: Mask, affinity: Mask | None, taints: Mask | None) -> Mask:
    """Nodes whose pods a constraint counts."""
    mask = base
    if constraint.honour_affinity and affinity is not None:
        mask = mask & affinity
    if constraint.honour_taints and taints is not None:
        mask = mask & taints
    return mask


class PodTopologySpread:
    name = "PodTopologySpread"
    weight = 2

    def __init__(self, default_selector: Callable[[JsonObject], Selector] = lambda _pod: NOTHING) -> None:
        self._default_selector = default_selector

    def _hard(self, info: PodInfo) -> list[Constraint]:
        return [constraint for constraint in info.constraints if constraint.hard]

    def _skews(self, info: PodInfo, snapshot: Snapshot) -> list[_Counted]:
        constraints = self._hard(info)
        base = _has_all_keys(constraints, snapshot)
        affinity = node_affinity_mask(info, snapshot)
        taints = hard_taints_tolerated(info, snapshot)
        result = []
        for constraint in constraints:
            counted = _counted_nodes(constraint, base, affinity, taints)
            ids = snapshot.labels.ids(constraint.topology_key)
            pods = snapshot.group_counts(constraint.group, with_deleting=False)
            domains = snapshot.labels.count(constraint.topology_key)
            sums = per_domain(ids[counted], pods[counted], domains)
            present = np.bincount(ids[counted], minlength=domains) > 0
            least = int(sums[present].min()) if present.any() else 0
            if int(present.sum()) < constraint.min_domains:
                least = 0
            own = int(constraint.group.matches(info.pod, snapshot.namespace_labels))
            result.append(_Counted(constraint, ids, at_domain(sums, ids) + own - least))
        return result

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        if not self._hard(info):
            return None
        mask: Mask = np.ones(snapshot.columns.capacity, np.bool_)
        for item in self._skews(info, snapshot):
            mask &= (item.ids >= 0) & (item.skew <= item.constraint.max_skew)
        return mask

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        found: Reasons = []
        undecided: Mask = np.ones(len(rows), np.bool_)
        for item in self._skews(info, snapshot):
            missing = undecided & (item.ids[rows] < 0)
            uneven = undecided & ~missing & (item.skew[rows] > item.constraint.max_skew)
            undecided &= ~(missing | uneven)
            for reason, mask in ((Reason(MISSING_LABEL, False), missing), (Reason(MISMATCH, True), uneven)):
                if mask.any():
                    found.append((reason, rows[mask]))
        return found

    def score(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Ints | None:
        constraints = [constraint for constraint in info.constraints if not constraint.hard]
        if not info.constraints:
            constraints = list(default_constraints(info.pod, self._default_selector(info.pod)))
        if not constraints:
            return None
        total: npt.NDArray[np.float64] = np.zeros(len(rows), np.float64)
        required = _has_all_keys([item for item in constraints if not item.default], snapshot)
        taken = required[rows]
        affinity = node_affinity_mask(info, snapshot)
        taints = hard_taints_tolerated(info, snapshot)
        for constraint in constraints:
            ids = snapshot.labels.ids(constraint.topology_key)
            pods = snapshot.group_counts(constraint.group, with_deleting=False)
            own_ids = ids[rows]
            with_key = own_ids >= 0
            if constraint.topology_key == HOSTNAME:
                size = int(taken.sum())
                counts = pods[rows]
            else:
                size = len(np.unique(own_ids[with_key & taken]))
                counted = _counted_nodes(constraint, required, affinity, taints)
                domains = snapshot.labels.count(constraint.topology_key)
                counts = at_domain(per_domain(ids[counted], pods[counted], domains), own_ids)
            weight = math.log(size + 2)
            total += np.where(with_key, counts * weight + (constraint.max_skew - 1), 0.0)
        return _normalised(np.rint(total).astype(np.int64), taken)


def _normalised(scores: Ints, taken: Mask) -> Ints | None:
    """The fewer pods, the better; rows that lack a label get nothing."""
    if not taken.any():
        return None
    low, high = int(scores[taken].min()), int(scores[taken].max())
    if high == 0:
        return np.where(taken, MAX_SCORE, 0)
    return np.where(taken, MAX_SCORE * (high + low - scores) // high, 0)
