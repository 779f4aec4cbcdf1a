"""The spec of a claim: what PersistentVolumeClaims, a pod's ephemeral volumes and claim templates have in common."""

from __future__ import annotations

from argosy.kinds import resources, storage_validation
from argosy.kinds.label_rules import validate_selector
from argosy.objects import names
from argosy.objects.status import FieldError, invalid_value, required
from argosy.objects.types import JsonObject


def default_spec(spec: JsonObject) -> None:
    """A claim's spec, or that of a claim template."""
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    requirements = spec.get("resources")
    if isinstance(requirements, dict):
        resources.canonicalise(requirements.get("requests"))
        resources.canonicalise(requirements.get("limits"))


def requested(spec: JsonObject) -> object:
    """The size that it asks for, as written; None without one."""
    return ((spec.get("resources") or {}).get("requests") or {}).get("storage")


def _validate_data_source(source: JsonObject, path: str) -> list[FieldError]:
    errors = [required(f"{path}.{field}") for field in ("name", "kind") if not source.get(field)]
    group = source.get("apiGroup") or ""
    if not group and source.get("kind") != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid_value(path, source.get("kind", ""), detail))
    if group:
        errors += [invalid_value(f"{path}.apiGroup", group, text) for text in names.check_subdomain(group)]
    space = source.get("namespace")
    if space:
        errors += [invalid_value(f"{path}.namespace", space, text) for text in names.check_label(space)]
    return errors


def _validate_data_sources(spec: JsonObject, path: str) -> list[FieldError]:
    old, new = spec.get("dataSource"), spec.get("dataSourceRef")
    errors: list[FieldError] = []
    if isinstance(old, dict):
        errors += _validate_data_source(old, f"{path}.dataSource")
    if isinstance(new, dict):
        errors += _validate_data_source(new, f"{path}.dataSourceRef")
    if isinstance(old, dict) and isinstance(new, dict):
        if new.get("namespace"):
            detail = "may not be specified when dataSourceRef.namespace is specified"
            errors.append(invalid_value(path, f"{path}.dataSource", detail))
        elif any(old.get(field) != new.get(field) for field in ("apiGroup", "kind", "name")):
            errors.append(invalid_value(path, f"{path}.dataSource", "must match dataSourceRef"))
    return errors


def validate_spec(spec: JsonObject, path: str) -> list[FieldError]:
    """A claim's spec, or that of a claim template."""
    errors = storage_validation.validate_access_modes(
        spec.get("accessModes"), f"{path}.accessModes", needed="at least 1 access mode is required"
    )
    errors += validate_selector(spec.get("selector"), f"{path}.selector")
    where, size = f"{path}.resources[storage]", requested(spec)
    errors += [required(where)] if size is None else storage_validation.validate_size(size, where)
    errors += storage_validation.validate_class_name(spec.get("storageClassName"), f"{path}.storageClassName")
    errors += storage_validation.validate_volume_mode(spec.get("volumeMode"), f"{path}.volumeMode")
    errors += _validate_data_sources(spec, path)
    attributes = f"{path}.volumeAttributesClassName"
    return errors + storage_validation.validate_class_name(spec.get("volumeAttributesClassName"), attributes)
