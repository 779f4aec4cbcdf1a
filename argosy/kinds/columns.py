"""What printer columns have in common: reading nested fields and joining lists the way kubectl shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from argosy.kinds.kind import Column
from argosy.objects import durations
from argosy.objects.types import JsonObject

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"


def at(obj: object, *path: str) -> object:
    """The value under nested keys; None where one is missing."""
    for key in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(key)
    return obj


def text_at(obj: object, *path: str) -> str:
    value = at(obj, *path)
    return "" if value is None else str(value)


def number_at(obj: object, *path: str) -> int:
    value = at(obj, *path)
    return value if isinstance(value, int) else 0


def items_at(obj: object, *path: str) -> list[JsonObject]:
    value = at(obj, *path)
    return value if isinstance(value, list) else []


def text(name: str, *path: str, empty: str = "", priority: int = 0, description: str = "") -> Column:
    """A column that shows one string field, or `empty`."""
    return Column(name, lambda obj, _now: text_at(obj, *path) or empty, priority=priority, description=description)


def number(name: str, *path: str, description: str = "") -> Column:
    return Column(name, lambda obj, _now: number_at(obj, *path), type="integer", description=description)


def age_of(name: str, *path: str, description: str = "") -> Column:
    """The time since a time stamp."""
    return Column(name, lambda obj, now: durations.age(at(obj, *path), now), description=description)


def computed(
    name: str,
    value: Callable[[JsonObject], object],
    *,
    kind: str = "string",
    priority: int = 0,
    description: str = "",
) -> Column:
    """A column whose value does not depend on the time."""
    return Column(name, lambda obj, _now: value(obj), type=kind, priority=priority, description=description)


def joined(values: Sequence[object], empty: str = NONE) -> str:
    return ",".join(str(value) for value in values) or empty


def labels(pairs: Mapping[str, str] | None, empty: str = NONE) -> str:
    """`a=1,b=2`, sorted by key."""
    return ",".join(f"{key}={value}" for key, value in sorted((pairs or {}).items())) or empty


def label_selector(selector: object) -> str:
    """A LabelSelector as `kubectl get` shows it."""
    if not isinstance(selector, dict):
        return NONE
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for item in selector.get("matchExpressions") or ():
        values = ",".join(sorted(item.get("values") or ()))
        key = item.get("key", "")
        shown = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(shown.get(item.get("operator", ""), key))
    return ",".join(parts) or NONE


def containers(pod_spec: object) -> str:
    return joined([item.get("name", "") for item in items_at(pod_spec, "containers")], "")


def images(pod_spec: object) -> str:
    return joined([item.get("image", "") for item in items_at(pod_spec, "containers")], "")


def cut(items: Sequence[str], limit: int) -> str:
    """The first `limit` items and how many more there are; `<none>` without any."""
    if not items:
        return NONE
    shown = ",".join(items[:limit])
    return f"{shown} + {len(items) - limit} more..." if len(items) > limit else shown
