"""Namespace: a room for names. It goes only when its content has gone (finalizer `kubernetes`)."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind, Subresource, status_subresource
from argosy.objects import names
from argosy.objects.status import FieldError, invalid_value
from argosy.objects.types import JsonObject

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"


def default(obj: JsonObject) -> None:
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and metadata.get("name"):
        labels = metadata.get("labels")
        if not isinstance(labels, dict) or labels.get(NAME_LABEL) != metadata["name"]:
            metadata["labels"] = {**(labels if isinstance(labels, dict) else {}), NAME_LABEL: metadata["name"]}
    status = obj.setdefault("status", {})
    if isinstance(status, dict) and not status.get("phase"):
        status["phase"] = "Active"


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = {"phase": "Active"}
    spec = obj.get("spec") or {}
    finalizers = list(spec.get("finalizers") or ())
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    obj["spec"] = {**spec, "finalizers": finalizers}


def prepare_update(new: JsonObject, old: JsonObject) -> None:
    """Finalizers change through /finalize only, the phase through /status only."""
    new["spec"] = {**(new.get("spec") or {})}
    old_finalizers = (old.get("spec") or {}).get("finalizers")
    if old_finalizers is None:
        new["spec"].pop("finalizers", None)
    else:
        new["spec"]["finalizers"] = old_finalizers
    new["status"] = old.get("status", {"phase": "Active"})


def validate(obj: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, name in enumerate((obj.get("spec") or {}).get("finalizers") or ()):
        path = f"spec.finalizers[{index}]"
        errors += [invalid_value(path, name, text) for text in names.check_qualified_name(name)]
        if "/" not in name and name != FINALIZER:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid_value(path, name, detail))
    return errors


def validate_status_update(new: JsonObject, _old: JsonObject) -> list[FieldError]:
    deleting = bool((new.get("metadata") or {}).get("deletionTimestamp"))
    phase = (new.get("status") or {}).get("phase", "")
    if not deleting and phase != "Active":
        return [invalid_value("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")]
    if deleting and phase != "Terminating":
        return [invalid_value("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")]
    return []


def _name_complaint(name: str) -> str:
    return next(iter(names.check_label(name)), "")


NAMESPACE = Kind(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    singular="namespace",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(
        Subresource("finalize", "Namespace", "", "v1", ("update",)),
        status_subresource("", "v1", "Namespace"),
    ),
    default=default,
    validate=validate,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    columns=(
        columns.text("Status", "status", "phase", description="Active, or Terminating while it empties."),
        AGE_COLUMN,
    ),
    fields={
        "status.phase": lambda obj: columns.text_at(obj, "status", "phase"),
        "name": lambda obj: columns.text_at(obj, "metadata", "name"),
    },
    name_validator=_name_complaint,
)
