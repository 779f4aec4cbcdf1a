"""PodDisruptionBudget: how many of an application's pods may be evicted at once."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Column, Kind, drop_status, keep_status, status_subresource
from argosy.kinds.label_rules import validate_selector
from argosy.objects import intstr
from argosy.objects.status import FieldError, invalid_value, not_supported
from argosy.objects.types import JsonObject

POLICIES = ("AlwaysAllow", "IfHealthyBudget")


def _validate_amount(value: object, path: str) -> list[FieldError]:
    if isinstance(value, int) and not isinstance(value, bool):
        return [] if value >= 0 else [invalid_value(path, value, "must be greater than or equal to 0")]
    share = intstr.percent(value)
    if share is None:
        detail = (
            "a valid percent string must be a numeric string followed by an ending '%' "
            "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
        )
        return [invalid_value(path, value, detail)]
    return [] if share <= 100 else [invalid_value(path, value, "must not be greater than 100%")]


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    errors: list[FieldError] = []
    if least is not None and most is not None:
        detail = "minAvailable and maxUnavailable cannot be both set"
        errors.append(invalid_value("spec", {"minAvailable": least, "maxUnavailable": most}, detail))
    if least is not None:
        errors += _validate_amount(least, "spec.minAvailable")
    if most is not None:
        errors += _validate_amount(most, "spec.maxUnavailable")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in POLICIES:
        errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, POLICIES))
    return errors + validate_selector(spec.get("selector"), "spec.selector")


def _amount(field: str) -> Column:
    name = {"minAvailable": "Min Available", "maxUnavailable": "Max Unavailable"}[field]
    return columns.text(name, "spec", field, empty="N/A")


POD_DISRUPTION_BUDGET = Kind(
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    singular="poddisruptionbudget",
    namespaced=True,
    short_names=("pdb",),
    subresources=(status_subresource("policy", "v1", "PodDisruptionBudget"),),
    validate=validate,
    prepare_create=drop_status,
    prepare_update=keep_status,
    columns=(
        _amount("minAvailable"),
        _amount("maxUnavailable"),
        columns.number("Allowed Disruptions", "status", "disruptionsAllowed", description="Evictions possible now."),
        AGE_COLUMN,
    ),
    has_generation=True,
    unconditional_update=False,
)
