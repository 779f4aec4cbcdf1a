"""Sets of indexes in their compressed text form, `0-2,5`: completedIndexes, failedIndexes and success policies.

Upstream: `pkg/controller/job/indexed_job_utils.go`, `pkg/apis/batch/validation`. Two neighbours are written `3,4`,
more as `3-5`. A set is a tuple of (first, last), in order, neither touching nor overlapping: a Job of a million
indexes costs as much as its gaps.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

Intervals = tuple[tuple[int, int], ...]

EMPTY: Intervals = ()


class IntervalError(ValueError):
    """The text is no set of indexes; the message is upstream's."""


def check(text: str, completions: int) -> int:
    """How many indexes the text names. Raises IntervalError."""
    total, last = 0, None
    for part in text.split(",") if text else ():
        first, end = _interval(part, completions)
        if last is not None and last >= first:
            raise IntervalError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def _interval(part: str, completions: int) -> tuple[int, int]:
    limits = part.split("-")
    if len(limits) > 2:
        raise IntervalError(
            f'the fragment "{part}" violates the requirement that an index interval can have at most two parts '
            "separated by '-'"
        )
    first, *rest = [_index(text, completions) for text in limits]
    if rest and first >= rest[0]:
        raise IntervalError(f"non-increasing order, previous: {first}, current: {rest[0]}")
    return first, rest[0] if rest else first


def _index(text: str, completions: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise IntervalError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise IntervalError(f'too large index: "{text}"')
    return int(text)


def parse(text: str, completions: int) -> Intervals:
    """What the text says of indexes below `completions`; what cannot be read is left out: a status must not stop a
    controller."""
    found: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        limits = part.split("-")
        if not all(limit.isascii() and limit.isdigit() and len(limit) <= 10 for limit in limits):
            continue
        first, last = int(limits[0]), min(int(limits[-1]), completions - 1)
        if first <= last:
            found.append((first, last))
    return union(EMPTY, found)


def text(intervals: Intervals) -> str:
    parts = []
    for first, last in intervals:
        if last == first:
            parts.append(str(first))
        else:
            parts.append(f"{first}{',' if last == first + 1 else '-'}{last}")
    return ",".join(parts)


def union(left: Intervals, right: Iterable[tuple[int, int]]) -> Intervals:
    result: list[tuple[int, int]] = []
    for first, last in sorted([*left, *right]):
        if result and first <= result[-1][1] + 1:
            result[-1] = result[-1][0], max(result[-1][1], last)
        else:
            result.append((first, last))
    return tuple(result)


def with_indexes(intervals: Intervals, indexes: Iterable[int]) -> Intervals:
    return union(intervals, [(index, index) for index in indexes])


def total(intervals: Intervals) -> int:
    return sum(last - first + 1 for first, last in intervals)


def has(intervals: Intervals, index: int) -> bool:
    place = bisect_left(intervals, index, key=lambda interval: interval[1])
    return place < len(intervals) and intervals[place][0] <= index


def common(left: Intervals, right: Intervals) -> int:
    """How many indexes are in both."""
    count, i, j = 0, 0, 0
    while i < len(left) and j < len(right):
        count += max(0, min(left[i][1], right[j][1]) - max(left[i][0], right[j][0]) + 1)
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return count


def first_overlap(left: Intervals, right: Intervals) -> int | None:
    i, j = 0, 0
    while i < len(left) and j < len(right):
        start = max(left[i][0], right[j][0])
        if start <= min(left[i][1], right[j][1]):
            return start
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return None


def first_missing(intervals: Intervals, count: int, limit: int) -> list[int]:
    """The lowest `count` indexes below `limit` that are not in the set."""
    result: list[int] = []
    at = 0
    for first, last in (*intervals, (limit, limit)):
        stop = min(first, limit, at + count - len(result))
        result.extend(range(at, stop))
        if len(result) >= count or first >= limit:
            break
        at = last + 1
    return result
