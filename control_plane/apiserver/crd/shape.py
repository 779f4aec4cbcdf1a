"""What a schema makes of an object: unknown fields go, nulls that may not be go, defaults come in.

All functions change a private object in place. Upstream: `pkg/apiserver/schema/pruning` and `…/defaulting`.
"""

from __future__ import annotations

from typing import Any, Final

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd.structure import RESERVED, Node

MAX_UNKNOWN: Final = 100
METADATA_FIELDS: Final = frozenset(
    (
        "annotations",
        "clusterName",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    )
)


def prune(obj: JsonObject, root: Node) -> list[str]:
    """Drop what the schema does not have; gives the paths, sorted. Metadata at the root is not looked into."""
    unknown: list[str] = []
    _prune(obj, root, "", unknown, True)
    return sorted(unknown)[:MAX_UNKNOWN]


def _prune(value: Any, node: Node, path: str, unknown: list[str], resource: bool) -> None:
    if isinstance(value, dict):
        _prune_map(value, node, path, unknown, resource)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _prune(item, node.items, f"{path}[{index}]", unknown, node.items.embedded)
    elif isinstance(value, list) and not node.preserve:
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _prune(item, _NOTHING, f"{path}[{index}]", unknown, False)


_NOTHING: Final = Node({})


def _prune_map(value: dict[str, Any], node: Node, path: str, unknown: list[str], resource: bool) -> None:
    properties, additional = node.properties, node.additional
    dropped: list[str] = []
    for key, item in value.items():
        if resource and key in RESERVED:
            if path and key == "metadata" and isinstance(item, dict):
                _prune_metadata(item, f"{path}.metadata", unknown)
            continue
        child = properties.get(key)
        if child is None:
            child = additional
        if child is None:
            if not node.preserve:
                dropped.append(key)
        elif isinstance(item, dict | list):
            _prune(item, child, f"{path}.{key}" if path else key, unknown, child.embedded)
    for key in dropped:
        del value[key]
        unknown.append(f"{path}.{key}" if path else key)


def _prune_metadata(metadata: dict[str, Any], path: str, unknown: list[str]) -> None:
    """Of an embedded resource."""
    for key in [key for key in metadata if key not in METADATA_FIELDS]:
        del metadata[key]
        unknown.append(f"{path}.{key}")


def default(value: Any, node: Node) -> bool:
    """Nulls that are not allowed count as absent; then absent fields with defaults get them, level by level.

    Gives whether anything changed.
    """
    if isinstance(value, dict):
        return _default_map(value, node)
    changed = False
    if isinstance(value, list) and node.items is not None:
        items = node.items
        for item in value:
            if isinstance(item, dict | list) and default(item, items):
                changed = True
    return changed


def _default_map(value: dict[str, Any], node: Node) -> bool:
    changed = False
    additional = node.additional
    for name, child in node.properties.items():
        if child.has_default and (name not in value or (value[name] is None and not child.nullable)):
            value[name] = meta.copy(child.default)
            changed = True
    nulls: list[str] = []
    for key, item in value.items():
        found = node.properties.get(key) or additional
        if found is None:
            continue
        if item is None:
            if not found.nullable and key in node.properties and not found.preserve:
                nulls.append(key)
        elif isinstance(item, dict | list) and default(item, found):
            changed = True
    for key in nulls:
        del value[key]
    return changed or bool(nulls)
