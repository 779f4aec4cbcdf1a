"""NodePorts: the host ports that a pod claims must be free."""

from __future__ import annotations

import numpy as np

from argosy.scheduling import fit
from argosy.scheduling.ports import ANY
from control_plane.scheduler.columns import Mask, Rows
from control_plane.scheduler.plugins.base import Reason, Reasons
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot


class NodePorts:
    name = "NodePorts"

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        mask: Mask | None = None
        for port in info.host_ports:
            for row, holders in snapshot.ports.get((port.protocol, port.port), {}).items():
                taken = holders.values()
                if port.address == ANY or ANY in taken or port.address in taken:
                    if mask is None:
                        mask = np.ones(snapshot.columns.capacity, np.bool_)
                    mask[row] = False
        return mask

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        return [(Reason(fit.NODE_PORTS, evictable=True), rows)]
