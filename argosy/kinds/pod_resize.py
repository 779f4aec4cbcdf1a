"""pods/resize: what of a pod it takes, and which changes it allows (KEP-1287).

Rules and messages: pkg/registry/core/pod/strategy.go (`dropNonResizeUpdates`) and pkg/apis/core/validation
(`ValidatePodResize`), as of 1.35: a memory limit may shrink whatever the container's resize policy says.
"""

from __future__ import annotations

from argosy.objects import meta
from argosy.objects.pod_qos import COMPUTE, qos_class
from argosy.objects.status import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

MIRROR = "kubernetes.io/config.mirror"
GROUPS = ("containers", "initContainers")
SIDES = ("requests", "limits")
POLICIES = ("NotRequired", "RestartContainer")
ONLY_COMPUTE = "only cpu and memory resources are mutable"
ONLY_COMPUTE_OF_SIDECARS = "only cpu and memory resources for sidecar containers are mutable"
NO_INIT = "resources for non-sidecar init containers are immutable"


def validate_policies(policies: list[JsonObject], pod_restart_policy: str, path: str) -> list[FieldError]:
    """`resizePolicy` of a container; what it does not name is NotRequired."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        name, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in seen:
            errors.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)
        if not name:
            errors.append(required(path))
        elif name not in COMPUTE:
            errors.append(not_supported(path, name, COMPUTE))
        if not restart:
            errors.append(required(path))
        elif restart not in POLICIES:
            errors.append(not_supported(path, restart, POLICIES))
        if pod_restart_policy == "Never" and restart != "NotRequired":
            detail = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            errors.append(invalid_value(path, restart, detail))
    return errors


def resized(sent: JsonObject, old: JsonObject) -> JsonObject:
    """The old pod with the resources and resize policies that were sent; nothing else of `sent` counts."""
    new = meta.copy_object(old)
    given, spec = meta.spec(sent), new["spec"]
    for group in GROUPS:
        before, after = spec.get(group) or [], given.get(group) or []
        if [item.get("name") for item in before] != [item.get("name") for item in after]:
            spec[group] = meta.copy(after)  # for validation to refuse
            continue
        for container, asked in zip(before, after, strict=True):
            for field in ("resources", "resizePolicy"):
                if field in asked:
                    container[field] = meta.copy(asked[field])
                else:
                    container.pop(field, None)
    return new


def _check_order(new: JsonObject, old: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    for group in GROUPS:
        after, before = new.get(group) or [], old.get(group) or []
        if len(after) != len(before):
            errors.append(forbidden_field(f"spec.{group}", f"{group} may not be added or removed on resize"))
            continue
        errors += [
            forbidden_field(f"spec.{group}[{index}].name", f"{group} may not be renamed or reordered on resize")
            for index, (now, then) in enumerate(zip(after, before, strict=True))
            if now.get("name") != then.get("name")
        ]
    return errors


def _check_removed(container: JsonObject, before: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for side in SIDES:
        kept = (container.get("resources") or {}).get(side) or {}
        if any(name not in kept for name in (before.get("resources") or {}).get(side) or {}):
            errors.append(forbidden_field(f"{path}.resources.{side}", f"resource {side} cannot be removed"))
    return errors


def _fixed(container: JsonObject) -> JsonObject:
    """All of a container that a resize cannot change; absent and empty are the same."""
    resources = dict(container.get("resources") or {})
    for side in SIDES:
        resources[side] = {name: text for name, text in (resources.get(side) or {}).items() if name not in COMPUTE}
    whole = {**container, "resources": {key: value for key, value in resources.items() if value}}
    return {key: value for key, value in whole.items() if value not in (None, [], {}, "", False, 0)}


def _check_fixed(container: JsonObject, before: JsonObject, group: str) -> list[FieldError]:
    if _is_sidecar(before) or group == "containers":
        if _fixed(container) != _fixed(before):
            message = ONLY_COMPUTE if group == "containers" else ONLY_COMPUTE_OF_SIDECARS
            return [forbidden_field("spec", message)]
    elif container != before:
        return [forbidden_field("spec", NO_INIT)]
    return []


def _is_sidecar(container: JsonObject) -> bool:
    return container.get("restartPolicy") == "Always"


def _has_own(spec: JsonObject) -> bool:
    own = spec.get("resources") or {}
    return any(own.get(side) for side in SIDES)


def _node_resizes(pod: JsonObject) -> bool:
    """A node that can resize says what its running containers have; none running tells nothing."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if "running" in (status.get("state") or {}):
            return status.get("resources") is not None
    return True


def validate_resize(new: JsonObject, old: JsonObject) -> list[FieldError]:
    after, before = meta.spec(new), meta.spec(old)
    if _has_own(before) or _has_own(after):
        return [forbidden_field("", "pods with pod-level resources cannot be resized")]
    if MIRROR in meta.annotations(old):
        return [forbidden_field("", "static pods cannot be resized")]
    if (before.get("os") or {}).get("name") == "windows":
        return [forbidden_field("", "windows pods cannot be resized")]
    errors: list[FieldError] = []
    qos = meta.status(old).get("qosClass") or qos_class(old)
    if qos_class(new) != qos:
        errors.append(invalid_value("spec", qos, "Pod QOS Class may not change as a result of resizing"))
    if not _node_resizes(old):
        errors.append(forbidden_field("spec", "Pod running on node without support for resize"))
    disorder = _check_order(after, before)
    if disorder:
        return errors + disorder
    for group in reversed(GROUPS):
        for index, (now, then) in enumerate(zip(after.get(group) or (), before.get(group) or (), strict=True)):
            if group == "containers" or _is_sidecar(then):
                errors += _check_removed(now, then, f"spec.{group}[{index}]")
    for group in GROUPS:
        for now, then in zip(after.get(group) or (), before.get(group) or (), strict=True):
            errors += _check_fixed(now, then, group)
    if not errors and _others(after) != _others(before):
        errors.append(forbidden_field("spec", ONLY_COMPUTE))
    return errors


def _others(spec: JsonObject) -> JsonObject:
    return {key: value for key, value in spec.items() if key not in GROUPS}
