"""PriorityClass: a name for a pod priority."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects.status import FieldError, forbidden_field, not_supported
from argosy.objects.types import JsonObject

HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM_PREFIX = "system-"
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
POLICIES = ("Never", "PreemptLowerPriority")


def default(obj: JsonObject) -> None:
    obj.setdefault("value", 0)
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def validate(obj: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    name = (obj.get("metadata") or {}).get("name", "")
    value = obj.get("value", 0)
    if name.startswith(SYSTEM_PREFIX):
        if SYSTEM_CLASSES.get(name) != value:
            detail = (
                "priority class names with 'system-' prefix are reserved for system use only. error: "
                f"{name} is not a known system priority class"
            )
            errors.append(forbidden_field("metadata.name", detail))
    elif value > HIGHEST_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
        errors.append(forbidden_field("value", detail))
    if obj.get("preemptionPolicy") not in POLICIES:
        errors.append(not_supported("preemptionPolicy", obj.get("preemptionPolicy"), POLICIES))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    if new.get("value") != old.get("value"):
        errors.append(forbidden_field("value", "may not be changed in an update."))
    if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
        errors.append(forbidden_field("preemptionPolicy", "field is immutable"))
    return errors


PRIORITY_CLASS = Kind(
    group="scheduling.k8s.io",
    version="v1",
    kind="PriorityClass",
    plural="priorityclasses",
    singular="priorityclass",
    namespaced=False,
    short_names=("pc",),
    default=default,
    validate=validate,
    validate_update=validate_update,
    has_generation=True,
    columns=(
        columns.number("Value", "value", description="The priority that pods of the class get."),
        columns.computed(
            "Global-Default",
            lambda obj: bool(obj.get("globalDefault")),
            kind="boolean",
            description="Whether pods without a class get it.",
        ),
        AGE_COLUMN,
        columns.text(
            "PreemptionPolicy",
            "preemptionPolicy",
            description="Whether its pods push out lower ones.",
        ),
    ),
)
