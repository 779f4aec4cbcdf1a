"""Rules for nodes (pkg/apis/core/validation, ValidateNode and ValidateNodeUpdate)."""

from __future__ import annotations

from argosy.kinds import resources
from argosy.objects import names
from argosy.objects.status import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")


def validate_taints(taints: list[JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        where = f"{path}[{index}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        errors += [invalid_value(f"{where}.key", key, text) for text in names.check_qualified_name(key)]
        errors += [invalid_value(f"{where}.value", value, text) for text in names.check_label_value(value)]
        if not effect:
            errors.append(required(f"{where}.effect"))
        elif effect not in EFFECTS:
            errors.append(not_supported(f"{where}.effect", effect, EFFECTS))
        if (key, effect) in seen:
            error = duplicate(where, taint)
            detail = f"{error.message}: taints must be unique by key and effect pair"
            errors.append(FieldError(error.cause, where, detail))
        seen.add((key, effect))
    return errors


def _validate_cidrs(spec: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    cidrs = spec.get("podCIDRs") or []
    for index, cidr in enumerate(cidrs):
        errors += [invalid_value(f"spec.podCIDRs[{index}]", cidr, text) for text in names.check_cidr(cidr)]
    if len(cidrs) > 2:
        errors.append(invalid_value("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family"))
    if cidrs and spec.get("podCIDR") and cidrs[0] != spec["podCIDR"]:
        detail = f"podCIDRs[0]: {cidrs[0]} does not match podCIDR {spec['podCIDR']}"
        errors.append(invalid_value("spec.podCIDRs[0]", cidrs[0], detail))
    return errors


def validate(node: JsonObject) -> list[FieldError]:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    errors = validate_taints(spec.get("taints") or [], "spec.taints") + _validate_cidrs(spec)
    errors += resources.validate_list(status.get("capacity"), "status.capacity")
    errors += resources.validate_list(status.get("allocatable"), "status.allocatable")
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """CIDRs and provider id may be set once; of the rest of the spec only taints and unschedulable change."""
    errors: list[FieldError] = []
    new_spec, old_spec = new.get("spec") or {}, old.get("spec") or {}
    if old_spec.get("podCIDRs") and new_spec.get("podCIDRs") != old_spec["podCIDRs"]:
        errors.append(forbidden_field("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if old_spec.get("providerID") and new_spec.get("providerID") != old_spec["providerID"]:
        errors.append(
            forbidden_field("spec.providerID", 'node updates may not change providerID except from "" to valid')
        )
    return errors
