"""Sets of indexes against plain sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.objects import intervals

indexes = st.sets(st.integers(0, 60), max_size=40)


def members(found: intervals.Intervals) -> set[int]:
    return {index for first, last in found for index in range(first, last + 1)}


@given(indexes, indexes, st.integers(0, 70))
def test_they_are_sets(left: set[int], right: set[int], limit: int) -> None:
    a, b = intervals.with_indexes((), left), intervals.with_indexes((), right)
    assert members(a) == left and intervals.total(a) == len(left)
    assert members(intervals.union(a, b)) == left | right
    assert intervals.common(a, b) == len(left & right)
    assert intervals.first_overlap(a, b) == min(left & right, default=None)
    assert [index for index in range(70) if intervals.has(a, index)] == sorted(left)
    assert intervals.parse(intervals.text(a), limit) == intervals.with_indexes((), {i for i in left if i < limit})
    assert intervals.check(intervals.text(a), 61) == len(left)
    free = [index for index in range(limit) if index not in left]
    assert intervals.first_missing(a, 5, limit) == free[:5]


def test_the_text_is_upstreams() -> None:
    assert intervals.text(intervals.with_indexes((), [0, 2, 3, 5, 6, 7])) == "0,2,3,5-7"
    assert intervals.parse("0,junk,4-2,3-9", 6) == ((0, 0), (3, 5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1-2-3", "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts "
         "separated by '-'"),
        ("x", 'cannot convert string to integer for index: "x"'),
        ("-1", 'cannot convert string to integer for index: ""'),
        ("0,10", 'too large index: "10"'),
        ("3-3", "non-increasing order, previous: 3, current: 3"),
        ("0-4,2", "non-increasing order, previous: 4, current: 2"),
    ],
)  # fmt: skip
def test_what_is_no_set(text: str, message: str) -> None:
    with pytest.raises(intervals.IntervalError) as caught:
        intervals.check(text, 10)
    assert str(caught.value) == message
