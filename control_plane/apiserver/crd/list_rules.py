"""What a schema may say of its lists and maps: list types, their keys, map types.

Upstream: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`, validateMapListKeysMapSet.
"""

from __future__ import annotations

from typing import Any

from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

LIST_TYPE = "x-kubernetes-list-type"
MAP_KEYS = "x-kubernetes-list-map-keys"
MAP_TYPE = "x-kubernetes-map-type"


def list_and_map_rules(schema: JsonObject, path: str) -> list[FieldError]:
    """Of one level."""
    found = _map_type(schema, path)
    listed = schema.get(LIST_TYPE)
    kind = schema.get("type") or ""
    items = schema.get("items") if isinstance(schema.get("items"), dict) else None
    if listed is not None and kind != "array":
        detail = f"must be array if {LIST_TYPE} is specified"
        found.append(invalid_value(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail))
    elif listed == "set" and items is not None:
        found += _set_items(items, f"{path}.items")
    if listed is not None and listed not in ("atomic", "set", "map"):
        found.append(not_supported(f"{path}.{LIST_TYPE}", listed, ["atomic", "set", "map"]))
    keys = schema.get(MAP_KEYS) or []
    if keys and listed != "map":
        detail = f"must be map if {MAP_KEYS} is non-empty"
        where = f"{path}.{LIST_TYPE}"
        found.append(required(where, detail) if listed is None else invalid_value(where, listed, detail))
    if listed == "map":
        found += _map_list(items, keys, path)
    if listed in ("set", "map") and items is not None and items.get("nullable"):
        found.append(forbidden_field(f"{path}.items.nullable", f"cannot be nullable when {LIST_TYPE} is {listed}"))
    return found


def _map_type(schema: JsonObject, path: str) -> list[FieldError]:
    given = schema.get(MAP_TYPE)
    if given is None:
        return []
    found: list[FieldError] = []
    kind = schema.get("type") or ""
    if kind != "object":
        detail = f"must be object if {MAP_TYPE} is specified"
        found.append(invalid_value(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail))
    if given not in ("atomic", "granular"):
        found.append(not_supported(f"{path}.{MAP_TYPE}", given, ["atomic", "granular"]))
    return found


def _set_items(items: JsonObject, path: str) -> list[FieldError]:
    detail = f"must be atomic as item of a list with {LIST_TYPE}=set"
    if items.get("type") == "array" and items.get(LIST_TYPE) not in (None, "atomic"):
        return [invalid_value(f"{path}.{LIST_TYPE}", items.get(LIST_TYPE), detail)]
    if items.get("type") == "object" and items.get(MAP_TYPE) != "atomic":
        return [invalid_value(f"{path}.{MAP_TYPE}", items.get(MAP_TYPE), detail)]
    return []


def _map_list(items: JsonObject | None, keys: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if not keys:
        found.append(required(f"{path}.{MAP_KEYS}", f"must not be empty if {LIST_TYPE} is map"))
    if items is None:
        return [*found, required(f"{path}.items", f"must have a schema if {LIST_TYPE} is map")]
    if items.get("type") != "object":
        detail = f"must be object if parent array's {LIST_TYPE} is map"
        return [*found, invalid_value(f"{path}.items.type", items.get("type") or "", detail)]
    properties = items.get("properties") or {}
    wanted = items.get("required") or []
    seen: set[str] = set()
    for key in keys:
        child = properties.get(key)
        where = f"{path}.items.properties[{key}]"
        if not isinstance(child, dict):
            found.append(invalid_value(f"{path}.{MAP_KEYS}", keys, "entries must all be names of item properties"))
            continue
        if child.get("type") in ("array", "object"):
            detail = f"must be a scalar type if parent array's {LIST_TYPE} is map"
            found.append(invalid_value(f"{where}.type", child.get("type"), detail))
        if key in seen:
            found.append(invalid_value(f"{path}.{MAP_KEYS}", keys, "must not contain duplicate entries"))
        seen.add(key)
        if key not in wanted and child.get("default") is None:
            detail = f"this property is in {MAP_KEYS}, so it must have a default or be a required property"
            found.append(required(f"{where}.default", detail))
        if child.get("nullable"):
            detail = f"this property is in {MAP_KEYS}, so it cannot be nullable"
            found.append(forbidden_field(f"{where}.nullable", detail))
    return found
