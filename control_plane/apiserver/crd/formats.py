"""String formats of schemas, and what does not fit them; unknown formats fit everything, as upstream has it.

Upstream: apiextensions-apiserver `pkg/apiserver/validation/formats.go`, kube-openapi `pkg/validation/strfmt`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date as calendar_date
from typing import Final
from urllib.parse import urlsplit

from argosy.objects import names

_DURATION: Final = re.compile(
    r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*"
)
_LOOSE_DURATION: Final = re.compile(
    r"\d+\s*(ns|nanos?|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?|s|secs?|seconds?|"
    r"m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)",
    re.IGNORECASE,
)
_DATE_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d+)?([Zz]|[-+]\d\d:?\d\d)"
)
_UUID: Final = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?([0-9a-f])[0-9a-f]{3}-?([0-9a-f])[0-9a-f]{3}-?[0-9a-f]{12}", re.I
)
_HOST: Final = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))*\.?")


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _date(text: str) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text)) and _parses(calendar_date.fromisoformat, text)


def _date_time(text: str) -> bool:
    match = _DATE_TIME.fullmatch(text)
    return match is not None and _date("-".join(match.group(1, 2, 3)))


def _byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _uri(text: str) -> bool:
    """As Go's url.ParseRequestURI: absolute, or a path from the root."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # raises for a port that is none
    except ValueError:
        return False
    if any(char <= " " or char == "\x7f" for char in text):
        return False
    return bool(parts.scheme) or text.startswith("/")


def _email(text: str) -> bool:
    if text.endswith(">") and "<" in text:
        text = text[text.rindex("<") + 1 : -1]
    local, at, domain = text.rpartition("@")
    return bool(at and local and domain) and not any(char.isspace() for char in local + domain)


def _uuid(version: str) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        match = _UUID.fullmatch(text)
        if match is None:
            return False
        return not version or (match[1] == version and (version == "3" or match[2].lower() in "89ab"))

    return check


def _isbn(length: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        digits = re.sub(r"[\s-]+", "", text)
        if length == 10:
            if not re.fullmatch(r"\d{9}[\dX]", digits):
                return False
            numbers = [10 if char == "X" else int(char) for char in digits]
            return sum((at + 1) * number for at, number in enumerate(numbers)) % 11 == 0
        if not re.fullmatch(r"\d{13}", digits):
            return False
        return sum(int(char) * (3 if at % 2 else 1) for at, char in enumerate(digits)) % 10 == 0

    return check


def _credit_card(text: str) -> bool:
    digits = re.sub(r"\D+", "", text)
    if not re.fullmatch(r"\d{13,19}", digits):
        return False
    total = 0
    for at, char in enumerate(reversed(digits)):
        number = int(char) * (2 if at % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _cidr(text: str) -> bool:
    return "/" in text and _parses(lambda item: ipaddress.ip_network(item, strict=False), text)


FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "bsonobjectid": _matches(r"[0-9a-fA-F]{24}"),
    "byte": _byte,
    "cidr": _cidr,
    "creditcard": _credit_card,
    "date": _date,
    "date-time": _date_time,
    "datetime": _date_time,
    "duration": lambda text: bool(_DURATION.fullmatch(text) or _LOOSE_DURATION.fullmatch(text) or text == "0"),
    "email": _email,
    "hexcolor": _matches(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "hostname": lambda text: len(text) <= 255 and _HOST.fullmatch(text) is not None,
    "ipv4": lambda text: _parses(ipaddress.IPv4Address, text),
    "ipv6": lambda text: _parses(ipaddress.IPv6Address, text),
    "isbn": lambda text: _isbn(10)(text) or _isbn(13)(text),
    "isbn10": _isbn(10),
    "isbn13": _isbn(13),
    "k8s-long-name": lambda text: not names.check_subdomain(text),
    "k8s-short-name": lambda text: not names.check_label(text),
    "mac": _matches(
        r"([0-9a-fA-F]{2}[:-]){5}([0-9a-fA-F]{2}[:-]?){0,3}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}"
    ),
    "password": lambda _text: True,
    "rgbcolor": _matches(r"rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _uri,
    "uuid": _uuid(""),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
}
NUMBERS: Final = ("int32", "int64", "float", "double")


def is_known(name: str) -> bool:
    """`bsonobjectid`, `Date-Time`…: dashes and case do not count."""
    return name in NUMBERS or normal(name) in _BY_NORMAL or not name


def normal(name: str) -> str:
    return name.replace("-", "").lower()


_BY_NORMAL: Final = {normal(name): check for name, check in FORMATS.items()}


def check_of(name: str) -> Callable[[str], bool] | None:
    return _BY_NORMAL.get(normal(name))
