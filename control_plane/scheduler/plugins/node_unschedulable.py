"""NodeUnschedulable: no new pods on a cordoned node, unless they tolerate that."""

from __future__ import annotations

from argosy.scheduling.fit import UNSCHEDULABLE
from argosy.scheduling.taints import node_tolerates_unschedulable
from control_plane.scheduler.columns import Mask, Rows
from control_plane.scheduler.plugins.base import Reason, Reasons
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot


class NodeUnschedulable:
    name = "NodeUnschedulable"

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        cordoned = snapshot.unschedulable
        if not cordoned.any() or node_tolerates_unschedulable(info.tolerations):
            return None
        return ~cordoned

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        return [(Reason(UNSCHEDULABLE, evictable=False), rows)]
