"""What may change of an existing pod (pkg/apis/core/validation, ValidatePodUpdate and its relatives)."""

from __future__ import annotations

from argosy.kinds.pod_validation import MAX_INT32
from argosy.objects import names
from argosy.objects.status import FieldError, forbidden_field, invalid_value
from argosy.objects.types import JsonObject

IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
GROUPS = ("containers", "initContainers")


def _check_deadline(new: JsonObject, old: JsonObject) -> list[FieldError]:
    path = "spec.activeDeadlineSeconds"
    after, before = new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if after is None:
        if before is None:
            return []
        return [invalid_value(path, None, "must not update from a positive integer to nil value")]
    if not 0 <= after <= MAX_INT32:
        return [invalid_value(path, after, f"must be between 0 and {MAX_INT32}, inclusive")]
    if before is not None and before < after:
        return [invalid_value(path, after, "must be less than or equal to previous value")]
    return []


def _check_tolerations(new: JsonObject, old: JsonObject) -> list[FieldError]:
    def plain(toleration: JsonObject) -> JsonObject:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    kept = [plain(item) for item in new.get("tolerations") or ()]
    if all(plain(item) in kept for item in old.get("tolerations") or ()):
        return []
    return [
        forbidden_field("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    ]


def _check_gates(new: JsonObject, old: JsonObject) -> list[FieldError]:
    known = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    return [
        forbidden_field(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for index, gate in enumerate(new.get("schedulingGates") or ())
        if gate.get("name") not in known
    ]


def _with_old(new: JsonObject, old: JsonObject) -> JsonObject:
    """`new` with everything that may change taken from `old`: what is left must be equal."""
    result = dict(new)
    for group in GROUPS:
        if group in new:
            result[group] = [
                {**after, "image": before.get("image")}
                for after, before in zip(new[group] or (), old.get(group) or (), strict=True)
            ]
    grace = old.get("terminationGracePeriodSeconds")
    fields = ["activeDeadlineSeconds", "schedulingGates", "tolerations"]
    if isinstance(grace, int) and grace < 0 and new.get("terminationGracePeriodSeconds") == 1:
        fields.append("terminationGracePeriodSeconds")
    if old.get("schedulingGates"):
        selector, added = old.get("nodeSelector") or {}, new.get("nodeSelector") or {}
        if all(added.get(key) == value for key, value in selector.items()):
            fields.append("nodeSelector")
    for field in fields:
        if field in old:
            result[field] = old[field]
        else:
            result.pop(field, None)
    return result


def _filled(spec: JsonObject) -> JsonObject:
    """Without empty values: absent and empty are the same."""
    return {key: value for key, value in spec.items() if value not in (None, [], {}, "", False, 0)}


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if after == before:
        return []
    for group in GROUPS:
        if len(after.get(group) or ()) != len(before.get(group) or ()):
            return [forbidden_field(f"spec.{group}", "pod updates may not add or remove containers")]
    errors = _check_deadline(after, before) + _check_tolerations(after, before) + _check_gates(after, before)
    if _filled(_with_old(after, before)) != _filled(before):
        errors.append(forbidden_field("spec", IMMUTABLE))
    return errors


def _check_transitions(
    new: JsonObject, old: JsonObject, field: str, policy: str, spared: set[str]
) -> list[FieldError]:
    if policy == "Always":
        return []
    now = {item.get("name"): item for item in new.get(field) or ()}
    errors: list[FieldError] = []
    for index, before in enumerate(old.get(field) or ()):
        ended = (before.get("state") or {}).get("terminated")
        if ended is None or before.get("name") in spared:
            continue
        if ended.get("exitCode", 0) != 0 and policy == "OnFailure":
            continue
        after = now.get(before.get("name"))
        if after is not None and (after.get("state") or {}).get("terminated") is None:
            path = f"status.{field}[{index}].state"
            errors.append(forbidden_field(path, "may not be transitioned to non-terminated state"))
    return errors


def validate_status_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    after, before, spec = new.get("status") or {}, old.get("status") or {}, old.get("spec") or {}
    errors: list[FieldError] = []
    nominated = after.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        errors += [
            invalid_value("status.nominatedNodeName", nominated, text) for text in names.check_subdomain(nominated)
        ]
    if after.get("qosClass", "") != before.get("qosClass", ""):
        errors.append(invalid_value("status.qosClass", after.get("qosClass", ""), "field is immutable"))
    policy = spec.get("restartPolicy", "Always")
    sidecars = {item["name"] for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"}
    errors += _check_transitions(after, before, "containerStatuses", policy, set())
    errors += _check_transitions(after, before, "initContainerStatuses", policy, sidecars)
    errors += _check_transitions(after, before, "ephemeralContainerStatuses", "Never", set())
    for field in ("podIPs", "hostIPs"):
        for index, item in enumerate(after.get(field) or ()):
            address = item.get("ip", "")
            errors += [invalid_value(f"status.{field}[{index}]", address, text) for text in names.check_ip(address)]
    return errors
