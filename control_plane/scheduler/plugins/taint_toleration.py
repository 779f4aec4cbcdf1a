"""TaintToleration: taints that a pod does not tolerate keep it away, or (PreferNoSchedule) count against a node."""

from __future__ import annotations

import numpy as np

from argosy.objects.types import JsonObject
from argosy.scheduling import fit, taints
from control_plane.scheduler.columns import Ints, Mask, Rows
from control_plane.scheduler.plugins.base import MAX_SCORE, Reason, Reasons, normalised
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot, Taint


def _taint(taint: Taint) -> JsonObject:
    return {"key": taint[0], "value": taint[1], "effect": taint[2]}


def hard_taints_tolerated(info: PodInfo, snapshot: Snapshot) -> Mask | None:
    """Rows without a taint that keeps the pod away; None: all."""
    mask: Mask | None = None
    for taint in snapshot.hard_taints():
        if not taints.tolerated(_taint(taint), info.tolerations):
            free = ~snapshot.tainted(taint)
            mask = free if mask is None else mask & free
    return mask


class TaintToleration:
    name = "TaintToleration"
    weight = 3

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        return hard_taints_tolerated(info, snapshot)

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        return [(Reason(fit.TAINTS, evictable=False), rows)]

    def score(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Ints | None:
        unliked: Ints | None = None
        for taint in snapshot.soft_taints():
            if not taints.tolerated(_taint(taint), info.tolerations):
                column = snapshot.tainted(taint)[rows].astype(np.int64)
                unliked = column if unliked is None else unliked + column
        if unliked is None:
            return None
        result = normalised(unliked, reverse=True)
        return np.full(len(rows), MAX_SCORE, np.int64) if result is None else result
