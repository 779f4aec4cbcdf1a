"""StorageClass: a kind of storage that claims ask for by name, and who makes volumes of it."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.affinity_validation import validate_key
from argosy.kinds.kind import AGE_COLUMN, NAME_COLUMN, Column, Kind
from argosy.objects import meta, names, storage
from argosy.objects.status import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
)
from argosy.objects.types import JsonObject

MODES = (storage.IMMEDIATE, storage.WAIT_FOR_FIRST_CONSUMER)
POLICIES = ("Delete", "Retain")
MAX_PARAMETERS = 512
MAX_PARAMETERS_BYTES = 256 << 10


def default(obj: JsonObject) -> None:
    if obj.get("reclaimPolicy") is None:
        obj["reclaimPolicy"] = "Delete"
    if obj.get("volumeBindingMode") is None:
        obj["volumeBindingMode"] = storage.IMMEDIATE


def _validate_parameters(parameters: JsonObject) -> list[FieldError]:
    if len(parameters) > MAX_PARAMETERS:
        return [too_long("parameters", MAX_PARAMETERS)]
    errors = [invalid_value("parameters", key, "field can not be empty.") for key in parameters if not key]
    if sum(len(key.encode()) + len(str(value).encode()) for key, value in parameters.items()) > MAX_PARAMETERS_BYTES:
        errors.append(too_long("parameters", MAX_PARAMETERS_BYTES))
    return errors


def _validate_topologies(terms: list[JsonObject]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, term in enumerate(terms):
        path = f"allowedTopologies[{index}]"
        if not term.get("matchLabelExpressions"):
            continue
        seen: set[str] = set()
        for place, item in enumerate(term["matchLabelExpressions"]):
            where, key, values = (
                f"{path}.matchLabelExpressions[{place}]",
                item.get("key", ""),
                item.get("values") or [],
            )
            errors += validate_key(key, f"{where}.key")
            if key in seen:
                errors.append(duplicate(f"{where}.key", key))
            seen.add(key)
            if not values:
                errors.append(required(f"{where}.values"))
            errors += [
                duplicate(f"{where}.values[{at}]", value) for at, value in enumerate(values) if value in values[:at]
            ]
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    provisioner = obj.get("provisioner") or ""
    errors = [] if provisioner else [required("provisioner")]
    if provisioner:
        errors += [
            invalid_value("provisioner", provisioner, text)
            for text in names.check_qualified_name(provisioner.lower())
        ]
    errors += _validate_parameters(obj.get("parameters") or {})
    if obj.get("reclaimPolicy") not in POLICIES:
        errors.append(not_supported("reclaimPolicy", obj.get("reclaimPolicy"), POLICIES))
    if obj.get("volumeBindingMode") not in MODES:
        errors.append(not_supported("volumeBindingMode", obj.get("volumeBindingMode"), MODES))
    return errors + _validate_topologies(obj.get("allowedTopologies") or [])


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    errors = [
        forbidden_field(field, f"updates to {field} are forbidden.")
        for field in ("parameters", "provisioner", "reclaimPolicy")
        if (new.get(field) or None) != (old.get(field) or None)
    ]
    mode = new.get("volumeBindingMode")
    if mode != old.get("volumeBindingMode"):
        errors.append(invalid_value("volumeBindingMode", mode, "field is immutable"))
    return errors


def _name(obj: JsonObject) -> str:
    return f"{meta.name(obj)} (default)" if storage.is_default_class(obj) else meta.name(obj)


STORAGE_CLASS = Kind(
    group="storage.k8s.io",
    version="v1",
    kind="StorageClass",
    plural="storageclasses",
    singular="storageclass",
    namespaced=False,
    short_names=("sc",),
    default=default,
    validate=validate,
    validate_update=validate_update,
    columns=(
        Column(NAME_COLUMN.name, lambda obj, _now: _name(obj), format="name", description=NAME_COLUMN.description),
        columns.text("Provisioner", "provisioner", description="Who makes its volumes."),
        columns.text("ReclaimPolicy", "reclaimPolicy", description="What becomes of them when their claim is gone."),
        columns.text("VolumeBindingMode", "volumeBindingMode", description="When a claim gets one."),
        columns.computed(
            "AllowVolumeExpansion",
            lambda obj: "true" if obj.get("allowVolumeExpansion") else "false",
            description="Whether they can grow.",
        ),
        AGE_COLUMN,
    ),
)
