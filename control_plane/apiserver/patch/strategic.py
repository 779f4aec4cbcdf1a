"""Strategic merge patch: Kubernetes' own, in which lists merge by key, and directives say what merging cannot.

Directives: `$patch: replace|delete|merge` in an object or list element, `$deleteFromPrimitiveList/FIELD`,
`$setElementOrder/FIELD` and `$retainKeys`. Which lists merge, and by which key, comes from the schema
(x-kubernetes-patch-strategy, x-kubernetes-patch-merge-key). Upstream: apimachinery pkg/util/strategicpatch.
"""

from __future__ import annotations

from typing import Any

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.patch.errors import malformed, rejected, shown
from control_plane.apiserver.patch.list_order import element_key, in_order
from control_plane.apiserver.schema.types import ANY, Field, Shape, Type

PATCH = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_PREFIX = "$deleteFromPrimitiveList"
ORDER_PREFIX = "$setElementOrder"

_BAD_ORDER = "invalid patch format of setElementOrder list"
_BAD_RETAIN = "invalid patch format of retainKeys"
_BAD_DELETE = "invalid patch format of primitive list"

JsonList = list[Any]


def apply(obj: JsonObject, patch: JsonObject, schema: Type) -> JsonObject:
    """The patched object; neither argument is changed. Raises ApiError 400 or 422."""
    return _merge_map(meta.copy_object(obj), meta.copy_object(patch), schema)


def _merge_map(original: JsonObject, patch: JsonObject, schema: Type) -> JsonObject:
    """Merge `patch` into `original`; both are private and consumed."""
    if PATCH in patch:
        return _directed(patch)
    _retain_keys(original, patch)
    _merge_ordered_lists(original, patch, schema)
    for key, change in patch.items():
        deleting = key.startswith(DELETE_PREFIX)
        if deleting:
            key = _target(key, DELETE_PREFIX, _BAD_DELETE)
            if not isinstance(change, list):
                raise malformed(_BAD_DELETE)
        if change is None:
            original.pop(key, None)
            continue
        present = original.get(key)
        if isinstance(present, dict) and isinstance(change, dict):
            field = _field(schema, key)
            if "replace" in field.patch_strategies:
                original[key] = change
            else:
                original[key] = _merge_map(present, change, field.type)
        elif isinstance(present, list) and isinstance(change, list):
            field = _field(schema, key)
            if deleting:
                gone = {element_key(item) for item in change}
                original[key] = [item for item in present if element_key(item) not in gone]
            elif "merge" in field.patch_strategies:
                original[key] = _merge_list(present, change, field)
            else:
                original[key] = change
        elif not deleting:
            _take(original, key, change)
    return original


def _directed(patch: JsonObject) -> JsonObject:
    match patch.pop(PATCH):
        case "replace":
            return patch
        case "delete":
            return {}
        case other:
            raise rejected(f"unknown patch type: {other} in map: {shown(patch)}")


def _take(original: JsonObject, key: str, change: Any) -> None:
    """A value that the original does not have, or has of another type: without nulls and directives."""
    kept, value = _without_directives(_without_nulls(change))
    if kept:
        original[key] = value
    else:
        original.pop(key, None)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _without_directives(value: Any) -> tuple[bool, Any]:
    """(whether to keep it at all, the value)."""
    if isinstance(value, dict):
        if PATCH in value:
            return False, None
        kept = {key: _without_directives(item) for key, item in value.items() if not _is_directive(key)}
        return True, {key: item for key, (keep, item) in kept.items() if keep}
    if isinstance(value, list):
        return True, [item for keep, item in map(_without_directives, value) if keep]
    return True, value


def _is_directive(key: str) -> bool:
    return key == RETAIN_KEYS or key.startswith((DELETE_PREFIX + "/", ORDER_PREFIX + "/"))


def _target(key: str, prefix: str, complaint: str) -> str:
    """The field that `$prefix/FIELD` speaks of."""
    head, slash, name = key.partition("/")
    if not slash or head != prefix:
        raise malformed(complaint)
    return name


def _field(schema: Type, key: str) -> Field:
    if schema.shape is Shape.STRUCT:
        field = schema.fields.get(key)
        if field is None:
            raise rejected(f'unable to find api field in struct {schema.short_name} for the json field "{key}"')
        return field
    if schema.shape is Shape.MAP and schema.element is not None:
        return Field(key, schema.element)
    return Field(key, ANY)


def _element(field: Field) -> Type:
    return field.type.element if field.type.element is not None else ANY


def _retain_keys(original: JsonObject, patch: JsonObject) -> None:
    if RETAIN_KEYS not in patch:
        return
    wanted = patch.pop(RETAIN_KEYS)
    if not isinstance(wanted, list):
        raise malformed(_BAD_RETAIN)
    keep = {element_key(item) for item in wanted}
    for key, value in patch.items():
        if value is None or key.startswith((DELETE_PREFIX, ORDER_PREFIX)):
            continue
        if element_key(key) not in keep:
            raise malformed(_BAD_RETAIN)
    for key in [key for key in original if element_key(key) not in keep]:
        del original[key]


