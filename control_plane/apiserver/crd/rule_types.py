"""The types that CEL rules of a schema are checked against, and its values as CEL gets them.

A schema's structs become protobuf messages of a pool of their own, for that is how the library takes field names and
types; values stay dictionaries. What a schema does not name is not accessible. Upstream: k8s.io/apiserver
`pkg/cel/common/schemas.go`, `pkg/cel/escaping.go`.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime
from typing import Any, Final

from argosy.objects import durations
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd.structure import RESERVED, Node, parse

PACKAGE: Final = "rules"
_KEYWORDS: Final = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STRING, _INT, _DOUBLE, _BOOL, _BYTES, _MESSAGE = 9, 3, 1, 8, 12, 11
_ONE, _MANY = 1, 3
_SCALARS: Final = {"string": _STRING, "integer": _INT, "number": _DOUBLE, "boolean": _BOOL}
_WRAPPERS: Final = {"string": "StringValue", "integer": "Int64Value", "number": "DoubleValue", "boolean": "BoolValue"}
_TEXT_TYPES: Final = {"string": "string", "integer": "int", "number": "double", "boolean": "bool"}
_TIMES: Final = ("date", "date-time", "datetime")


def escape(name: str) -> str | None:
    """A property's name in expressions; None for one that has none."""
    if name in _KEYWORDS:
        return f"__{name}__"
    text = name.replace("__", "__underscores__")
    for char, word in ((".", "dot"), ("-", "dash"), ("/", "slash")):
        text = text.replace(char, f"__{word}__")
    return text if _NAME.fullmatch(text) else None


def _metadata_node() -> Node:
    text = {"type": "string"}
    return parse({"type": "object", "properties": {"name": text, "generateName": text}})


_TEXT: Final = parse({"type": "string"})
_METADATA: Final = _metadata_node()


def _properties(node: Node, resource: bool) -> dict[str, Node]:
    if not resource:
        return node.properties
    own = {name: child for name, child in node.properties.items() if name not in RESERVED}
    return {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _METADATA, **own}


class Types:
    """The messages of one schema; `type_of` gives the text of a node's type, `pool` what they are in."""

    def __init__(self) -> None:
        from google.protobuf import (
            descriptor_pb2,
            descriptor_pool,
            duration_pb2,
            struct_pb2,
            timestamp_pb2,
            wrappers_pb2,
        )

        self.pool = descriptor_pool.DescriptorPool()
        self._file = descriptor_pb2.FileDescriptorProto(name="rules.proto", package=PACKAGE, syntax="proto2")
        for module in (struct_pb2, wrappers_pb2, timestamp_pb2, duration_pb2):
            self.pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
            self._file.dependency.append(module.DESCRIPTOR.name)
        self._names: dict[tuple[int, bool], str] = {}
        self._kept: list[Node] = []

    def close(self) -> None:
        """No more types: expressions can be compiled."""
        self.pool.AddSerializedFile(self._file.SerializeToString())

    def type_of(self, node: Node, resource: bool = False) -> str:
        """In CEL's text form."""
        resource = resource or node.embedded
        if node.int_or_string:
            return "dyn"
        if node.type == "array":
            return f"list({self.type_of(node.items)})" if node.items is not None else "list(dyn)"
        if node.type == "string":
            name = str(node.schema.get("format", ""))
            if name == "byte":
                return "bytes"
            if name in _TIMES:
                return "timestamp"
            return "duration" if name == "duration" else "string"
        if node.type in _TEXT_TYPES:
            return _TEXT_TYPES[node.type]
        if node.additional is not None and not node.properties:
            return f"map(string, {self.type_of(node.additional)})"
        return self._message(node, resource)

    def _message(self, node: Node, resource: bool) -> str:
        known = self._names.get((id(node), resource))
        if known is not None:
            return f"{PACKAGE}.{known}"
        name = f"Object{len(self._names)}"
        self._names[id(node), resource] = name
        self._kept.append(node)  # so that ids stay unique
        message = self._file.message_type.add(name=name)
        number = 0
        for property_, child in _properties(node, resource).items():
            escaped = escape(property_)
            if escaped is None or (not child.type and not child.int_or_string):
                continue
            number += 1
            self._field(message, escaped, number, child)
        return f"{PACKAGE}.{name}"

    def _field(self, message: Any, name: str, number: int, node: Node) -> None:
        kind, label, type_name = self._form(message, name, node)
        field = message.field.add(name=name, number=number, type=kind, label=label, json_name=f"f{number}")
        if type_name:
            field.type_name = type_name

    def _form(self, message: Any, name: str, node: Node) -> tuple[int, int, str]:
        if node.int_or_string:
            return _MESSAGE, _ONE, ".google.protobuf.Value"
        if node.type == "array":
            kind, type_name = self._element(node.items)
            return kind, _MANY, type_name
        if node.additional is not None and not node.properties and node.type == "object":
            entry_name = _entry_name(name)
            if any(nested.name == entry_name for nested in message.nested_type):
                return _MESSAGE, _ONE, ".google.protobuf.Struct"  # two properties that protobuf cannot tell apart
            kind, type_name = self._element(node.additional)
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=_STRING, label=_ONE)
            value = entry.field.add(name="value", number=2, type=kind, label=_ONE)
            if type_name:
                value.type_name = type_name
            return _MESSAGE, _MANY, f".{PACKAGE}.{message.name}.{entry.name}"
        kind, type_name = self._element(node)
        if node.nullable and not type_name and node.type in _WRAPPERS:
            return _MESSAGE, _ONE, f".google.protobuf.{_WRAPPERS[node.type]}"
        return kind, _ONE, type_name

    def _element(self, node: Node | None) -> tuple[int, str]:
        if node is None or node.int_or_string:
            return _MESSAGE, ".google.protobuf.Value"
        if node.type == "array":
            return _MESSAGE, ".google.protobuf.ListValue"
        if node.type == "string":
            name = str(node.schema.get("format", ""))
            if name in _TIMES:
                return _MESSAGE, ".google.protobuf.Timestamp"
            if name == "duration":
                return _MESSAGE, ".google.protobuf.Duration"
            return (_BYTES if name == "byte" else _STRING), ""
        if node.type in _SCALARS:
            return _SCALARS[node.type], ""
        if node.additional is not None and not node.properties:
            return _MESSAGE, ".google.protobuf.Struct"
        return _MESSAGE, "." + self._message(node, node.embedded)


