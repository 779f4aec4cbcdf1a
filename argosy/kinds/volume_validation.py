"""Rules for a pod's volumes (pkg/apis/core/validation, ValidateVolumes)."""

from __future__ import annotations

from collections.abc import Mapping

from argosy.kinds.claim_spec import validate_spec as validate_claim_spec
from argosy.kinds.label_rules import validate_annotations, validate_labels
from argosy.objects import names, quantity
from argosy.objects.status import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

MODE_MESSAGE = "must be a number between 0 and 0777 (octal), both inclusive"
HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
VOLUME_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid")
VOLUME_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
MIN_TOKEN_S = 600
MAX_TOKEN_S = 1 << 32


def validate_mode(mode: object, path: str) -> list[FieldError]:
    if mode is None or (isinstance(mode, int) and 0 <= mode <= 0o777):
        return []
    return [invalid_value(path, mode, MODE_MESSAGE)]


def validate_no_backsteps(text: str, path: str) -> list[FieldError]:
    return [invalid_value(path, text, "must not contain '..'")] if ".." in text.split("/") else []


def validate_local_path(text: str, path: str) -> list[FieldError]:
    """A path below some directory."""
    errors = [invalid_value(path, text, "must be a relative path")] if text.startswith("/") else []
    return errors + validate_no_backsteps(text, path)


def validate_file_path(text: str, path: str) -> list[FieldError]:
    """As a local path, and not a name that the volume writer keeps for itself."""
    errors = validate_local_path(text, path)
    if text.startswith("..") and not text.startswith("../"):
        errors.append(invalid_value(path, text, "must not start with '..'"))
    return errors


