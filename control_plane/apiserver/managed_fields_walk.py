"""Walks over typed objects that give sets of fields: all of one object, or what differs between two.

Lists of type map and set are walked by element, atomic values are leaves. Comparing prunes by plain equality, so its
cost is that of what changed. Upstream: structured-merge-diff/typed (tofieldset, compare).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from control_plane.apiserver.managed_fields_set import LEAF, SELF, Node
from control_plane.apiserver.schema.types import ANY, DEDUCED, KEY_DEFAULTS, Field, Shape, Type


class ElementError(ValueError):
    """A list element that cannot be told from others."""


@lru_cache(maxsize=8192, typed=True)
def _key_element(names: tuple[str, ...], *values: object) -> str:
    keys = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


@lru_cache(maxsize=4096, typed=True)
def _value_element(value: object) -> str:
    return "v:" + orjson.dumps(value).decode()


def element_of(item: Any, listed: Type) -> str:
    """The path element of a list's item. Raises ElementError."""
    if listed.list_type == "set":
        if isinstance(item, dict | list):
            return "v:" + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()
        return _value_element(item)
    if not isinstance(item, dict):
        raise ElementError("associative list with keys may not have non-map elements")
    values: list[object] = []
    for name in listed.map_keys:
        value = item.get(name)
        if value is None:
            value = KEY_DEFAULTS.get(name)
        if isinstance(value, dict | list):
            raise ElementError(f"key field {name!r} must be a scalar")
        values.append(value)
    if all(value is None for value in values):
        missing = listed.map_keys[0] if listed.map_keys else ""
        raise ElementError(
            f'associative list with keys has an element that omits key field "{missing}" '
            "(and doesn't have default value)"
        )
    return _key_element(listed.map_keys, *values)


def child(owner: Type, key: str) -> tuple[Type, bool]:
    """The type below a struct's or map's key, and whether it is owned as one value there."""
    if owner.shape is Shape.STRUCT:
        found: Field | None = owner.fields.get(key)
        if found is not None:
            return found.type, found.leaf
        return (ANY, True) if owner.element is None else (owner.element, owner.element.leaf)
    if owner.element is None:
        return ANY, True
    return owner.element, owner.element.leaf


def deduced_list(value: Any, wanted: Type) -> bool:
    """A list that no schema knows is one value."""
    return wanted is DEDUCED and isinstance(value, list)


def elements(items: list[Any], listed: Type) -> dict[str, list[Any]]:
    """Items by path element; duplicates keep each other company."""
    result: dict[str, list[Any]] = {}
    for item in items:
        try:
            result.setdefault(element_of(item, listed), []).append(item)
        except ElementError:
            continue  # a live object that validation let through: such an item has no owner
    return result


def field_set(obj: dict[str, Any], root: Type) -> Node:
    """The fields that an applied configuration claims."""
    return _fields_of_map(obj, root)


def _fields_of(value: Any, wanted: Type, leaf: bool) -> Node | None:
    """None: no field at all (an empty list that is not atomic)."""
    if leaf or value is None or not isinstance(value, dict | list) or deduced_list(value, wanted):
        return LEAF
    if isinstance(value, dict):
        return (_fields_of_map(value, wanted) or None) if value else LEAF
    result: Node = {}
    inner = wanted.element or ANY
    for element, items in elements(value, wanted).items():
        below = _fields_of(items[0], inner, inner.leaf) or LEAF
        result[element] = {SELF: LEAF, **below} if below else LEAF
    return result or None


def _fields_of_map(value: dict[str, Any], owner: Type) -> Node:
    result: Node = {}
    named = owner.shape is Shape.STRUCT
    for key, item in value.items():
        wanted, leaf = child(owner, key)
        below = _fields_of(item, wanted, leaf)
        if below is None:
            if not named:
                result["f:" + key] = LEAF
            continue
        result["f:" + key] = {SELF: LEAF, **below} if below and not named else below
    return result


@dataclass(slots=True)
class Comparison:
    """Roots of what an update added, changed and removed."""

    added: Node
    modified: Node
    removed: Node


