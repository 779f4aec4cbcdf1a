"""ResourceQuota: how much a namespace may use in all."""

from __future__ import annotations

from argosy.kinds import columns, resources
from argosy.kinds.kind import AGE_COLUMN, Kind, drop_status, keep_status, status_subresource
from argosy.objects import names
from argosy.objects.status import FieldError, invalid_value
from argosy.objects.types import JsonObject


def default(obj: JsonObject) -> None:
    for part, field in (("spec", "hard"), ("status", "hard"), ("status", "used")):
        if isinstance(obj.get(part), dict):
            resources.canonicalise(obj[part].get(field))


def _validate_amounts(amounts: JsonObject | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, text in sorted((amounts or {}).items()):
        where = f"{path}[{name}]"
        errors += [invalid_value(where, name, complaint) for complaint in names.check_qualified_name(name)]
        errors += resources.validate_quantity(name, text, where)
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    errors = _validate_amounts(spec.get("hard"), "spec.hard")
    errors += _validate_amounts(status.get("hard"), "status.hard")
    return errors + _validate_amounts(status.get("used"), "status.used")


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    scopes = (new.get("spec") or {}).get("scopes") or []
    if sorted(scopes) != sorted((old.get("spec") or {}).get("scopes") or []):
        return [invalid_value("spec.scopes", scopes, "field is immutable")]
    return []


def _usage(obj: JsonObject, limits: bool) -> str:
    hard, used = columns.at(obj, "status", "hard"), columns.at(obj, "status", "used")
    parts = []
    for name in sorted(hard if isinstance(hard, dict) else {}):
        if name.startswith("limits.") is limits:
            amount = used.get(name, "0") if isinstance(used, dict) else "0"
            parts.append(f"{name}: {amount}/{columns.text_at(hard, name)}")
    return ", ".join(parts)


RESOURCE_QUOTA = Kind(
    group="",
    version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    singular="resourcequota",
    namespaced=True,
    short_names=("quota",),
    subresources=(status_subresource("", "v1", "ResourceQuota"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    prepare_create=drop_status,
    prepare_update=keep_status,
    columns=(
        columns.computed("Request", lambda obj: _usage(obj, limits=False), description="Used of what is allowed."),
        columns.computed("Limit", lambda obj: _usage(obj, limits=True), description="The same for limits."),
        AGE_COLUMN,
    ),
    delete_returns_object=True,
)
