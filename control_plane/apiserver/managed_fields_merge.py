"""Typed merge and removal: how an applied configuration is laid over the live object.

Structs and maps merge by field, lists of type map and set by element, everything else is replaced. The order of
lists follows the configuration, with elements that only the live object has left where they were.
Upstream: structured-merge-diff/typed (merge, remove, validate).
"""

from __future__ import annotations

from typing import Any

from argosy.objects import meta
from control_plane.apiserver.managed_fields_set import Node, is_member, path_text
from control_plane.apiserver.managed_fields_walk import ElementError, child, deduced_list, element_of, elements
from control_plane.apiserver.schema.types import ANY, DEDUCED, Scalar, Shape, Type

MAX_PROBLEMS = 20

_NUMBERS = (Scalar.INT32, Scalar.INT64, Scalar.FLOAT)
_TEXTS = (Scalar.STRING, Scalar.BYTES, Scalar.TIME, Scalar.MICRO_TIME)


def merge(live: dict[str, Any], applied: dict[str, Any], root: Type) -> dict[str, Any]:
    """A new object; shares nothing with its arguments."""
    return _merge_maps(live, applied, root)


def _merge_maps(live: dict[str, Any], applied: dict[str, Any], owner: Type) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in live.items():
        if key not in applied:
            result[key] = meta.copy(value)
            continue
        wanted, leaf = child(owner, key)
        result[key] = _merge(value, applied[key], wanted, leaf)
    for key, value in applied.items():
        if key not in live:
            result[key] = meta.copy(value)
    return result


def _merge(live: Any, applied: Any, wanted: Type, leaf: bool) -> Any:
    if leaf or type(live) is not type(applied) or deduced_list(applied, wanted):
        return meta.copy(applied)
    if isinstance(applied, dict):
        # Two empty maps are a leaf; an empty one over a full one adds nothing.
        return _merge_maps(live, applied, wanted)
    if isinstance(applied, list):
        return _merge_lists(live, applied, wanted)
    return applied


def _merge_lists(live: list[Any], applied: list[Any], listed: Type) -> list[Any]:
    """Upstream's order: elements both have in the configuration's order, the live one's own before what followed."""
    inner = listed.element or ANY
    leaf = inner.leaf
    ours = [(element_of(item, listed), item) for item in applied]
    theirs: list[tuple[str, Any]] = []
    for item in live:
        try:
            theirs.append((element_of(item, listed), item))
        except ElementError:
            continue
    wanted = dict(ours)
    counts = {element: len(items) for element, items in elements(live, listed).items()}
    present = {element: item for element, item in theirs if counts[element] == 1}
    known = {element for element, _ in theirs}
    shared = [element for element, _ in ours if element in known]
    merged: set[str] = set()
    result: list[Any] = []

    def take(element: str, item: Any) -> None:
        merged.add(element)
        if element in present:
            result.append(_merge(present[element], item, inner, leaf))
        else:
            result.append(meta.copy(item))

    left = right = 0
    upcoming = 0
    while left < len(theirs) or right < len(ours):
        if left < len(theirs) and right < len(ours):
            element = theirs[left][0]
            if element == ours[right][0]:
                take(element, ours[right][1])
                left, right, upcoming = left + 1, right + 1, upcoming + 1
                continue
            if element in wanted and upcoming < len(shared) and shared[upcoming] != element:
                left += 1  # shared, but not the one whose turn it is
                continue
        if left < len(theirs):
            element, item = theirs[left]
            if element not in wanted:
                result.append(meta.copy(item))
                left += 1
                continue
            if element in merged:
                left += 1
        if right < len(ours):
            element, item = ours[right]
            take(element, item)
            right += 1
            if upcoming < len(shared) and shared[upcoming] == element:
                upcoming += 1
    return result


def remove(value: dict[str, Any], fields: Node, root: Type) -> dict[str, Any]:
    """`value` without the members of `fields`; shares with it. Containers that empty out vanish."""
    return _remove_from_map(value, fields, root) or {}


