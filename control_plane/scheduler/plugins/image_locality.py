"""ImageLocality: better where the pod's images are already."""

from __future__ import annotations

import numpy as np

from control_plane.scheduler.columns import Ints, Rows
from control_plane.scheduler.plugins.base import MAX_SCORE
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot

MIN_BYTES = 23 << 20
MAX_BYTES_PER_CONTAINER = 1000 << 20


def normalised_name(image: str) -> str:
    """With the tag that is meant when none is written."""
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"


class ImageLocality:
    name = "ImageLocality"
    weight = 1

    def score(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Ints | None:
        """An image that few nodes have counts less, so that one node does not draw every pod."""
        total = np.zeros(snapshot.columns.capacity, np.float64)
        found = False
        for image in info.images:
            holders = snapshot.images.get(normalised_name(image), {})
            spread = len(holders) / max(len(snapshot), 1)
            for row, size_bytes in holders.items():
                total[row] += size_bytes * spread
                found = True
        if not found:
            return None
        most = MAX_BYTES_PER_CONTAINER * len(info.images)
        clipped = np.clip(total[rows].astype(np.int64), MIN_BYTES, most)
        return MAX_SCORE * (clipped - MIN_BYTES) // (most - MIN_BYTES)