def compare(old: dict[str, Any], new: dict[str, Any], root: Type) -> Comparison:
    added: Node = {}
    modified: Node = {}
    removed: Node = {}
    _compare_maps(old, new, root, added, modified, removed)
    return Comparison(added, modified, removed)


def _compare_maps(
    old: dict[str, Any], new: dict[str, Any], owner: Type, added: Node, modified: Node, removed: Node
) -> None:
    for key, value in new.items():
        before = old.get(key)
        if before is None and value is not None:
            wanted, leaf = child(owner, key)
            if _by_value(owner, key):
                _compare({}, value, wanted, leaf, "f:" + key, added, modified, removed)
            else:
                added["f:" + key] = _whole(value, wanted, leaf)
        elif before != value and value is not None:
            wanted, leaf = child(owner, key)
            _compare(before, value, wanted, leaf, "f:" + key, added, modified, removed)
    for key, value in old.items():
        if value is not None and new.get(key) is None:
            wanted, leaf = child(owner, key)
            if _by_value(owner, key):
                _compare(value, {}, wanted, leaf, "f:" + key, added, modified, removed)
            else:
                removed["f:" + key] = _whole(value, wanted, leaf)


def _by_value(owner: Type, key: str) -> bool:
    """Go has this struct even where JSON leaves it out: it is never added or removed, only its fields are."""
    found = owner.fields.get(key)
    return found is not None and found.by_value


def _compare(
    before: Any, value: Any, wanted: Type, leaf: bool, element: str, added: Node, modified: Node, removed: Node
) -> None:
    """Two values that differ, under `element` of their parents' nodes."""
    if leaf or type(before) is not type(value) or not isinstance(value, dict | list) or deduced_list(value, wanted):
        modified[element] = LEAF
        return
    below_added: Node = {}
    below_modified: Node = {}
    below_removed: Node = {}
    if isinstance(value, dict):
        _compare_maps(before, value, wanted, below_added, below_modified, below_removed)
    else:
        _compare_lists(before, value, wanted, below_added, below_modified, below_removed)
    for parent, below in ((added, below_added), (modified, below_modified), (removed, below_removed)):
        if below:
            parent[element] = below


def _compare_lists(old: list[Any], new: list[Any], listed: Type, added: Node, modified: Node, removed: Node) -> None:
    inner = listed.element or ANY
    leaf = inner.leaf
    olds, news = elements(old, listed), elements(new, listed)
    for element, items in news.items():
        before = olds.get(element)
        if before is None:
            added[element] = _whole(items[0], inner, leaf) if len(items) == 1 else LEAF
        elif len(items) > 1 and len(before) > 1:
            if items != before:
                modified[element] = LEAF
        elif len(items) > 1 or len(before) > 1:
            (added if len(items) > 1 else removed)[element] = LEAF
        elif before[0] != items[0]:
            _compare(before[0], items[0], inner, leaf, element, added, modified, removed)
    for element, items in olds.items():
        if element not in news:
            removed[element] = _whole(items[0], inner, leaf) if len(items) == 1 else LEAF


def _whole(value: Any, wanted: Type, leaf: bool) -> Node:
    """Every path of a value that only one side has, itself included."""
    if leaf or not value or deduced_list(value, wanted):
        return LEAF
    result: Node = {SELF: LEAF}
    if type(value) is dict:
        if wanted.shape is Shape.STRUCT:
            get = wanted.fields.get
            for key, item in value.items():
                if item is not None:
                    field = get(key)
                    if field is None:
                        result["f:" + key] = _whole(item, *child(wanted, key))
                    else:
                        result["f:" + key] = LEAF if field.leaf else _whole(item, field.type, False)
            return result
        inner = wanted.element or ANY
        if inner.leaf:
            for key in value:
                result["f:" + key] = LEAF
            return result
        for key, item in value.items():
            result["f:" + key] = _whole(item, inner, False)
        return result
    if type(value) is not list:
        return LEAF
    inner = wanted.element or ANY
    for element, items in elements(value, wanted).items():
        result[element] = _whole(items[0], inner, inner.leaf) if len(items) == 1 else LEAF
    return result
