"""NodeResourcesFit: what the pod requests must be left; of the nodes where it is, those with most left are best."""

from __future__ import annotations

import numpy as np

from argosy.scheduling import fit
from argosy.scheduling.resources import CPU, MEMORY, PODS
from control_plane.scheduler.columns import Ints, Mask, Rows
from control_plane.scheduler.plugins.base import MAX_SCORE, Reason, Reasons
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot


class NodeResourcesFit:
    name = "NodeResourcesFit"
    weight = 1

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        mask = snapshot.pod_counts < snapshot.allocatable(PODS)
        for resource, amount in info.requests.items():
            if amount > 0 and resource != PODS:
                mask &= snapshot.used(resource) + amount <= snapshot.allocatable(resource)
        return mask

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        """A node that lacks several resources is named under each."""
        found: Reasons = []
        full = snapshot.pod_counts[rows] >= snapshot.allocatable(PODS)[rows]
        if full.any():
            found.append((Reason(fit.TOO_MANY_PODS, evictable=True), rows[full]))
        for resource, amount in info.requests.items():
            if amount <= 0 or resource == PODS:
                continue
            allocatable = snapshot.allocatable(resource)[rows]
            lacking = snapshot.used(resource)[rows] + amount > allocatable
            never = allocatable < amount
            for evictable, mask in ((True, lacking & ~never), (False, lacking & never)):
                if mask.any():
                    found.append((Reason(fit.insufficient(resource), evictable), rows[mask]))
        return found

    def score(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Ints | None:
        """The mean of the shares of cpu and memory that would be left (LeastAllocated)."""
        total = np.zeros(len(rows), np.int64)
        count = np.zeros(len(rows), np.int64)
        for resource, amount in zip((CPU, MEMORY), info.score_requests, strict=True):
            allocatable = snapshot.allocatable(resource)[rows]
            wanted = snapshot.used_for_scores(resource)[rows] + amount
            left = np.maximum(allocatable - wanted, 0)
            total += left * MAX_SCORE // np.maximum(allocatable, 1)
            count += allocatable > 0
        return total // np.maximum(count, 1)
