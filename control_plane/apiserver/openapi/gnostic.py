"""OpenAPI v2 as protobuf: gnostic's `openapi.v2.Document`, which kubectl before 1.24 asks for.

A writer of the few messages that clients read, over the JSON document. Field numbers are gnostic's
OpenAPIv2.proto. Values of extensions travel as YAML text, for which JSON will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from argosy.objects.types import JsonObject

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}


def encode(document: JsonObject) -> bytes:
    """The document's bytes, `application/com.github.proto-openapi.spec.v2.v1.0+protobuf`."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = [_text(1, path) + _bytes(2, _path_item(item)) for path, item in document["paths"].items()]
    schemas = [_text(1, name) + _bytes(2, _schema(schema)) for name, schema in document["definitions"].items()]
    return b"".join(
        (
            _text(1, document["swagger"]),
            _bytes(2, info),
            _bytes(8, b"".join(_bytes(2, entry) for entry in paths)),
            _bytes(9, b"".join(_bytes(1, entry) for entry in schemas)),
        )
    )


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _flag(field: int, value: bool) -> bytes:
    return _varint(field << 3) + (b"\x01" if value else b"\x00")


def _any(value: Any) -> bytes:
    """Any.yaml."""
    return _bytes(2, orjson.dumps(value))


def _extensions(field: int, node: Mapping[str, Any]) -> bytes:
    """NamedAny of every x-… key."""
    return b"".join(
        _bytes(field, _text(1, key) + _bytes(2, _any(value))) for key, value in node.items() if key.startswith("x-")
    )


def _schema(schema: JsonObject) -> bytes:
    out: list[bytes] = []
    for key, value in schema.items():
        match key:
            case "$ref":
                out.append(_text(1, value))
            case "format":
                out.append(_text(2, value))
            case "title":
                out.append(_text(3, value))
            case "description":
                out.append(_text(4, value))
            case "default":
                out.append(_bytes(5, _any(value)))
            case "required":
                out.extend(_text(19, item) for item in value)
            case "enum":
                out.extend(_bytes(20, _any(item)) for item in value)
            case "additionalProperties":
                inner = _bytes(1, _schema(value)) if isinstance(value, dict) else _flag(2, bool(value))
                out.append(_bytes(21, inner))
            case "type":
                kinds = value if isinstance(value, list) else [value]
                out.append(_bytes(22, b"".join(_text(1, item) for item in kinds)))
            case "items":
                out.append(_bytes(23, _bytes(1, _schema(value))))
            case "properties":
                entries = (_text(1, name) + _bytes(2, _schema(item)) for name, item in value.items())
                out.append(_bytes(25, b"".join(_bytes(1, entry) for entry in entries)))
    out.append(_extensions(31, schema))
    return b"".join(out)


def _path_item(item: JsonObject) -> bytes:
    operations = (_bytes(_METHODS[method], _operation(item[method])) for method in item if method in _METHODS)
    parameters = (_bytes(9, _parameter(parameter)) for parameter in item.get("parameters", ()))
    return b"".join((*operations, *parameters))


def _operation(operation: JsonObject) -> bytes:
    responses = b"".join(
        _bytes(1, _text(1, code) + _bytes(2, _bytes(1, _response(response))))
        for code, response in operation["responses"].items()
    )
    return b"".join(
        (
            *(_text(1, tag) for tag in operation["tags"]),
            _text(5, operation["operationId"]),
            *(_text(6, media) for media in operation["produces"]),
            *(_text(7, media) for media in operation["consumes"]),
            *(_bytes(8, _parameter(parameter)) for parameter in operation["parameters"]),
            _bytes(9, responses),
            *(_text(10, scheme) for scheme in operation["schemes"]),
            _extensions(13, operation),
        )
    )


def _response(response: JsonObject) -> bytes:
    out = _text(1, response["description"])
    schema = response.get("schema")
    return out + _bytes(2, _bytes(1, _schema(schema))) if schema else out


def _parameter(parameter: JsonObject) -> bytes:
    """ParametersItem.parameter: a body, a query or a path parameter."""
    required = bool(parameter.get("required"))
    name, where = _text(3, parameter["name"]), parameter["in"]
    if where == "body":
        body = _text(2, where) + name + (_flag(4, True) if required else b"")
        body += _bytes(5, _schema(parameter["schema"]))
        return _bytes(1, _bytes(1, body))
    head = _flag(1, True) if required else b""
    if where == "path":
        sub = head + _text(2, where) + _text(4, parameter["name"]) + _text(5, parameter["type"])
        return _bytes(1, _bytes(2, _bytes(4, sub)))
    sub = head + _text(2, where) + _text(4, parameter["name"]) + _text(6, parameter["type"])
    return _bytes(1, _bytes(2, _bytes(3, sub)))
