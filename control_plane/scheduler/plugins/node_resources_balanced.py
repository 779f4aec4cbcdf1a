"""NodeResourcesBalancedAllocation: better where cpu and memory would be used up evenly."""

from __future__ import annotations

import numpy as np

from argosy.scheduling.resources import CPU, MEMORY
from control_plane.scheduler.columns import Ints, Rows
from control_plane.scheduler.plugins.base import MAX_SCORE
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot


class NodeResourcesBalancedAllocation:
    name = "NodeResourcesBalancedAllocation"
    weight = 1

    def score(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Ints | None:
        """100 less the standard deviation of the used shares; pods without requests are alike everywhere."""
        requests = info.requests
        if not requests.get(CPU) and not requests.get(MEMORY):
            return None
        shares = []
        for resource in (CPU, MEMORY):
            allocatable = np.maximum(snapshot.allocatable(resource)[rows], 1)
            wanted = snapshot.used(resource)[rows] + requests.get(resource, 0)
            shares.append(np.minimum(wanted / allocatable, 1.0))
        deviation = np.abs(shares[0] - shares[1]) / 2
        scores: Ints = ((1 - deviation) * MAX_SCORE).astype(np.int64)
        return scores