def _validate_items(source: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        if not item.get("key"):
            errors.append(required(f"{where}.key"))
        if not item.get("path"):
            errors.append(required(f"{where}.path"))
        else:
            errors += validate_file_path(item["path"], f"{where}.path")
        errors += validate_mode(item.get("mode"), f"{where}.mode")
    return errors


def validate_field_reference(reference: JsonObject, allowed: tuple[str, ...], path: str) -> list[FieldError]:
    """A fieldRef of the downward API: one of `allowed`, or one label or annotation by name."""
    if not reference.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    field = reference.get("fieldPath", "")
    if not field:
        return [required(f"{path}.fieldPath")]
    for prefix in ("metadata.annotations", "metadata.labels"):
        if field.startswith(f"{prefix}['") and field.endswith("']"):
            key = field[len(prefix) + 2 : -2]
            key = key.lower() if prefix.endswith("annotations") else key
            return [invalid_value(path, key, text) for text in names.check_qualified_name(key)]
    return [] if field in allowed else [not_supported(f"{path}.fieldPath", field, allowed)]


def validate_resource_reference(reference: JsonObject, path: str, *, in_volume: bool) -> list[FieldError]:
    if in_volume and not reference.get("containerName"):
        return [required(f"{path}.containerName")]
    name = reference.get("resource", "")
    if not name:
        return [required(f"{path}.resource")]
    huge = name.startswith(("requests.hugepages-", "limits.hugepages-"))
    if name not in VOLUME_RESOURCES and not huge:
        return [not_supported(f"{path}.resource", name, VOLUME_RESOURCES)]
    return _validate_divisor(name, reference.get("divisor", "0"), path)


def _validate_divisor(name: str, divisor: object, path: str) -> list[FieldError]:
    try:
        text = quantity.canonical(divisor)
    except quantity.QuantityError as error:
        return [invalid_value(f"{path}.divisor", divisor, str(error))]
    if text == "0":
        return []
    if name.endswith(".cpu"):
        allowed, what = ["1m", "1"], "cpu"
        shown = "1m and 1"
    else:
        allowed = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"]
        what, shown = "memory", ", ".join(allowed)
        if "ephemeral-storage" in name:
            what = "local ephemeral storage"
        elif "hugepages" in name:
            what = "hugepages"
    if text in allowed:
        return []
    detail = f"only divisor's values {shown} are supported with the {what} resource"
    return [invalid_value(f"{path}.divisor", name, detail)]


def _validate_downward(source: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        if not item.get("path"):
            errors.append(required(f"{where}.path"))
        else:
            errors += validate_file_path(item["path"], f"{where}.path")
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None:
            allowed = (*VOLUME_FIELDS, "metadata.annotations", "metadata.labels")
            errors += validate_field_reference(field, tuple(sorted(allowed)), f"{where}.fieldRef")
            if resource is not None:
                detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
                errors.append(invalid_value(where, "resource", detail))
        elif resource is not None:
            errors += validate_resource_reference(resource, f"{where}.resourceFieldRef", in_volume=True)
        else:
            errors.append(required(where, "one of fieldRef and resourceFieldRef is required"))
        errors += validate_mode(item.get("mode"), f"{where}.mode")
    return errors


def _validate_token(source: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    lifetime = source.get("expirationSeconds", 3600)
    if lifetime < MIN_TOKEN_S:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(invalid_value(f"{path}.expirationSeconds", lifetime, detail))
    elif lifetime > MAX_TOKEN_S:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid_value(f"{path}.expirationSeconds", lifetime, detail))
    if not source.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        errors += validate_file_path(source["path"], f"{path}.path")
    return errors


def _validate_projected(source: JsonObject, path: str) -> list[FieldError]:
    errors = validate_mode(source.get("defaultMode"), f"{path}.defaultMode")
    for index, item in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        found = [name for name, value in item.items() if isinstance(value, dict)]
        if len(found) > 1:
            errors.append(forbidden_field(where, "may not specify more than 1 volume type"))
        for name in found[:1]:
            part = item[name]
            if name in ("secret", "configMap"):
                if not part.get("name"):
                    errors.append(required(f"{where}.{name}.name"))
                errors += _validate_items(part, f"{where}.{name}")
            elif name == "downwardAPI":
                errors += _validate_downward(part, f"{where}.{name}")
            elif name == "serviceAccountToken":
                errors += _validate_token(part, f"{where}.{name}")
    return errors


def validate_host_path(source: JsonObject, path: str) -> list[FieldError]:
    text = source.get("path", "")
    errors = [] if text else [required(f"{path}.path")]
    errors += validate_no_backsteps(text, f"{path}.path")
    kind = source.get("type")
    if kind is not None and kind not in HOST_PATH_TYPES:
        errors.append(not_supported(f"{path}.type", kind, HOST_PATH_TYPES))
    return errors


def _validate_empty_dir(source: JsonObject, path: str) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is None:
        return []
    try:
        negative = quantity.parse(limit).nano < 0
    except quantity.QuantityError as error:
        return [invalid_value(f"{path}.sizeLimit", limit, str(error))]
    return (
        [forbidden_field(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
        if negative
        else []
    )


def _validate_ephemeral(source: JsonObject, path: str) -> list[FieldError]:
    template, path = source.get("volumeClaimTemplate"), f"{path}.volumeClaimTemplate"
    if not isinstance(template, dict):
        return [required(path)]
    data = template.get("metadata") or {}
    errors = validate_labels(data.get("labels"), f"{path}.metadata.labels")
    errors += validate_annotations(data.get("annotations"), f"{path}.metadata.annotations")
    errors += [
        forbidden_field(f"{path}.metadata.{field}", "cannot be set")
        for field, value in sorted(data.items())
        if field not in ("annotations", "labels") and value
    ]
    return errors + validate_claim_spec(template.get("spec") or {}, f"{path}.spec")


def _validate_source(volume: JsonObject, path: str) -> list[FieldError]:
    found = [name for name, value in volume.items() if name != "name" and isinstance(value, dict)]
    if not found:
        return [required(path, "must specify a volume type")]
    errors = [forbidden_field(f"{path}.{name}", "may not specify more than 1 volume type") for name in found[1:]]
    name = found[0]
    source, where = volume[name], f"{path}.{name}"
    match name:
        case "hostPath":
            errors += validate_host_path(source, where)
        case "emptyDir":
            errors += _validate_empty_dir(source, where)
        case "secret" | "configMap":
            field = "secretName" if name == "secret" else "name"
            if not source.get(field):
                errors.append(required(f"{where}.{field}"))
            errors += validate_mode(source.get("defaultMode"), f"{where}.defaultMode") + _validate_items(
                source, where
            )
        case "downwardAPI":
            errors += validate_mode(source.get("defaultMode"), f"{where}.defaultMode")
            errors += _validate_downward(source, where)
        case "projected":
            errors += _validate_projected(source, where)
        case "persistentVolumeClaim":
            if not source.get("claimName"):
                errors.append(required(f"{where}.claimName"))
        case "ephemeral":
            errors += _validate_ephemeral(source, where)
        case _:
            pass  # kept as written; the node agent says by name what it cannot mount
    return errors


def validate_volumes(volumes: list[JsonObject], path: str) -> tuple[Mapping[str, JsonObject], list[FieldError]]:
    """The good volumes by name, and what is wrong with the others."""
    errors: list[FieldError] = []
    good: dict[str, JsonObject] = {}
    for index, volume in enumerate(volumes):
        where, name = f"{path}[{index}]", volume.get("name", "")
        own = _validate_source(volume, where)
        if not name:
            own.append(required(f"{where}.name"))
        else:
            own += [invalid_value(f"{where}.name", name, text) for text in names.check_label(name)]
        if name in good:
            own.append(duplicate(f"{where}.name", name))
        if own:
            errors += own
        else:
            good[name] = volume
    return good, errors