def _remove(value: Any, fields: Node, wanted: Type, leaf: bool) -> Any:
    """What is left of a value below which something is removed; None for nothing."""
    if leaf or deduced_list(value, wanted):
        return None if isinstance(value, dict | list) else value
    if isinstance(value, dict):
        return _remove_from_map(value, fields, wanted)
    if not isinstance(value, list):
        return value
    inner = wanted.element or ANY
    inner_leaf = inner.leaf
    result: list[Any] = []
    for item in value:
        try:
            node = fields.get(element_of(item, wanted))
        except ElementError:
            node = None
        if node is None:
            result.append(item)
        elif not is_member(node):
            left = _remove(item, node, inner, inner_leaf)
            if left is not None:
                result.append(left)
    return result or None


def _remove_from_map(value: dict[str, Any], fields: Node, owner: Type) -> dict[str, Any] | None:
    result: dict[str, Any] = {}
    for key, item in value.items():
        node = fields.get("f:" + key)
        if node is None:
            result[key] = item
        elif not is_member(node):
            wanted, leaf = child(owner, key)
            left = _remove(item, node, wanted, leaf)
            if left is not None:
                result[key] = left
    return result or None


def named_members(fields: Node, owner: Type) -> Node:
    """`fields` with every struct field that leads to a member made a member itself."""
    result: Node = {}
    for element, node in fields.items():
        if element == "." or not node:
            result[element] = node
            continue
        if element[:2] == "f:":
            below, _ = child(owner, element[2:])
            named = owner.shape is Shape.STRUCT and element[2:] in owner.fields
        else:
            below, named = owner.element or ANY, False
        inner = named_members(node, below)
        result[element] = {".": {}, **inner} if named else inner
    return result


def problems(applied: dict[str, Any], root: Type) -> list[str]:
    """Why a configuration is not of its type: `.spec.foo: field not declared in schema`."""
    found: list[str] = []
    _check(applied, root, False, (), found)
    return found


def _check(value: Any, wanted: Type, leaf: bool, path: tuple[str, ...], found: list[str]) -> None:
    if value is None or wanted.shape is Shape.ANY or wanted is DEDUCED or len(found) >= MAX_PROBLEMS:
        return
    match wanted.shape:
        case Shape.STRUCT | Shape.MAP:
            if not isinstance(value, dict):
                found.append(f"{path_text(path)}: expected map, got {_shown(value)}")
                return
            for key, item in value.items():
                if wanted.shape is Shape.STRUCT and wanted.element is None and key not in wanted.fields:
                    found.append(f"{path_text((*path, 'f:' + key))}: field not declared in schema")
                    continue
                below, below_leaf = child(wanted, key)
                _check(item, below, below_leaf, (*path, "f:" + key), found)
        case Shape.LIST:
            _check_list(value, wanted, path, found)
        case _:
            complaint = _scalar_problem(value, wanted.scalar)
            if complaint:
                found.append(f"{path_text(path)}: {complaint}")


def _check_list(value: Any, wanted: Type, path: tuple[str, ...], found: list[str]) -> None:
    if not isinstance(value, list):
        found.append(f"{path_text(path)}: expected list, got {_shown(value)}")
        return
    inner = wanted.element or ANY
    keyed = wanted.list_type in ("map", "set")
    seen: set[str] = set()
    for index, item in enumerate(value):
        element = f"i:{index}"
        if keyed:
            try:
                element = element_of(item, wanted)
            except ElementError as error:
                found.append(f"{path_text(path)}: element {index}: {error}")
                continue
            if element in seen:
                found.append(f"{path_text(path)}: duplicate entries for key {path_text((element,))}")
                continue
            seen.add(element)
        _check(item, inner, inner.leaf, (*path, element), found)


def _scalar_problem(value: Any, scalar: Scalar | None) -> str:
    if scalar in _NUMBERS:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if fits else f"expected numeric (int or float), got {_shown(value)}"
    if scalar is Scalar.BOOL:
        return "" if isinstance(value, bool) else f"expected boolean, got {_shown(value)}"
    if scalar in _TEXTS:
        return "" if isinstance(value, str) else f"expected string, got {_shown(value)}"
    if isinstance(value, dict | list):
        return f"expected scalar, got {_shown(value)}"
    return ""


def _shown(value: Any) -> str:
    names: dict[type, str] = {str: "string", bool: "boolean", dict: "map", list: "list"}
    return names.get(type(value), "number")
