"""A sorted set of keys in chunks: insert, remove and find in O(log n) comparisons plus one short list shift.

A flat list would shift 800 kB per insert at 100,000 keys; chunks of at most 1,024 keys shift 8 kB, and counting a
range adds up chunk lengths (about 200 of them at 100,000 keys) instead of keys.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

CHUNK_KEYS = 1024


class SortedKeys:
    """Distinct byte strings in ascending order."""

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        """`keys` must be distinct."""
        ordered = sorted(keys)
        half = CHUNK_KEYS // 2
        self._chunks = [ordered[start : start + half] for start in range(0, len(ordered), half)]
        self._last = [chunk[-1] for chunk in self._chunks]
        self._size = len(ordered)

    def __len__(self) -> int:
        return self._size

    def add(self, key: bytes) -> None:
        """Insert a key that is not there."""
        self._size += 1
        if not self._chunks:
            self._chunks.append([key])
            self._last.append(key)
            return
        at = min(bisect_left(self._last, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        self._last[at] = chunk[-1]
        if len(chunk) > CHUNK_KEYS:
            half = len(chunk) // 2
            self._chunks.insert(at + 1, chunk[half:])
            del chunk[half:]
            self._last[at] = chunk[-1]
            self._last.insert(at + 1, self._chunks[at + 1][-1])

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        at = bisect_left(self._last, key)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key)]
        self._size -= 1
        if chunk:
            self._last[at] = chunk[-1]
        else:
            del self._chunks[at]
            del self._last[at]

    def between(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """Keys in [start, end), or from `start` on when `end` is None. The set must not change meanwhile."""
        at = bisect_left(self._last, start)
        if at == len(self._chunks):
            return
        first = bisect_left(self._chunks[at], start)
        while at < len(self._chunks):
            chunk = self._chunks[at]
            if end is not None and chunk[-1] >= end:
                yield from chunk[first : bisect_left(chunk, end)]
                return
            yield from chunk[first:] if first else chunk
            first = 0
            at += 1

    def count(self, start: bytes, end: bytes | None) -> int:
        """How many keys `between` would give."""
        if end is not None and end <= start:
            return 0
        low, high = self._position(start), (len(self._chunks), 0) if end is None else self._position(end)
        if low[0] == high[0]:
            return high[1] - low[1]
        return sum(len(chunk) for chunk in self._chunks[low[0] : high[0]]) - low[1] + high[1]

    def __contains__(self, key: bytes) -> bool:
        at = bisect_left(self._last, key)
        if at == len(self._chunks):
            return False
        chunk = self._chunks[at]
        found = bisect_right(chunk, key)
        return found > 0 and chunk[found - 1] == key

    def _position(self, key: bytes) -> tuple[int, int]:
        at = bisect_left(self._last, key)
        return (at, 0) if at == len(self._chunks) else (at, bisect_left(self._chunks[at], key))
