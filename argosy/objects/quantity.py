"""Resource quantities: exact numbers with SI or binary suffixes, as k8s.io/apimachinery `pkg/api/resource` has them.

A quantity is held as an integer count of nano units (upstream rounds finer values up to nano) and the family of
suffixes that it was written in, which the canonical text keeps. Everyone who reads requests, limits, capacities
or metrics calls `milli` or `value`; the API server stores `canonical` text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import lru_cache

FORMAT_COMPLAINT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
NUMBER_COMPLAINT = "unable to parse numeric part of quantity"
SUFFIX_COMPLAINT = "unable to parse quantity's suffix"

NANO = 10**9
MAX_VALUE = (1 << 63) - 1
MAX_TEXT_CHARS = 128
"""Longer texts are refused: no number that fits needs them."""

_SHAPE = re.compile(r"([+-]?)([0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", re.ASCII)
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]{1,3})", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {0: "", **{exponent // 10: suffix for suffix, exponent in _BINARY.items()}}


class QuantityError(ValueError):
    """The text is no quantity; the message is upstream's."""


class Format(Enum):
    DECIMAL_SI = "DecimalSI"
    BINARY_SI = "BinarySI"
    DECIMAL_EXPONENT = "DecimalExponent"


def _ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)


@dataclass(frozen=True, slots=True)
class Quantity:
    nano: int
    """The value in units of 1e-9."""
    format: Format = Format.DECIMAL_SI

    @property
    def milli(self) -> int:
        """In thousandths, rounded up."""
        return _ceil_div(self.nano, 10**6)

    @property
    def value(self) -> int:
        """In whole units, rounded up."""
        return _ceil_div(self.nano, NANO)

    def __add__(self, other: Quantity) -> Quantity:
        """The sum; it keeps the suffixes of the first operand that is not zero."""
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nano, self.format)

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __le__(self, other: Quantity) -> bool:
        return self.nano <= other.nano

    def __str__(self) -> str:
        """The canonical text: no precision lost, no fraction, the largest suffix that allows both."""
        if self.nano == 0:
            return "0"
        sign, size = ("-", -self.nano) if self.nano < 0 else ("", self.nano)
        if self.format is Format.BINARY_SI and size >= 1024 * NANO and size % NANO == 0:
            number, power = size // NANO, 0
            while number % 1024 == 0 and power < 6:
                number, power = number // 1024, power + 1
            return f"{sign}{number}{_BINARY_SUFFIX[power]}"
        number, exponent = size, -9
        while number % 1000 == 0 and exponent < 18:
            number, exponent = number // 1000, exponent + 3
        if self.format is Format.DECIMAL_EXPONENT:
            return f"{sign}{number}e{exponent}" if exponent else f"{sign}{number}"
        return f"{sign}{number}{_DECIMAL_SUFFIX[exponent]}"


ZERO = Quantity(0)


def _scaled(number: str, suffix: str) -> tuple[Fraction, Format]:
    if suffix in _DECIMAL:
        return Fraction(number) * Fraction(10) ** _DECIMAL[suffix], Format.DECIMAL_SI
    if suffix in _BINARY:
        value = Fraction(number) * (1 << _BINARY[suffix])
        return value, Format.DECIMAL_SI if 0 < value < 1 else Format.BINARY_SI
    exponent = _EXPONENT.fullmatch(suffix)
    if exponent is None:
        raise QuantityError(SUFFIX_COMPLAINT)
    return Fraction(number) * Fraction(10) ** int(exponent[1]), Format.DECIMAL_EXPONENT


@lru_cache(maxsize=8192)
def _parse(text: str) -> Quantity:
    if len(text) > MAX_TEXT_CHARS:
        raise QuantityError(FORMAT_COMPLAINT)
    if text.isascii() and text.isdigit():
        return Quantity(min(int(text), MAX_VALUE) * NANO)
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise QuantityError(FORMAT_COMPLAINT)
    sign, number, suffix = shape.groups()
    if _NUMBER.fullmatch(number) is None:
        raise QuantityError(NUMBER_COMPLAINT)
    whole, _, part = number.partition(".")
    value, family = _scaled(f"{whole or '0'}.{part or '0'}", suffix)
    scaled = min(value, Fraction(MAX_VALUE)) * NANO
    nano = _ceil_div(scaled.numerator, scaled.denominator)
    return Quantity(-nano if sign == "-" else nano, family)


def parse(text: object) -> Quantity:
    """The quantity of a JSON string or number. Raises QuantityError with upstream's complaint."""
    if isinstance(text, str):
        return _parse(text.strip())
    if isinstance(text, bool) or not isinstance(text, int | float):
        raise QuantityError(FORMAT_COMPLAINT)
    if isinstance(text, int):
        return _parse(str(text))
    return _parse(repr(text))


def milli(text: object) -> int:
    """Thousandths, rounded up: CPU. Raises QuantityError."""
    return parse(text).milli


def value(text: object) -> int:
    """Whole units, rounded up: bytes, counts. Raises QuantityError."""
    return parse(text).value


def canonical(text: object) -> str:
    """The text that is stored and shown. Raises QuantityError."""
    return str(parse(text))


def add(left: object, right: object) -> str:
    """The sum of two quantities, as canonical text. Raises QuantityError."""
    return str(parse(left) + parse(right))


def compare(left: object, right: object) -> int:
    """-1, 0 or 1. Raises QuantityError."""
    difference = parse(left).nano - parse(right).nano
    return (difference > 0) - (difference < 0)


def of_milli(number: int) -> str:
    """Canonical text of a count of thousandths."""
    return str(Quantity(number * 10**6))


def of_bytes(number: int) -> str:
    """Canonical text, with binary suffixes, of a count of bytes."""
    return str(Quantity(number * NANO, Format.BINARY_SI))
