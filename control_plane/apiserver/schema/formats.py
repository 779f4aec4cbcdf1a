"""Scalars that Go decodes with code of their own: times, base64, quantities, int-or-string.

Each converter gives the value to keep (as Go would write it back) or raises ValueError with Go's message.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from argosy.objects import quantity

INT32 = (-(1 << 31), (1 << 31) - 1)
INT64 = (-(1 << 63), (1 << 63) - 1)
JSON_NAMES: dict[type, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "bool",
    dict: "object",
    list: "array",
}

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T](\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_TIME_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"


def json_name(value: object) -> str:
    """What Go's decoder calls a JSON value of the wrong type: `string`, `number`, `bool`, `object`, `array`."""
    return JSON_NAMES.get(type(value), "value")


def number_name(value: float) -> str:
    """Go names the literal when a number does not fit: `number 1.5`."""
    return f"number {value:g}" if isinstance(value, float) else f"number {value}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"json: cannot unmarshal {json_name(value)} into Go value of type string")
    return value


def _moment(text: str, layout: str) -> datetime:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"')
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        moment += timedelta(microseconds=int((fraction or ".0")[1:7].ljust(6, "0")))
        if zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
            moment = moment - offset if zone[0] == "+" else moment + offset
    except (ValueError, OverflowError):
        raise ValueError(f'parsing time "{text}": day out of range') from None
    return moment


@lru_cache(maxsize=1024)
def _time(text: str) -> str:
    return _moment(text, _TIME_LAYOUT).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


@lru_cache(maxsize=1024)
def _micro_time(text: str) -> str:
    return _moment(text, _MICRO_LAYOUT).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def time(value: object) -> str:
    """metav1.Time: RFC 3339, kept to the second in UTC."""
    return _time(_text(value))


def micro_time(value: object) -> str:
    """metav1.MicroTime: RFC 3339 with six decimals in UTC. Fewer decimals are taken too (upstream refuses them)."""
    return _micro_time(_text(value))


def bytes_text(value: object) -> str:
    """Base64 of a Go []byte; line ends inside are dropped, as Go does."""
    text = _text(value)
    if "\n" in text or "\r" in text:
        text = text.replace("\n", "").replace("\r", "")
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError(f"illegal base64 data at input byte {_bad_base64(text)}") from None
    return text


def _bad_base64(text: str) -> int:
    for index, char in enumerate(text):
        if not (char.isascii() and (char.isalnum() or char in "+/")):
            if char == "=" and text[index:] in ("=", "==") and len(text) % 4 == 0:
                break
            return index
    return len(text) - len(text) % 4 if len(text) % 4 else max(len(text) - 1, 0)


def quantity_text(value: object) -> str:
    """A quantity as it was written; numbers become text."""
    if type(value) is str:
        quantity.parse(value)
        return value.strip()
    return quantity.canonical(value)


def canonical_quantity(value: object) -> str:
    """A quantity of a resource list: rounded up to milli, canonical text."""
    return _canonical(value) if isinstance(value, str) else quantity.of_milli(quantity.milli(value))


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    parsed = quantity.parse(text)
    return str(quantity.Quantity(parsed.milli * 10**6, parsed.format))


def int_or_string(value: object) -> object:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"json: cannot unmarshal {json_name(value)} into Go value of type int32")
    return int32(value)


def int32(value: object) -> int:
    if type(value) is not int or not INT32[0] <= value <= INT32[1]:
        raise ValueError(f"json: cannot unmarshal {_number(value)} into Go value of type int32")
    return value


def _number(value: object) -> str:
    return number_name(value) if isinstance(value, int | float) else json_name(value)
