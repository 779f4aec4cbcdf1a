"""ConfigMap: plain configuration."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects import names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, too_long
from argosy.objects.types import JsonObject

MAX_BYTES = 1 << 20
IMMUTABLE_COMPLAINT = "field is immutable when `immutable` is set"


def validate(obj: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    total = 0
    for key, value in sorted(data.items()):
        errors += [invalid_value(f"data[{key}]", key, text) for text in names.check_config_key(key)]
        if key in binary:
            errors.append(invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData"))
        total += len(value.encode()) if isinstance(value, str) else 0
    for key, value in sorted(binary.items()):
        errors += [invalid_value(f"binaryData[{key}]", key, text) for text in names.check_config_key(key)]
        total += len(str(value)) * 3 // 4
    if total > MAX_BYTES:
        errors.append(too_long("[]", MAX_BYTES))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    errors = [] if new.get("immutable") else [forbidden_field("immutable", IMMUTABLE_COMPLAINT)]
    return errors + [
        forbidden_field(field, IMMUTABLE_COMPLAINT)
        for field in ("data", "binaryData")
        if (new.get(field) or {}) != (old.get(field) or {})
    ]


CONFIG_MAP = Kind(
    group="",
    version="v1",
    kind="ConfigMap",
    plural="configmaps",
    singular="configmap",
    namespaced=True,
    short_names=("cm",),
    validate=validate,
    validate_update=validate_update,
    columns=(
        columns.computed(
            "Data",
            lambda obj: len(obj.get("data") or ()) + len(obj.get("binaryData") or ()),
            description="How many keys it has.",
        ),
        AGE_COLUMN,
    ),
)
