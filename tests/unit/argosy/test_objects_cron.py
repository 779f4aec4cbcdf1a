"""Cron schedules against cronsim where both mean the same, and against robfig/cron's own cases where they do not."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects import cron

DAY_S = 86400


def field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    # Distinct ends: cronsim reads 0-0/1 of the weekdays as every day.
    pair = st.lists(number, min_size=2, max_size=2, unique=True).map(sorted)
    step = st.integers(1, max(2, (most - least) // 2))
    part = st.one_of(
        number.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.tuples(pair, step).map(lambda item: f"{item[0][0]}-{item[0][1]}/{item[1]}"),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)),
    st.integers(0, 3_000_000_000),
)
def test_the_common_part_is_as_cronsims(fields: tuple[str, ...], start_s: int) -> None:
    text = " ".join(fields)
    schedule = cron.parse(text)
    expected = CronSim(text, datetime.fromtimestamp(start_s, UTC))
    at: float | None = start_s
    for _ in range(3):
        assert at is not None
        at = schedule.next(at)
        assert at == next(expected).timestamp()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["* * * * *", "*/7 3 * * *", "0 0 1 * *", "5 4 29 2 *", "@every 97s"]),
    st.integers(1_500_000_000, 1_600_000_000),
    st.integers(0, 90 * DAY_S),
)
def test_the_last_time_is_the_one_that_comes_before_the_next(text: str, after_s: int, span_s: int) -> None:
    schedule = cron.parse(text)
    last = schedule.last(after_s, after_s + span_s)
    following = schedule.next(after_s if last is None else last)
    assert following is not None and following > after_s + span_s
    if last is not None:
        assert after_s < last <= after_s + span_s


def after(text: str, zone: str, start: str) -> str:
    where = ZoneInfo(zone)
    begin = datetime.fromisoformat(start).replace(tzinfo=where).timestamp()
    at = cron.parse(text, zone).next(begin)
    assert at is not None
    return datetime.fromtimestamp(at, where).isoformat()


@pytest.mark.parametrize(
    ("text", "zone", "start", "expected"),
    [
        # New York skips 2:00 to 3:00 on 11 March 2012, and has 1:00 to 2:00 twice on 4 November.
        ("0 2 * * *", "America/New_York", "2012-03-10T12:00", "2012-03-12T02:00:00-04:00"),
        ("30 2 11 3 *", "America/New_York", "2012-03-10T12:00", "2013-03-11T02:30:00-04:00"),
        ("0 * * * *", "America/New_York", "2012-03-11T01:30", "2012-03-11T03:00:00-04:00"),
        ("30 1 * * *", "America/New_York", "2012-11-04T00:00", "2012-11-04T01:30:00-04:00"),
        ("30 1 * * *", "America/New_York", "2012-11-04T01:30", "2012-11-04T01:30:00-05:00"),
        ("0 3 * * *", "America/New_York", "2012-11-04T00:00", "2012-11-04T03:00:00-05:00"),
        # A day without midnight.
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00", "2018-11-05T00:00:00-02:00"),
        ("0 9 * * *", "America/Sao_Paulo", "2018-11-03T12:00", "2018-11-04T09:00:00-02:00"),
        # Half an hour of daylight saving.
        ("0 * * * *", "Australia/Lord_Howe", "2026-10-04T01:30", "2026-10-04T03:00:00+11:00"),
        ("0 0 29 2 *", "UTC", "2025-03-01T00:00", "2028-02-29T00:00:00+00:00"),
        # Either day matches, unless one is a star; a star with a step is none.
        ("0 0 13 * fri", "UTC", "2026-11-01T00:00", "2026-11-06T00:00:00+00:00"),
        ("0 0 13 * *", "UTC", "2026-11-01T00:00", "2026-11-13T00:00:00+00:00"),
        ("0 0 */30 * Mon", "UTC", "2026-11-01T12:00", "2026-11-02T00:00:00+00:00"),
        ("0 0 ? JAN-mar,DEC ?", "UTC", "2026-11-01T00:00", "2026-12-01T00:00:00+00:00"),
        ("50/5 22 * * *", "UTC", "2026-11-01T22:50", "2026-11-01T22:55:00+00:00"),
        ("@weekly", "UTC", "2026-11-24T00:00", "2026-11-29T00:00:00+00:00"),
        ("@yearly", "UTC", "2026-11-24T00:00", "2027-01-01T00:00:00+00:00"),
        ("@hourly", "Asia/Kathmandu", "2026-11-24T00:10", "2026-11-24T01:00:00+05:45"),
        ("@every 1h30m", "UTC", "2026-11-24T00:10", "2026-11-24T01:40:00+00:00"),
        ("TZ=Asia/Tokyo 0 9 * * *", "UTC", "2026-11-24T00:00", "2026-11-25T00:00:00+00:00"),
    ],
)
def test_as_robfigs(text: str, zone: str, start: str, expected: str) -> None:
    assert after(text, zone, start) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("0 * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("0 * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("*/2/3 * * * *", "too many slashes: */2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
        ("xyz * * * *", 'failed to parse int from xyz: strconv.Atoi: parsing "xyz": invalid syntax'),
        ("@unknown", "unrecognized descriptor: @unknown"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
        ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
    ],
)
def test_what_is_no_schedule(text: str, message: str) -> None:
    with pytest.raises(cron.CronError) as caught:
        cron.parse(text)
    assert str(caught.value) == message


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=30), st.text("*/-,?0123456789 @a", max_size=20)))
def test_nothing_else_is_raised(text: str) -> None:
    try:
        schedule = cron.parse(text)
    except cron.CronError:
        return
    schedule.next(0)


def test_a_day_that_never_comes() -> None:
    assert cron.parse("0 0 31 2 *").next(0) is None
    assert cron.parse("0 0 31 2 *").last(0, 1e9) is None
