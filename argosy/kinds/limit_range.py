"""LimitRange: bounds and defaults for the resources of one container or pod."""

from __future__ import annotations

from argosy.kinds import columns, resources
from argosy.kinds.kind import Kind
from argosy.objects import quantity
from argosy.objects.status import FieldError, duplicate, invalid_value
from argosy.objects.types import JsonObject

LISTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    for item in (spec.get("limits") or ()) if isinstance(spec, dict) else ():
        for name in LISTS:
            resources.canonicalise(item.get(name))
        if item.get("type") != "Container":
            continue
        limit = {**(item.get("max") or {}), **(item.get("default") or {})}
        request = {**(item.get("min") or {}), **limit, **(item.get("defaultRequest") or {})}
        if limit:
            item["default"] = limit
        if request:
            item["defaultRequest"] = request


def _ordered(item: JsonObject, low: str, high: str, name: str, path: str) -> list[FieldError]:
    lows, highs = item.get(low) or {}, item.get(high) or {}
    if name not in lows or name not in highs:
        return []
    try:
        if quantity.compare(lows[name], highs[name]) <= 0:
            return []
    except quantity.QuantityError:
        return []
    detail = f"{low} value {lows[name]} is greater than {high} value {highs[name]}"
    return [invalid_value(f"{path}.{low}[{name}]", str(lows[name]), detail)]


def validate(obj: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[object] = set()
    for index, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path = f"spec.limits[{index}]"
        if item.get("type") in seen:
            errors.append(duplicate(f"{path}.type", item.get("type")))
        seen.add(item.get("type"))
        names: set[str] = set()
        for list_name in LISTS:
            errors += resources.validate_list(item.get(list_name), f"{path}.{list_name}")
            names |= set(item.get(list_name) or {})
        for name in sorted(names):
            for low, high in (
                ("min", "max"), ("min", "defaultRequest"), ("defaultRequest", "max"),
                ("defaultRequest", "default"), ("default", "max"),
            ):  # fmt: skip
                errors += _ordered(item, low, high, name, path)
    return errors


LIMIT_RANGE = Kind(
    group="",
    version="v1",
    kind="LimitRange",
    plural="limitranges",
    singular="limitrange",
    namespaced=True,
    short_names=("limits",),
    default=default,
    validate=validate,
    allow_create_on_update=True,
    columns=(columns.text("Created At", "metadata", "creationTimestamp", description="When the range was created."),),
)
