"""NodeName: a pod that names its node goes there or nowhere.

Such pods are bound as they are created; the rule answers questions about them (why would it not run there?).
"""

from __future__ import annotations

import numpy as np

from argosy.scheduling.fit import NODE_NAME
from control_plane.scheduler.columns import Mask, Rows
from control_plane.scheduler.plugins.base import Reason, Reasons
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot


class NodeName:
    name = "NodeName"

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        if not info.node_name:
            return None
        mask = np.zeros(snapshot.columns.capacity, np.bool_)
        row = snapshot.rows.get(info.node_name)
        if row is not None:
            mask[row] = True
        return mask

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        return [(Reason(NODE_NAME, evictable=False), rows)]
