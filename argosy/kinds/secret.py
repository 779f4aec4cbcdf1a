"""Secret: configuration that is kept from view and encrypted at rest."""

from __future__ import annotations

import base64
import binascii
import json

from argosy.kinds import columns
from argosy.kinds.config_map import IMMUTABLE_COMPLAINT, MAX_BYTES
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects import names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, required, too_long
from argosy.objects.types import JsonObject

SERVICE_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105  # a type, not a token
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"
NEEDED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def default(obj: JsonObject) -> None:
    """stringData is a way to write data, and is never given back."""
    if not obj.get("type"):
        obj["type"] = "Opaque"
    plain = obj.pop("stringData", None)
    if isinstance(plain, dict) and plain:
        data = obj.get("data")
        encoded = {
            key: base64.b64encode(value.encode()).decode() for key, value in plain.items() if isinstance(value, str)
        }
        obj["data"] = {**(data if isinstance(data, dict) else {}), **encoded}


def _decoded_bytes(value: object) -> bytes | None:
    try:
        return base64.b64decode(str(value or ""), validate=True)
    except (binascii.Error, ValueError):
        return None


def _validate_type(obj: JsonObject) -> list[FieldError]:
    kind, data = obj.get("type"), obj.get("data") or {}
    errors: list[FieldError] = []
    if kind == SERVICE_ACCOUNT_TOKEN:
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        if not annotations.get(SERVICE_ACCOUNT_NAME):
            errors.append(required(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]"))
    elif kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        errors += [required("data[username]"), required("data[password]")]
    for key in NEEDED_KEYS.get(str(kind), ()):
        if key not in data:
            errors.append(required(f"data[{key}]"))
        elif key.startswith(".dockerc"):
            try:
                json.loads(_decoded_bytes(data[key]) or b"")
            except ValueError as error:
                errors.append(invalid_value(f"data[{key}]", "<secret contents redacted>", str(error)))
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    total = 0
    for key, value in sorted((obj.get("data") or {}).items()):
        errors += [invalid_value(f"data[{key}]", key, text) for text in names.check_config_key(key)]
        decoded = _decoded_bytes(value)
        if decoded is None:
            errors.append(invalid_value(f"data[{key}]", "<secret contents redacted>", "illegal base64 data"))
        else:
            total += len(decoded)
    if total > MAX_BYTES:
        errors.append(too_long("data", MAX_BYTES))
    return errors + _validate_type(obj)


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    if new.get("type") != old.get("type"):
        errors.append(invalid_value("type", new.get("type"), "field is immutable"))
    if old.get("immutable"):
        if not new.get("immutable"):
            errors.append(forbidden_field("immutable", IMMUTABLE_COMPLAINT))
        if (new.get("data") or {}) != (old.get("data") or {}):
            errors.append(forbidden_field("data", IMMUTABLE_COMPLAINT))
    return errors


SECRET = Kind(
    group="",
    version="v1",
    kind="Secret",
    plural="secrets",
    singular="secret",
    namespaced=True,
    default=default,
    validate=validate,
    validate_update=validate_update,
    columns=(
        columns.text("Type", "type", description="What the secret is for."),
        columns.computed("Data", lambda obj: len(obj.get("data") or ()), description="How many keys it has."),
        AGE_COLUMN,
    ),
    fields={"type": lambda obj: columns.text_at(obj, "type")},
)
