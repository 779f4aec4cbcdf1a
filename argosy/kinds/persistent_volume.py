"""PersistentVolume: storage that outlives pods; claims are bound to it, one to one."""

from __future__ import annotations

import posixpath

from argosy.kinds import columns, resources, storage_validation
from argosy.kinds.affinity_validation import validate_node_selector
from argosy.kinds.kind import AGE_COLUMN, Kind, keep_status, status_subresource
from argosy.kinds.volume_validation import validate_host_path, validate_no_backsteps
from argosy.objects import meta, storage
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    if isinstance(spec.get("hostPath"), dict):
        spec["hostPath"].setdefault("type", "")
    if isinstance(spec.get("iscsi"), dict):
        spec["iscsi"].setdefault("iscsiInterface", "default")
    resources.canonicalise(spec.get("capacity"))


def prepare_create(obj: JsonObject) -> None:
    status: JsonObject = {"phase": "Pending"}
    created = meta.metadata(obj).get("creationTimestamp")
    if created:
        status["lastPhaseTransitionTime"] = created
    obj["status"] = status


def _validate_capacity(capacity: JsonObject) -> list[FieldError]:
    errors = [] if capacity else [required("spec.capacity")]
    if set(capacity) != {"storage"}:
        errors.append(not_supported("spec.capacity", capacity, ["storage"]))
    for name, size in sorted(capacity.items()):
        errors += storage_validation.validate_size(size, f"spec.capacity[{name}]")
    return errors


def _validate_affinity(affinity: JsonObject) -> list[FieldError]:
    needed = affinity.get("required")
    if not isinstance(needed, dict):
        return [required("spec.nodeAffinity.required", "must specify required node constraints")]
    return validate_node_selector(needed, "spec.nodeAffinity.required")


def _validate_source(spec: JsonObject) -> list[FieldError]:
    found = storage.source_names(spec)
    if not found:
        return [required("spec", "must specify a volume type")]
    errors = [forbidden_field(f"spec.{name}", "may not specify more than 1 volume type") for name in found[1:]]
    name = found[0]
    source, path = spec[name], f"spec.{name}"
    if name == "hostPath":
        errors += validate_host_path(source, path)
        root = posixpath.normpath(source.get("path") or ".") == "/"
        if root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            detail = "may not be 'recycle' for a hostPath mount of '/'"
            errors.append(forbidden_field("spec.persistentVolumeReclaimPolicy", detail))
    elif name == "local":
        text = source.get("path") or ""
        errors += validate_no_backsteps(text, f"{path}.path") if text else [required(f"{path}.path")]
        if not spec.get("nodeAffinity"):
            errors.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    elif name == "csi":
        errors += [required(f"{path}.{field}") for field in ("driver", "volumeHandle") if not source.get(field)]
    elif name == "nfs":
        errors += [required(f"{path}.{field}") for field in ("server", "path") if not source.get(field)]
        if source.get("path") and not source["path"].startswith("/"):
            errors.append(invalid_value(f"{path}.path", source["path"], "must be an absolute path"))
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors = storage_validation.validate_access_modes(spec.get("accessModes"), "spec.accessModes", needed="")
    errors += _validate_capacity(spec.get("capacity") or {})
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in storage.RECLAIM_POLICIES:
        errors.append(not_supported("spec.persistentVolumeReclaimPolicy", policy, storage.RECLAIM_POLICIES))
    if isinstance(spec.get("nodeAffinity"), dict):
        errors += _validate_affinity(spec["nodeAffinity"])
    errors += _validate_source(spec)
    errors += storage_validation.validate_class_name(spec.get("storageClassName"), "spec.storageClassName")
    errors += storage_validation.validate_volume_mode(spec.get("volumeMode"), "spec.volumeMode")
    attributes = spec.get("volumeAttributesClassName")
    if attributes is not None:
        path = "spec.volumeAttributesClassName"
        if attributes == "":
            errors.append(required(path, "an empty string is disallowed"))
        errors += storage_validation.validate_class_name(attributes, path)
        if not spec.get("csi"):
            errors.append(required("spec.csi", "has to be specified when using volumeAttributesClassName"))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    errors: list[FieldError] = []
    if _source(after) != _source(before):
        detail = "spec.persistentvolumesource is immutable after creation"
        errors.append(forbidden_field("spec.persistentvolumesource", detail))
    if after.get("volumeMode") != before.get("volumeMode"):
        errors.append(invalid_value("volumeMode", after.get("volumeMode"), "field is immutable"))
    if before.get("nodeAffinity") and after.get("nodeAffinity") != before["nodeAffinity"]:
        errors.append(invalid_value("nodeAffinity", after.get("nodeAffinity"), "field is immutable"))
    if before.get("volumeAttributesClassName") and after.get("volumeAttributesClassName") is None:
        detail = "update from non-nil value to nil is forbidden"
        errors.append(forbidden_field("spec.volumeAttributesClassName", detail))
    return errors


def _source(spec: JsonObject) -> JsonObject:
    """Where the data are; the secret for expanding may be added later."""
    found = {name: spec[name] for name in storage.source_names(spec)}
    if "csi" in found:
        found["csi"] = {key: value for key, value in found["csi"].items() if key != "controllerExpandSecretRef"}
    return found


def phase(obj: JsonObject) -> str:
    """As kubectl shows it: `Terminating` once it is being deleted."""
    return "Terminating" if meta.is_deleting(obj) else columns.text_at(obj, "status", "phase")


def _claim(obj: JsonObject) -> str:
    reference = columns.at(obj, "spec", "claimRef")
    if not isinstance(reference, dict):
        return ""
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}"


PERSISTENT_VOLUME = Kind(
    group="",
    version="v1",
    kind="PersistentVolume",
    plural="persistentvolumes",
    singular="persistentvolume",
    namespaced=False,
    short_names=("pv",),
    subresources=(status_subresource("", "v1", "PersistentVolume"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    fields={storage.NODE_FIELD: storage.local_node},
    columns=(
        columns.text("Capacity", "spec", "capacity", "storage", description="How much it holds."),
        columns.computed(
            "Access Modes",
            lambda obj: storage.short_modes(meta.spec(obj).get("accessModes")),
            description="How it can be mounted.",
        ),
        columns.text(
            "Reclaim Policy",
            "spec",
            "persistentVolumeReclaimPolicy",
            description="What becomes of it when its claim is gone.",
        ),
        columns.computed("Status", phase, description="Whether it is free, bound or released."),
        columns.computed("Claim", _claim, description="Whose it is."),
        columns.computed("StorageClass", storage.volume_class, description="The class that it belongs to."),
        columns.text(
            "VolumeAttributesClass",
            "spec",
            "volumeAttributesClassName",
            empty=columns.UNSET,
            description="The class of its changeable attributes.",
        ),
        columns.text("Reason", "status", "reason", description="Why it failed, in one word."),
        AGE_COLUMN,
        columns.text(
            "VolumeMode",
            "spec",
            "volumeMode",
            empty=columns.UNSET,
            priority=1,
            description="A file system or a bare device.",
        ),
    ),
)
