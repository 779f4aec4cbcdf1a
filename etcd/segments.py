"""Which watched ranges contain a key: an index whose lookup does not grow with the number of watchers.

Watchers of one range share one entry. Single keys sit in a dict; ranges cut the key space into segments, each with
the ranges that cover it, so that a lookup is one bisection. Adding or removing a range touches only the segments
it covers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Generic, TypeVar

G = TypeVar("G")


class RangeIndex(Generic[G]):
    """Values by range [start, end); each value is added once per range."""

    def __init__(self) -> None:
        self._exact: dict[bytes, G] = {}
        self._bounds: list[bytes] = [b""]
        self._cover: list[dict[G, None]] = [{}]

    def add(self, start: bytes, end: bytes | None, value: G) -> None:
        """`end` None is everything from `start` on. One value per distinct single key."""
        if end == start + b"\0":
            self._exact[start] = value
            return
        first = self._split(start)
        last = len(self._bounds) if end is None else self._split(end)
        for at in range(first, last):
            self._cover[at][value] = None

    def remove(self, start: bytes, end: bytes | None, value: G) -> None:
        if end == start + b"\0":
            del self._exact[start]
            return
        first = bisect_left(self._bounds, start)
        last = len(self._bounds) if end is None else bisect_left(self._bounds, end)
        for at in range(first, last):
            del self._cover[at][value]
        if end is not None:
            self._join(last)
        self._join(first)

    def find(self, key: bytes) -> list[G]:
        """The values of all ranges that contain `key`."""
        found = list(self._cover[bisect_right(self._bounds, key) - 1])
        exact = self._exact.get(key)
        if exact is not None:
            found.append(exact)
        return found

    def __len__(self) -> int:
        """Segments and single keys held; for tests of what bounds it."""
        return len(self._bounds) + len(self._exact)

    def _split(self, bound: bytes) -> int:
        at = bisect_left(self._bounds, bound)
        if at == len(self._bounds) or self._bounds[at] != bound:
            self._bounds.insert(at, bound)
            self._cover.insert(at, dict(self._cover[at - 1]))
        return at

    def _join(self, at: int) -> None:
        """Drop a bound that no longer separates anything."""
        if 0 < at < len(self._bounds) and self._cover[at].keys() == self._cover[at - 1].keys():
            del self._bounds[at]
            del self._cover[at]
