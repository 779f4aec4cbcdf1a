"""ControllerRevision: one immutable snapshot of a workload's template (StatefulSet, DaemonSet)."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects import meta
from argosy.objects.status import FieldError, invalid_value, required
from argosy.objects.types import JsonObject


def validate(obj: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    if obj.get("data") is None:
        errors.append(required("data", "data is mandatory"))
    revision = obj.get("revision", 0)
    if isinstance(revision, int) and revision < 0:
        errors.append(invalid_value("revision", revision, "must be greater than or equal to 0"))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    if new.get("data") != old.get("data"):
        return [invalid_value("data", new.get("data"), "field is immutable")]
    return []


def _controller(obj: JsonObject) -> str:
    owner = meta.controller_of(obj)
    if owner is None:
        return columns.NONE
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    kind = str(owner.get("kind", "")).lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


CONTROLLER_REVISION = Kind(
    group="apps",
    version="v1",
    kind="ControllerRevision",
    plural="controllerrevisions",
    singular="controllerrevision",
    namespaced=True,
    validate=validate,
    validate_update=validate_update,
    columns=(
        columns.computed("Controller", _controller, description="The object that owns the revision."),
        columns.number("Revision", "revision", description="Its number, rising."),
        AGE_COLUMN,
    ),
)
