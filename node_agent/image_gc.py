"""Which images a node deletes when its disk fills up: pure, but for what it remembers of when images were used.

Upstream's rules (pkg/kubelet/images/image_gc_manager.go): from `high_percent` of the disk in use on, images that no
container uses go, the longest unused first, until `low_percent`; an image that is younger than `min_age_s` stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from node_agent.node_status import Level
from node_agent.runtime.runtime import Image


@dataclass
class _Record:
    first_s: float
    used_s: float


@dataclass
class ImageRecords:
    """When each image was first seen and last used, by id. Times are monotonic seconds."""

    records: dict[str, _Record] = field(default_factory=dict)

    def seen(self, images: Iterable[Image], used: Iterable[str], now_s: float) -> None:
        """`used`: ids, tags and digests that containers refer to."""
        names = set(used)
        there = {image.id: image for image in images}
        self.records = {
            id_: self.records.get(id_) or _Record(now_s, 0.0 if not _is_used(image, names) else now_s)
            for id_, image in there.items()
        }
        for id_, image in there.items():
            if _is_used(image, names):
                self.records[id_].used_s = now_s

    def unused(
        self, images: Iterable[Image], used: Iterable[str], pinned: Iterable[str], now_s: float, min_age_s: float
    ) -> list[Image]:
        """What may go, the longest unused first, of those the oldest."""
        names, kept = set(used), set(pinned)
        found = [
            image
            for image in images
            if not image.pinned
            and not _is_used(image, names)
            and not _is_used(image, kept)
            and image.id in self.records
            and now_s - self.records[image.id].first_s >= min_age_s
        ]
        return sorted(found, key=lambda image: (self.records[image.id].used_s, self.records[image.id].first_s))


def _is_used(image: Image, names: set[str]) -> bool:
    return bool({image.id, *image.tags, *image.digests} & names)


def to_free(level: Level, high_percent: float, low_percent: float) -> int:
    """Bytes to free, 0 below the high threshold."""
    if level.capacity <= 0:
        return 0
    used = level.capacity - level.available
    if 100 * used / level.capacity < high_percent:
        return 0
    return max(0, int(level.capacity * (100 - low_percent) / 100) - level.available)


def enough(images: Sequence[Image], wanted_bytes: int) -> list[Image]:
    """As many of them, in this order, as free so much."""
    result: list[Image] = []
    freed = 0
    for image in images:
        if freed >= wanted_bytes:
            break
        result.append(image)
        freed += image.size_bytes
    return result
