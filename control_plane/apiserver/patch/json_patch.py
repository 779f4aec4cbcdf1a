"""JSON Patch (RFC 6902), strict: every operation must be complete, known, and apply, but for what upstream lets pass.

The operations are the library jsonpatch's. `test` compares here, because Python takes 1 for true; and what `copy`
may add to an object in all is bounded, because a few doublings would fill the memory.
"""

from __future__ import annotations

from typing import Any

import jsonpatch
import orjson

from argosy.objects import meta, status
from argosy.objects.types import JsonObject
from control_plane.apiserver.patch.errors import malformed, rejected

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024

_NEEDS = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}
_MEMBERS = frozenset(("op", "path", "from", "value"))

Operations = list[JsonObject]


def parse(patch: Any) -> Operations:
    """The operations of a decoded patch document. Raises ApiError 400, or 413 for too many."""
    if not isinstance(patch, list):
        raise malformed(
            f"error decoding patch: json: cannot unmarshal {json_type(patch)} into Go value of type "
            "[]handlers.jsonPatchOp"
        )
    if len(patch) > MAX_OPERATIONS:
        raise status.too_large(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    for operation in patch:
        problem = _complaint(operation)
        if problem:
            raise malformed(f"error decoding patch: {problem}")
    return patch


def unknown_members(operations: Operations) -> list[str]:
    """What strict field validation reports of a JSON patch."""
    return [
        f'json patch unknown field "[{index}].{member}"'
        for index, operation in enumerate(operations)
        for member in operation
        if member not in _MEMBERS
    ]


def apply(obj: JsonObject, operations: Operations) -> JsonObject:
    """The patched object; `obj` is not changed. Raises ApiError 422 naming the operation that does not apply."""
    result: Any = meta.copy_object(obj)
    copied_bytes = 0
    for operation in operations:
        name = operation["op"]
        try:
            if name == "test":
                _test(result, operation)
                continue
            if name == "copy":
                source = jsonpatch.JsonPointer(operation["from"]).resolve(result)
                copied_bytes += len(orjson.dumps(source))
                if copied_bytes > MAX_COPIED_BYTES:
                    raise rejected(f"the accumulated size of copies exceeds the limit {MAX_COPIED_BYTES}")
            if name == "replace" and _is_absent_member(result, operation["path"]):
                operation = {**operation, "op": "add"}
            if "value" in operation:
                operation = {**operation, "value": meta.copy(operation["value"])}
            result = jsonpatch.JsonPatch([operation]).apply(result, in_place=True)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError):
            raise rejected(_why(result, operation)) from None
    if not isinstance(result, dict):
        raise rejected("the patched document is not an object")
    return result


def _why(obj: Any, operation: JsonObject) -> str:
    """What upstream's library (evanphx/json-patch) says of an operation that does not apply; never the document."""
    name, path = operation["op"], operation["path"]
    if name == "test":
        return f"testing value {path} failed: test failed"
    for pointer in (operation["from"], path) if name in ("copy", "move") else (path,):
        try:
            holder, key = jsonpatch.JsonPointer(pointer).to_last(obj)
        except (jsonpatch.JsonPointerException, TypeError, KeyError):
            return f'{name} operation does not apply: doc is missing path: "{pointer}": missing value'
        if isinstance(holder, dict) and key not in holder and name in ("remove", "move", "copy"):
            return f"error in {name} for path: '{pointer}': Unable to remove nonexistent key: {key}: missing value"
    return f"error in {name} for path: '{path}': Unable to access invalid index: {key}: invalid index referenced"


def _complaint(operation: Any) -> str:
    if not isinstance(operation, dict):
        return f"json: cannot unmarshal {json_type(operation)} into an operation"
    for member in ("op", "path"):
        if not isinstance(operation.get(member), str):
            return f"operation needs a string {member!r}"
    needs = _NEEDS.get(operation["op"])
    if needs is None:
        return f"unexpected kind: {operation['op']}"
    for member in needs:
        if member not in operation:
            return f"operation {operation['op']} needs {member!r}"
        if member == "from" and not isinstance(operation[member], str):
            return f"operation {operation['op']} needs a string 'from'"
    return ""


def _is_absent_member(obj: Any, path: str) -> bool:
    """Upstream's library replaces a field that an object does not have by adding it, against the RFC."""
    holder, key = jsonpatch.JsonPointer(path).to_last(obj)
    return isinstance(holder, dict) and key is not None and key not in holder


def _test(obj: Any, operation: JsonObject) -> None:
    """A missing path equals null, as upstream's library has it."""
    missing = object()
    actual = jsonpatch.JsonPointer(operation["path"]).resolve(obj, missing)
    if actual is missing:
        actual = None
    if not same(actual, operation["value"]):
        raise jsonpatch.JsonPatchTestFailed(f"testing value {operation['path']} failed: test failed")


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values: true is not 1, and 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(same(one, other) for one, other in zip(left, right, strict=True))
        )
    return type(right) not in (dict, list) and bool(left == right)


def json_type(value: object) -> str:
    names: dict[type, str] = {str: "string", bool: "bool", list: "array", dict: "object", type(None): "null"}
    return names.get(type(value), "number")
