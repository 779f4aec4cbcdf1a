"""Pieces of protobuf encoding that splice already encoded messages together.

A key's KeyValue is encoded once, when it is written; ranges and watch events are joins of those bytes. Encoding
whole responses through protobuf objects would cost four times as much for a range of a thousand keys.
"""

from __future__ import annotations

_ONE = [bytes([number]) for number in range(128)]


def varint(number: int) -> bytes:
    """Base-128 encoding of a non-negative integer."""
    if number < 128:
        return _ONE[number]
    parts = bytearray()
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def signed(number: int) -> bytes:
    """An int64 field's value: negative numbers take ten bytes."""
    return varint(number if number >= 0 else number + (1 << 64))


def tag(field: int, *, delimited: bool) -> bytes:
    """The bytes before a field's value; `delimited` for bytes, strings and messages, else a varint."""
    return varint(field << 3 | (2 if delimited else 0))


def message(prefix: bytes, encoded: bytes) -> bytes:
    """A length-delimited field whose tag bytes are `prefix`."""
    return prefix + varint(len(encoded)) + encoded