def _merge_ordered_lists(original: JsonObject, patch: JsonObject, schema: Type) -> None:
    """Lists with a $setElementOrder directive: merged, then ordered by it."""
    for directive in [key for key in patch if key.startswith(ORDER_PREFIX)]:
        order = patch.pop(directive)
        if not isinstance(order, list):
            raise rejected(f"expected a []interface {{}}, but received a {type(order).__name__}")
        key = _target(directive, ORDER_PREFIX, _BAD_ORDER)
        present, change = original.get(key), patch.get(key)
        for value in (present, change):
            if value is not None and not isinstance(value, list):
                raise rejected(f"expected a []interface {{}}, but received a {type(value).__name__}")
        field = _field(schema, key)
        _validate_order(change or [], order, field.merge_key)
        if present is None and change is None:
            continue
        if present is None:
            merged = _without_directives(change)[1]
        elif change is None:
            merged = present
        elif "merge" in field.patch_strategies:
            merged = _merge_list(list(present), change, field)
        else:
            merged = change
        patch.pop(key, None)
        live = _live_order(present or [], merged, change or [], field.merge_key)
        original[key] = in_order(merged, order, live, field.merge_key)


def _live_order(present: JsonList, merged: JsonList, change: JsonList, merge_key: str) -> JsonList:
    """The order that server-only elements keep: upstream lets new elements take the places of deleted ones in it."""
    if not merge_key:
        return present
    before = {element_key(item, merge_key) for item in present}
    after = {element_key(item, merge_key) for item in merged}
    stayed = [item for item in present if element_key(item, merge_key) in after]
    new = [item for item in change if PATCH not in item and element_key(item, merge_key) not in before]
    return stayed + new[: len(present) - len(stayed)]


def _validate_order(change: JsonList, order: JsonList, merge_key: str) -> None:
    """The patch's items must occur in the order list, in the same relative order."""
    if not order or not change:
        return
    items = [item for item in change if not (isinstance(item, dict) and item.get(PATCH) == "delete")]
    position = place = 0
    while position < len(items) and place < len(order):
        if isinstance(items[position], dict) and PATCH in items[position]:
            position += 1
            continue
        if element_key(items[position], merge_key) == element_key(order[place], merge_key):
            position += 1
        place += 1
    if position < len(items):
        raise rejected(
            f"The order in patch list:\n{shown(change)}\n doesn't match {ORDER_PREFIX} list:\n{shown(order)}\n"
        )


def _merge_list(original: JsonList, patch: JsonList, field: Field) -> JsonList:
    if not original and not patch:
        return original
    if not _are_maps([*original, *patch]):
        present = {element_key(item) for item in original}
        merged = _unique([*original, *(item for item in patch if element_key(item) not in present)])
        return in_order(merged, patch, original, "")
    if not field.merge_key:
        raise rejected(f"cannot merge lists without merge key for {_element(field).go_name}")
    original, patch = _special_elements(original, patch, field.merge_key)
    live_order = list(original)
    _merge_elements(original, patch, field)
    return in_order(original, patch, live_order, field.merge_key)


def _are_maps(items: JsonList) -> bool:
    """Whether the elements are objects. They must all be of one type, and no lists."""
    kinds = {type(item) for item in items}
    if list in kinds:
        raise rejected("lists of lists are not supported")
    if len(kinds) > 1:
        raise rejected(f"list element types are not identical: {shown(items)}")
    return dict in kinds


def _unique(items: JsonList) -> JsonList:
    seen: dict[Any, Any] = {}
    for item in items:
        seen.setdefault(element_key(item), item)
    return list(seen.values())


def _special_elements(original: JsonList, patch: JsonList, merge_key: str) -> tuple[JsonList, JsonList]:
    """Carry out `$patch` elements; gives (what is left of the original, the patch without them)."""
    plain: JsonList = []
    replace = False
    for item in patch:
        match item.get(PATCH):
            case None:
                plain.append(item)
            case "delete":
                gone = element_key(item, merge_key)
                original = [entry for entry in original if element_key(entry, merge_key) != gone]
            case "replace":
                replace = True
            case "merge":
                raise rejected("merging lists cannot yet be specified in the patch")
            case other:
                raise rejected(f"unknown patch type: {other} in map: {shown(item)}")
    return (plain, []) if replace else (original, plain)


def _merge_elements(original: JsonList, patch: JsonList, field: Field) -> None:
    """Merge each element of `patch` into its namesake in `original`, or append it."""
    schema = _element(field)
    where: dict[Any, int] = {}
    for index, item in enumerate(original):
        where.setdefault(element_key(item, field.merge_key), index)
    for item in patch:
        key = element_key(item, field.merge_key)
        index = where.get(key, -1)
        if index >= 0:
            original[index] = _merge_map(original[index], item, schema)
        else:
            where[key] = len(original)
            original.append(_without_directives(_without_nulls(item))[1])
