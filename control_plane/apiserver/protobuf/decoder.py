"""Kubernetes protobuf bodies to JSON objects: the envelope, and messages by their tables.

Clients since 1.32 send built-in kinds this way and take JSON as the answer, so nothing is encoded here. The JSON is
what Go would have written, without the zero values that Go always puts on the wire.
"""

from __future__ import annotations

import struct
from typing import Any

from argosy.objects.types import JsonObject
from control_plane.apiserver.protobuf import messages
from control_plane.apiserver.protobuf.errors import ProtobufError
from control_plane.apiserver.protobuf.messages import Form, Message, ProtoField
from control_plane.apiserver.protobuf.scalars import base64_text, special, text
from control_plane.apiserver.protobuf.wire import FIXED64, LENGTH, MAX_DEPTH, VARINT, fields, signed, varint

MAGIC = b"k8s\x00"

_VARINTS = frozenset((Form.BOOL, Form.INT32, Form.INT64))


def decode_envelope(body: bytes) -> JsonObject:
    """The object of an envelope, apiVersion and kind first. Raises ProtobufError."""
    if body[:4] != MAGIC:
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = encoding = content_type = ""
    raw = b""
    for number, wire, _, data in fields(body[4:]):
        if wire != LENGTH:
            continue
        if number == 1:
            for inner, inner_wire, _, name in fields(data):
                if inner_wire == LENGTH and inner == 1:
                    api_version = text(name)
                elif inner_wire == LENGTH and inner == 2:
                    kind = text(name)
        elif number == 2:
            raw = data
        elif number == 3:
            encoding = text(data)
        elif number == 4:
            content_type = text(data)
    if encoding or content_type not in ("", "application/vnd.kubernetes.protobuf"):
        raise ProtobufError(f"an envelope of {content_type or 'protobuf'} encoded as {encoding!r} is not supported")
    if not kind:
        raise ProtobufError("Object 'Kind' is missing in the protobuf envelope")
    wanted = messages.for_kind(api_version, kind)
    if wanted is None:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')
    return {"apiVersion": api_version, "kind": kind, **decode_message(raw, wanted)}


def decode_message(data: bytes, wanted: Message, depth: int = 0) -> JsonObject:
    """The JSON object of a message; unknown field numbers are skipped. Raises ProtobufError."""
    result: JsonObject = {}
    _fill(result, data, wanted, depth)
    return result


def _fill(result: JsonObject, data: bytes, wanted: Message, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ProtobufError("proto: messages are nested too deeply")
    known = wanted.fields
    for number, wire, value, raw in fields(data):
        field = known.get(number)
        if field is None:
            continue
        if field.absent_when_empty and not value and not raw:
            result.pop(field.name, None)  # said twice, the last word counts
            continue
        if field.is_map:
            _need(wire, LENGTH, wanted, field)
            key, item = _map_entry(raw, field, depth)
            result.setdefault(field.name, {})[key] = item
        elif field.repeated:
            _append(result.setdefault(field.name, []), wire, value, raw, field, wanted, depth)
        elif field.form is Form.MESSAGE:
            _need(wire, LENGTH, wanted, field)
            _put_message(result, raw, field, depth)
        else:
            item = _scalar(wire, value, raw, field, wanted)
            if item is None or (not field.pointer and not item and field.form not in _KEEP_ZERO):
                result.pop(field.name, None)
            else:
                result[field.name] = item


_KEEP_ZERO = frozenset((Form.QUANTITY, Form.DURATION, Form.INT_OR_STRING))


def _put_message(result: JsonObject, raw: bytes, field: ProtoField, depth: int) -> None:
    """A singular message. Said twice, the parts merge, as protobuf has it."""
    wanted = messages.message(field.message)
    if field.name == "~":
        _fill(result, raw, wanted, depth + 1)
        return
    inner = result.get(field.name)
    if not isinstance(inner, dict):
        inner = {}
    _fill(inner, raw, wanted, depth + 1)
    if inner or field.pointer:
        result[field.name] = inner


def _append(
    items: list[Any], wire: int, value: int, raw: bytes, field: ProtoField, wanted: Message, depth: int
) -> None:
    if field.form is Form.MESSAGE:
        _need(wire, LENGTH, wanted, field)
        items.append(decode_message(raw, messages.message(field.message), depth + 1))
    elif field.form in _VARINTS and wire == LENGTH:
        at = 0
        while at < len(raw):  # packed
            value, at = varint(raw, at)
            items.append(_scalar(VARINT, value, raw, field, wanted))
    else:
        items.append(_scalar(wire, value, raw, field, wanted))


def _map_entry(data: bytes, field: ProtoField, depth: int) -> tuple[str, Any]:
    key = ""
    item: Any = _zero(field)
    for number, wire, value, raw in fields(data):
        if number == 1 and wire == LENGTH:
            key = text(raw)
        elif number == 2:
            if field.form is Form.MESSAGE:
                if wire != LENGTH:
                    raise ProtobufError(f"proto: wrong wireType = {wire} for field {field.name}")
                item = decode_message(raw, messages.message(field.message), depth + 1)
            else:
                item = _scalar(wire, value, raw, field, None)
    return key, item


def _zero(field: ProtoField) -> Any:
    match field.form:
        case Form.MESSAGE:
            return {}
        case Form.STRINGS:
            return []
        case Form.QUANTITY:
            return "0"
        case Form.BOOL:
            return False
        case Form.INT32 | Form.INT64 | Form.DOUBLE | Form.INT_OR_STRING:
            return 0
        case Form.TIME | Form.MICRO_TIME | Form.RAW:
            return None
    return ""


def _scalar(wire: int, value: int, raw: bytes, field: ProtoField, wanted: Message | None) -> Any:
    form = field.form
    if form is Form.STRING:
        _need(wire, LENGTH, wanted, field)
        return text(raw)
    if form in _VARINTS:
        _need(wire, VARINT, wanted, field)
        if form is Form.BOOL:
            return value != 0
        return signed(value, 32 if form is Form.INT32 else 64)
    if form is Form.DOUBLE:
        _need(wire, FIXED64, wanted, field)
        return struct.unpack("<d", raw)[0]
    _need(wire, LENGTH, wanted, field)
    if form is Form.BYTES:
        return base64_text(raw)
    return special(form, raw)


def _need(wire: int, expected: int, wanted: Message | None, field: ProtoField) -> None:
    if wire != expected:
        owner = wanted.name.rpartition(".")[2] + "." if wanted else ""
        raise ProtobufError(f"proto: wrong wireType = {wire} for field {owner}{field.name}")