def _entry_name(field: str) -> str:
    """What protobuf calls the entries of a map field."""
    return "".join(part[:1].upper() + part[1:] for part in field.split("_")) + "Entry"


def needs_conversion(node: Node, resource: bool = False) -> bool:
    """Whether values of this node are not handed over as they are."""
    if node.type == "number":
        return True
    if node.type == "string":
        return str(node.schema.get("format", "")) in ("byte", "duration", *_TIMES)
    if node.items is not None and needs_conversion(node.items):
        return True
    if node.additional is not None and needs_conversion(node.additional):
        return True
    return any(escape(name) != name or needs_conversion(child) for name, child in _properties(node, resource).items())


def converted(value: Any, node: Node, resource: bool = False) -> Any:
    """A value with its times, durations, bytes and floats as such, and its names escaped. Raises ValueError."""
    if value is None:
        return None
    if node.type == "number":
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if node.type == "string" and isinstance(value, str):
        return _text(value, str(node.schema.get("format", "")))
    if isinstance(value, list):
        return [converted(item, node.items) for item in value] if node.items is not None else value
    if not isinstance(value, dict):
        return value
    result: JsonObject = {}
    properties = _properties(node, resource or node.embedded)
    for key, item in value.items():
        child = properties.get(key)
        if child is not None:
            name = escape(key)
            if name is not None:
                result[name] = converted(item, child)
        elif node.additional is not None:
            result[key] = converted(item, node.additional)
    return result


def _text(value: str, form: str) -> Any:
    if form == "byte":
        return binascii.a2b_base64(value)
    if form in _TIMES:
        from google.protobuf.timestamp_pb2 import Timestamp

        moment = datetime.fromisoformat(value)
        made = Timestamp()
        made.FromDatetime(moment.astimezone(UTC) if moment.tzinfo else moment)
        return made
    if form == "duration":
        from google.protobuf.duration_pb2 import Duration

        seconds = durations.parse_go(value)
        duration = Duration()
        duration.FromNanoseconds(round(seconds * 1_000_000_000))
        return duration
    return value
