"""Protobuf's wire format: tags, varints, lengths, and the skipping of what is unknown."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.apiserver.protobuf.errors import ProtobufError

VARINT, FIXED64, LENGTH, GROUP, GROUP_END, FIXED32 = range(6)
MAX_DEPTH = 100
"""Of nested messages and groups."""

_TRUNCATED = "unexpected EOF"


def fields(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(number, wire type, varint value, bytes) of each field; fixed-size values come as bytes. Groups are skipped.

    Raises ProtobufError.
    """
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag < 128:
            at += 1
        else:
            tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ProtobufError(f"proto: illegal tag {number} (wire type {tag})")
        if wire == VARINT:
            if at < end and data[at] < 128:
                value = data[at]
                at += 1
            else:
                value, at = varint(data, at)
            yield number, wire, value, b""
        elif wire == LENGTH:
            if at < end and data[at] < 128:
                size = data[at]
                at += 1
            else:
                size, at = varint(data, at)
            if size > end - at:
                raise ProtobufError(_TRUNCATED)
            yield number, wire, 0, data[at : at + size]
            at += size
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
            if size > end - at:
                raise ProtobufError(_TRUNCATED)
            yield number, wire, 0, data[at : at + size]
            at += size
        elif wire == GROUP:
            at = _skip_group(data, at, number)
        else:
            raise ProtobufError(f"proto: illegal wireType {wire}")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """(unsigned value, next offset). Raises ProtobufError."""
    result = shift = 0
    while True:
        if at >= len(data):
            raise ProtobufError(_TRUNCATED)
        byte = data[at]
        at += 1
        result |= (byte & 127) << shift
        if byte < 128:
            if result >> 64:
                raise ProtobufError("proto: integer overflow")
            return result, at
        shift += 7
        if shift >= 70:
            raise ProtobufError("proto: integer overflow")


def _skip_group(data: bytes, at: int, number: int) -> int:
    """The offset after the group's end."""
    open_groups = [number]
    while open_groups:
        if len(open_groups) > MAX_DEPTH:
            raise ProtobufError("proto: groups are nested too deeply")
        tag, at = varint(data, at)
        wire = tag & 7
        if wire == GROUP:
            open_groups.append(tag >> 3)
        elif wire == GROUP_END:
            if open_groups.pop() != tag >> 3:
                raise ProtobufError("proto: unexpected end of group")
        elif wire == VARINT:
            _, at = varint(data, at)
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        elif wire == LENGTH:
            size, at = varint(data, at)
            at += size
        else:
            raise ProtobufError(f"proto: illegal wireType {wire}")
        if at > len(data):
            raise ProtobufError(_TRUNCATED)
    return at


def signed(value: int, bits: int = 64) -> int:
    """A varint as Go's int32 or int64."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
