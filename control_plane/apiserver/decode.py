"""Request bodies to objects: JSON, YAML and Kubernetes protobuf, with Kubernetes' words for what is malformed.

The pipeline and the REST layer call `decode` with the body and its Content-Type. JSON is orjson's; whether a field
occurs twice (which every JSON parser hides) costs one more serialisation, and a slow strict pass only when that one
is not of the same length. YAML is built from parse events, iteratively and within bounds: PyYAML's own constructor
crashes the process on deep nesting.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass, field
from typing import Any

import orjson

from argosy.objects import status
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver import decode_yaml
from control_plane.apiserver.decode_errors import json_problem
from control_plane.apiserver.protobuf import MAGIC, ProtobufError, decode_envelope

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY = "application/apply-patch+yaml"
ACCEPTED = (JSON, YAML, PROTOBUF)

MAX_SHOWN = 30
MAX_DUPLICATES = 100
MAX_DEPTH = 256
"""Deeper nesting is refused (upstream: 10,000): every later pass over an object recurses."""


@dataclass(slots=True)
class Decoded:
    obj: JsonObject
    """The caller's own; may be changed."""
    duplicates: list[str] = field(default_factory=list)
    """`duplicate field "spec.paused"`; for YAML the parser's one text with all of them."""


def decode(body: bytes, content_type: str, *, expected: str = "", find_duplicates: bool = True) -> Decoded:
    """The object of a request body, or the configuration of an apply patch.

    `expected` is the kind that the path takes, for messages. Raises ApiError: 400 for malformed input, 415 for an
    unknown content type.
    """
    media = media_type(content_type)
    if media == JSON:
        return _decode_json(body, expected, find_duplicates)
    if media == YAML:
        return _decode_yaml(body, expected, find_duplicates)
    if media == PROTOBUF:
        return _decode_protobuf(body, expected)
    if media == APPLY:
        return _decode_apply(body, expected, find_duplicates)
    raise unsupported(ACCEPTED)


def media_type(content_type: str) -> str:
    """The bare type of a Content-Type header; JSON when there is none, as clients of old send none."""
    return content_type.partition(";")[0].strip().lower() or JSON


def unsupported(accepted: tuple[str, ...]) -> ApiError:
    """415, naming what is taken."""
    text = ", ".join(accepted)
    return status.status_error(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {text}",
    )


def parse_json(body: bytes) -> Any:
    """Any JSON value. Raises ValueError with the text of Go's parser."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        lenient = body.decode("utf-8", errors="replace")
        problem = json_problem(lenient)
        if problem:
            raise ValueError(problem) from None
        if "recursion" in str(error).lower():
            raise ValueError("exceeded max depth") from None
        # Go replaces what is not UTF-8; so do we, once it is known to be the only fault.
        try:
            return orjson.loads(lenient)
        except orjson.JSONDecodeError as again:
            raise ValueError(str(again)) from None


def _decode_json(body: bytes, expected: str, find_duplicates: bool) -> Decoded:
    if body[:4] == MAGIC:
        return _decode_protobuf(body, expected)
    try:
        obj = parse_json(body)
    except ValueError as error:
        raise unrecognised(f"couldn't get version/kind; json parse error: {error}", body, expected) from None
    if not isinstance(obj, dict):
        raise unrecognised(_not_an_object(obj), body, expected)
    _refuse_depth(obj, body, expected)
    duplicates = duplicate_fields(body, obj) if find_duplicates else []
    return Decoded(obj, duplicates)


def _decode_yaml(body: bytes, expected: str, find_duplicates: bool) -> Decoded:
    try:
        obj, duplicates = decode_yaml.load(body)
    except decode_yaml.YamlError as error:
        raise unrecognised(f"couldn't get version/kind; json parse error: {error}", body, expected) from None
    if not isinstance(obj, dict):
        raise unrecognised(_not_an_object(obj), body, expected)
    _refuse_depth(obj, body, expected)
    return Decoded(obj, duplicates if find_duplicates else [])


def _decode_apply(body: bytes, expected: str, find_duplicates: bool) -> Decoded:
    """An applied configuration: YAML, but most clients write the part of it that is JSON, which is faster to read."""
    try:
        obj = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _decode_yaml(body, expected, find_duplicates)
    if not isinstance(obj, dict):
        raise unrecognised(_not_an_object(obj), body, expected)
    _refuse_depth(obj, body, expected)
    return Decoded(obj, duplicate_fields(body, obj) if find_duplicates else [])


def _refuse_depth(obj: JsonObject, body: bytes, expected: str) -> None:
    if body.count(b"{") + body.count(b"[") + body.count(b"\n") > MAX_DEPTH and depth(obj) > MAX_DEPTH:
        raise unrecognised(f"exceeded max depth: at most {MAX_DEPTH} levels are supported", body, expected)


def depth(value: Any) -> int:
    """How many containers are nested, found level by level, without recursion."""
    levels = 0
    level = [value] if isinstance(value, dict | list) else []
    while level:
        levels += 1
        if levels > MAX_DEPTH:
            break
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list
        ]
    return levels


def _decode_protobuf(body: bytes, expected: str) -> Decoded:
    try:
        return Decoded(decode_envelope(body))
    except ProtobufError as error:
        raise unrecognised(str(error), body, expected) from None


def _not_an_object(value: object) -> str:
    names: dict[type, str] = {str: "string", bool: "bool", list: "array", int: "number", float: "number"}
    if value is None:
        return "Object 'Kind' is missing in 'null'"
    name = names.get(type(value), "value")
    return (
        f"couldn't get version/kind; json parse error: json: cannot unmarshal {name} into Go value of type "
        'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
    )


def unrecognised(message: str, body: bytes, expected: str) -> ApiError:
    """400 of a body that is no object at all, with a glimpse of it."""
    kind = expected or "Object"
    return status.bad_request(
        f"the object provided is unrecognized (must be of type {kind}): {message} ({summarise(body)})"
    )


def summarise(body: bytes) -> str:
    """The first bytes of a body: text when it looks like JSON, else hexadecimal."""
    if not body:
        return "<empty>"
    shown = body[:MAX_SHOWN]
    text = shown.decode("utf-8", errors="replace") if body[:1] == b"{" else binascii.hexlify(shown).decode()
    return text + (" ..." if len(body) > MAX_SHOWN else "")


def duplicate_fields(body: bytes, obj: JsonObject) -> list[str]:
    """`duplicate field "PATH"` for each repeated field of a JSON body that was decoded to `obj`.

    A dropped field takes its colon along, so equal counts of colons (with none written as an escape) mean that
    nothing was dropped.
    """
    if orjson.dumps(obj).count(b":") == body.count(b":") and b"\\u003a" not in body and b"\\u003A" not in body:
        return []
    found: list[str] = []
    try:
        pairs = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return []
    _collect(pairs, "", found)
    return found


class _Pairs(list[tuple[str, Any]]):
    """The fields of an object as they were written."""


def _collect(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            where = f"{path}.{key}" if path else key
            if key in seen and len(found) < MAX_DUPLICATES:
                found.append(f'duplicate field "{where}"')
            seen.add(key)
            _collect(item, where, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _collect(item, f"{path}[{index}]", found)
