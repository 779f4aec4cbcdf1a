"""Messages whose JSON is no object: times, quantities, durations, int-or-string, embedded JSON."""

from __future__ import annotations

import binascii
from datetime import UTC, datetime, timedelta

import orjson

from argosy.objects.types import JsonObject
from control_plane.apiserver.protobuf.errors import ProtobufError
from control_plane.apiserver.protobuf.messages import Form
from control_plane.apiserver.protobuf.wire import LENGTH, VARINT, fields, signed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ((3_600_000_000_000, "h"), (60_000_000_000, "m"))

Json = str | int | float | bool | list[object] | JsonObject | None


def text(data: bytes) -> str:
    """A string; what is not UTF-8 is replaced, as Go's JSON writer does."""
    return data.decode("utf-8", errors="replace")


def base64_text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def special(form: Form, data: bytes) -> Json:
    """The JSON of a special message; None when it says nothing. Raises ProtobufError."""
    match form:
        case Form.QUANTITY:
            return next((text(raw) for number, wire, _, raw in fields(data) if number == 1 and wire == LENGTH), "0")
        case Form.TIME:
            return _time(data, micro=False)
        case Form.MICRO_TIME:
            return _time(data, micro=True)
        case Form.DURATION:
            value = next((v for number, wire, v, _ in fields(data) if number == 1 and wire == VARINT), 0)
            return duration_text(signed(value))
        case Form.INT_OR_STRING:
            return _int_or_string(data)
        case Form.STRINGS:
            return [text(raw) for number, wire, _, raw in fields(data) if number == 1 and wire == LENGTH]
    return _embedded(data)


def _time(data: bytes, *, micro: bool) -> str | None:
    if not data:
        return None
    seconds = nanos = 0
    for number, wire, value, _ in fields(data):
        if wire != VARINT:
            raise ProtobufError(f"proto: wrong wireType = {wire} for field Time")
        if number == 1:
            seconds = signed(value)
        elif number == 2:
            nanos = signed(value, 32)
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise ProtobufError(f"time of {seconds} seconds is out of range") from None
    if moment.year == 1 and seconds == -62135596800:
        return None  # Go's zero time
    if micro:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def _int_or_string(data: bytes) -> str | int:
    kind = number_value = 0
    string = ""
    for number, wire, value, raw in fields(data):
        if number == 1 and wire == VARINT:
            kind = value
        elif number == 2 and wire == VARINT:
            number_value = signed(value, 32)
        elif number == 3 and wire == LENGTH:
            string = text(raw)
    return string if kind == 1 else number_value


def _embedded(data: bytes) -> Json:
    raw = next((raw for number, wire, _, raw in fields(data) if number == 1 and wire == LENGTH), b"")
    if not raw:
        return None
    try:
        value: Json = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProtobufError(f"embedded object is not JSON: {error}") from None
    return value


def duration_text(nanoseconds: int) -> str:
    """Go's time.Duration.String: `1h2m3.5s`, `150ms`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < 1_000_000_000:
        for size, unit in ((1_000_000, "ms"), (1_000, "µs"), (1, "ns")):
            if left >= size:
                return f"{sign}{_decimal(left, size)}{unit}"
    result = ""
    for size, unit in _UNITS:
        if left >= size or result:
            result += f"{left // size}{unit}"
            left %= size
    return f"{sign}{result}{_decimal(left, 1_000_000_000)}s"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    if not part:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{str(part).rjust(digits, '0').rstrip('0')}"
