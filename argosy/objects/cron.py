"""Cron schedules as Kubernetes reads them: five fields, `@hourly` and its like, `@every 1h30m`, in a time zone.

    schedule = parse("30 4 * * mon", "Europe/Berlin")
    schedule.next(unix_seconds)

The rules, errors and daylight saving are those of github.com/robfig/cron v3 `ParseStandard`, which upstream uses and
which no Python library follows: croniter and cronsim take 7 for Sunday, `L` and `#`, know neither `?` nor `@every`,
and make up for an hour that a change of clocks skips, where robfig's runs nothing in it and runs twice in an hour
that comes twice. Tests hold the common part against cronsim.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from argosy.objects import durations

YEARS_AHEAD: Final = 5
"""A schedule that names no day in so many years (31 February) never comes."""
LONGEST_REMEMBERED: Final = 256
"""Characters of a schedule that is parsed once only."""


class CronError(ValueError):
    """The text is no schedule; the message is robfig's."""


class Schedule(Protocol):
    def next(self, after_s: float) -> float | None:
        """The first time after `after_s`, Unix seconds; None when there is none within five years."""
        ...

    def last(self, after_s: float, until_s: float) -> float | None:
        """The last time after `after_s` and not after `until_s`."""
        ...


@dataclass(frozen=True)
class _Bounds:
    least: int
    most: int
    names: Mapping[str, int]


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MINUTE = _Bounds(0, 59, {})
_HOUR = _Bounds(0, 23, {})
_DAY = _Bounds(1, 31, {})
_MONTH = _Bounds(1, 12, {name: number for number, name in enumerate(_MONTHS, 1)})
_WEEKDAY = _Bounds(0, 6, {name: number for number, name in enumerate(_DAYS)})
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "


@dataclass(frozen=True)
class Every:
    """At a fixed distance, on whole seconds."""

    seconds: int

    def next(self, after_s: float) -> float | None:
        return float(int(after_s) + self.seconds)

    def last(self, after_s: float, until_s: float) -> float | None:
        count = int(until_s - int(after_s)) // self.seconds
        return float(int(after_s) + count * self.seconds) if count > 0 else None


@dataclass(frozen=True)
class Calendar:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both_days: bool
    """Day of month and of week must both match (one is a star), not just one of them."""
    zone: tzinfo

    def next(self, after_s: float) -> float | None:
        at = int(after_s) // 60 * 60 + 60
        last_year = datetime.fromtimestamp(after_s, self.zone).year + YEARS_AHEAD
        while True:
            local = datetime.fromtimestamp(at, self.zone)
            if local.year > last_year:
                return None
            if local.month not in self.months:
                at = self._midnight(local.replace(day=1) + timedelta(days=32), first=True)
            elif not self._day_matches(local):
                at = self._midnight(local + timedelta(days=1))
            elif local.hour not in self.hours:
                # In absolute time: an hour that the clocks skip is not seen, one that comes twice is seen twice.
                at += 3600 - local.minute * 60
            elif local.minute not in self.minutes:
                at += 60
            else:
                return float(at)

    def last(self, after_s: float, until_s: float) -> float | None:
        # Searched from the end, in growing steps: years may have been missed.
        reach_s = 120.0
        while True:
            start_s = max(after_s, until_s - reach_s)
            found, at = None, self.next(start_s)
            while at is not None and at <= until_s:
                found, at = at, self.next(at)
            if found is not None or start_s <= after_s:
                return found
            reach_s *= 4

    def _midnight(self, day: datetime, *, first: bool = False) -> int:
        """The start of that day; where midnight is skipped, the first moment after."""
        start = day.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if first:
            start = start.replace(day=1)
        return int(start.timestamp())

    def _day_matches(self, local: datetime) -> bool:
        in_month, in_week = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return in_month and in_week if self.both_days else in_month or in_week


def zone(name: str) -> tzinfo:
    """Raises CronError for a zone that the time zone database does not have."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # OSError: the name of a folder of the database.
        raise CronError(f"unknown time zone {name}") from None


def parse(text: str, time_zone: str = "") -> Schedule:
    """`time_zone` is an IANA name; empty: UTC. `TZ=NAME ` or `CRON_TZ=NAME ` in the text goes before it.

    Raises CronError.
    """
    return _remembered(text, time_zone) if len(text) <= LONGEST_REMEMBERED else _parse(text, time_zone)


@functools.lru_cache(maxsize=1024)
def _remembered(text: str, time_zone: str) -> Schedule:
    return _parse(text, time_zone)


def _parse(text: str, time_zone: str) -> Schedule:
    if not text:
        raise CronError("empty spec string")
    where: tzinfo | None = None
    if text.startswith(("TZ=", "CRON_TZ=")):
        setting, _, text = text.partition(" ")
        name = setting.partition("=")[2]
        try:
            where = zone(name)
        except CronError as error:
            raise CronError(f"provided bad location {name}: {error}") from None
        text = text.strip()
    if where is None:
        where = zone(time_zone) if time_zone else UTC
    if text.startswith("@"):
        if text.startswith(_EVERY):
            return _every(text)
        if text not in _DESCRIPTORS:
            raise CronError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != len(_FIELDS):
        shown = " ".join(fields)
        raise CronError(f"expected exactly 5 fields, found {len(fields)}: [{shown}]")
    minutes, hours, days, months, weekdays = [
        _field(field, bounds) for field, bounds in zip(fields, _FIELDS, strict=True)
    ]
    both = days[1] or weekdays[1]
    return Calendar(minutes[0], hours[0], days[0], months[0], weekdays[0], both, where)


def _every(text: str) -> Every:
    try:
        seconds = durations.parse_go(text.removeprefix(_EVERY))
    except ValueError as error:
        raise CronError(f"failed to parse duration {text}: {error}") from None
    return Every(max(1, int(seconds)))


def _field(field: str, bounds: _Bounds) -> tuple[frozenset[int], bool]:
    values: set[int] = set()
    star = False
    for part in field.split(","):
        if part:
            found, has_star = _range(part, bounds)
            values.update(found)
            star = star or has_star
    return frozenset(values), star


def _range(part: str, bounds: _Bounds) -> tuple[range, bool]:
    """The values of `number`, `first-last`, `*` or `?`, with `/step` or without; and whether it is every value."""
    base, *steps = part.split("/")
    ends = base.split("-")
    star = ends[0] in ("*", "?")
    if star:
        first, last = bounds.least, bounds.most
    elif len(ends) > 2:
        raise CronError(f"too many hyphens: {part}")
    else:
        first, last = _number(ends[0], bounds), _number(ends[-1], bounds)
    step = 1
    if len(steps) > 1:
        raise CronError(f"too many slashes: {part}")
    if steps:
        step = _integer(steps[0])
        if len(ends) == 1:
            last = bounds.most
        star = star and step <= 1
    if first < bounds.least:
        raise CronError(f"beginning of range ({first}) below minimum ({bounds.least}): {part}")
    if last > bounds.most:
        raise CronError(f"end of range ({last}) above maximum ({bounds.most}): {part}")
    if first > last:
        raise CronError(f"beginning of range ({first}) beyond end of range ({last}): {part}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {part}")
    return range(first, last + 1, step), star


def _number(text: str, bounds: _Bounds) -> int:
    named = bounds.names.get(text.lower())
    return _integer(text) if named is None else named


def _integer(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise CronError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise CronError(f"negative number ({number}) not allowed: {text}")
    return number
