"""Printer columns of custom resources. Upstream: `pkg/registry/customresource/tableconvertor`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from argosy.kinds.kind import Column
from argosy.objects import durations
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd import paths

AGE: Final[JsonObject] = {
    "name": "Age",
    "type": "date",
    "jsonPath": ".metadata.creationTimestamp",
    "description": "Time since the object was created.",
}


def columns(version: JsonObject) -> tuple[Column, ...]:
    """Those of a version, or the age alone."""
    return tuple(_column(each) for each in version.get("additionalPrinterColumns") or (AGE,))


def _column(given: JsonObject) -> Column:
    kind, path = str(given.get("type", "")), str(given.get("jsonPath", ""))
    try:
        get = paths.compiled(path)
    except paths.PathError:
        get = _nothing
    return Column(
        name=str(given.get("name", "")),
        value=_value(kind, get),
        type=kind,
        format=str(given.get("format") or ""),
        description=str(
            given.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
        ),
        priority=int(given.get("priority") or 0),
    )


def _nothing(_obj: Any) -> list[Any]:
    return []


def _value(kind: str, get: paths.Getter) -> Callable[[JsonObject, float], object]:
    def value(obj: JsonObject, now_s: float) -> object:
        found = get(obj)
        return _cell(kind, found[0], now_s) if found else None

    return value


def _cell(kind: str, value: Any, now_s: float) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "string":
            return paths.shown(value)
        case "integer":
            return int(value) if number else None
        case "number":
            return float(value) if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return durations.age(value, now_s) if isinstance(value, str) else None
    return None
