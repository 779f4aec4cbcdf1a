"""Objects as meta.k8s.io Tables: what `kubectl get` shows, from the columns of each kind.

Rules: pkg/printers and apimachinery `meta/table`. includeObject says what of the object comes along with a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from argosy.kinds.kind import Kind
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.resources import Served

NAME_DESCRIPTION: Final = "Name must be unique within a namespace. Cannot be updated."
INCLUDES: Final = ("", "None", "Metadata", "Object")


def check_include(include: str) -> None:
    """Raises ApiError 400."""
    if include not in INCLUDES:
        raise errors.bad_request(f"unrecognized includeObject value: {include!r}".replace("'", '"'))


def definitions(kind: Kind) -> list[JsonObject]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in kind.table
    ]


def row(kind: Kind, obj: JsonObject, shown: JsonObject, now_s: float, include: str) -> JsonObject:
    """`obj` is the stored form that columns read, `shown` the served one that comes along."""
    source = shown if kind.custom else obj
    cells = [_cell(column.value(source, now_s)) for column in kind.table]
    result: JsonObject = {"cells": cells}
    if include == "Object":
        result["object"] = shown
    elif include != "None":
        result["object"] = partial(shown)
    return result


def _cell(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def partial(obj: JsonObject, version: str = "v1") -> JsonObject:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def table(
    served: Served, rows: Iterable[JsonObject], metadata: JsonObject, version: str = "v1", *, columns: bool = True
) -> JsonObject:
    """A Table of rows; `columns=False` leaves the definitions out, as later events of a watch may."""
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": definitions(served.kind) if columns else [],
        "rows": list(rows),
    }


def partial_list(objects: Iterable[JsonObject], metadata: JsonObject, version: str = "v1") -> JsonObject:
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "items": [partial(obj, version) for obj in objects],
    }
