"""Quantities against exact fractions and upstream's own examples."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.objects import quantity
from argosy.objects.quantity import Format, QuantityError

SUFFIXES = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(10**3),
    "M": Fraction(10**6), "G": Fraction(10**9), "Ki": Fraction(1024), "Mi": Fraction(1024**2),
    "Gi": Fraction(1024**3), "e3": Fraction(1000), "E-2": Fraction(1, 100),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"), ("0m", "0"), ("0.5", "500m"), ("1.0", "1"), ("1000m", "1"), ("1500m", "1500m"), ("100m", "100m"),
        ("1024Mi", "1Gi"), ("1024Ki", "1Mi"), ("1Ki", "1Ki"), ("1.5Gi", "1536Mi"), ("0.5Mi", "512Ki"),
        ("1000k", "1M"), ("1000", "1k"), ("1500", "1500"), ("1e3", "1e3"), ("1E3", "1e3"), ("100e-3", "100e-3"),
        ("0.001", "1m"), ("0.0001", "100u"), ("-1", "-1"), ("-1024Ki", "-1Mi"), ("+3", "3"), (".5", "500m"),
        ("5.", "5"), ("0.1Ki", "102400m"), ("0.5Ki", "512"), ("123Mi", "123Mi"), ("8000Ei", "9223372036854775807"),
        ("1n", "1n"), ("0.1n", "1n"), ("12345678901234567890", "9223372036854775807"),
    ],
)  # fmt: skip
def test_canonical_text(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", quantity.FORMAT_COMPLAINT), ("1.1.", quantity.NUMBER_COMPLAINT), ("1Q", quantity.FORMAT_COMPLAINT),
        ("1 Mi", quantity.FORMAT_COMPLAINT), ("Mi", quantity.FORMAT_COMPLAINT), ("1mi", quantity.SUFFIX_COMPLAINT),
        ("1kk", quantity.SUFFIX_COMPLAINT), ("1e", quantity.SUFFIX_COMPLAINT), (".", quantity.NUMBER_COMPLAINT),
        ("--1", quantity.FORMAT_COMPLAINT), ("١", quantity.FORMAT_COMPLAINT), ("1" * 1000, quantity.FORMAT_COMPLAINT),
        ("1e99999", quantity.SUFFIX_COMPLAINT),
    ],
)  # fmt: skip
def test_what_is_no_quantity(text: str, complaint: str) -> None:
    with pytest.raises(
        QuantityError, match="^" + "".join("\\" + c if not c.isalnum() else c for c in complaint) + "$"
    ):
        quantity.parse(text)


@pytest.mark.parametrize("value", [None, True, [], {}, b"1"])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(QuantityError):
        quantity.parse(value)


def test_json_numbers() -> None:
    assert (quantity.canonical(1), quantity.canonical(0.25), quantity.canonical(2.0)) == ("1", "250m", "2")


@given(st.integers(0, 10**7), st.integers(0, 3), st.sampled_from(sorted(SUFFIXES)), st.booleans())
def test_value_is_exact(digits: int, places: int, suffix: str, negative: bool) -> None:
    text = ("-" if negative else "") + f"{digits / 10**places:.{places}f}" + suffix
    exact = abs(Fraction(text.removesuffix(suffix) or "0") * SUFFIXES[suffix]) * 10**9
    rounded_up = -(-exact.numerator // exact.denominator)
    parsed = quantity.parse(text)
    assert parsed.nano == (-rounded_up if negative else rounded_up)
    again = quantity.parse(str(parsed))
    assert again.nano == parsed.nano
    assert str(again) == str(parsed), "canonical text is its own canonical text"


@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15), st.sampled_from(list(Format)))
def test_sums_and_order(left: int, right: int, family: Format) -> None:
    one, other = quantity.Quantity(left, family), quantity.Quantity(right, Format.DECIMAL_SI)
    assert (one + other).nano == left + right
    assert (one - other).nano == left - right
    assert (one < other) == (left < right)
    assert quantity.parse(quantity.add(str(one), str(other))).nano == left + right
    assert quantity.compare(str(one), str(other)) == (left > right) - (left < right)


def test_rounding_is_up() -> None:
    assert quantity.milli("1u") == 1
    assert quantity.value("1500m") == 2
    assert quantity.value("-1500m") == -1
    assert quantity.of_bytes(3 << 30) == "3Gi"
    assert quantity.of_milli(1250) == "1250m"
