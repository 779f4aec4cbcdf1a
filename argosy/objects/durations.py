"""Durations and ages: how kubectl prints them, and Go's text form as flags and fields carry it."""

from __future__ import annotations

import re
from fractions import Fraction

from argosy.host import parse_rfc3339

UNKNOWN = "<unknown>"
_UNITS = {"ns": -9, "us": -6, "µs": -6, "μs": -6, "ms": -3}
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def human(seconds: float) -> str:
    """A duration in the two most telling units, as k8s.io/apimachinery `duration.HumanDuration` rounds it."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = whole // 3600
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 24 * 8:
        return _two(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    if hours < 24 * 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def age(timestamp: object, now: float) -> str:
    """The age of an RFC 3339 time stamp at `now` (Unix seconds): the AGE column; `<unknown>` when absent."""
    if not isinstance(timestamp, str) or not timestamp:
        return UNKNOWN
    try:
        return human(now - parse_rfc3339(timestamp))
    except ValueError:
        return UNKNOWN


def parse_go(text: str) -> float:
    """Seconds of Go's duration text (`1h5m`, `300ms`, `-1.5s`, `0`). Raises ValueError."""
    rest = text.lstrip("+-") if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total, position = Fraction(0), 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            break
        number, unit = part.groups()
        scale = Fraction(10) ** _UNITS[unit] if unit in _UNITS else Fraction(_SECONDS[unit])
        total += Fraction(f"0{number}0" if "." in number else number) * scale
        position = part.end()
    if not rest or position < len(rest) or len(text) - len(rest) > 1:
        raise ValueError(f'time: invalid duration "{text}"')
    return float(-total if text[0] == "-" else total)
