"""Binding: the scheduler's word that a pod goes to a node; carried out on the pod, never stored."""

from __future__ import annotations

from argosy.kinds.kind import Kind
from argosy.objects.status import FieldError, invalid_value, not_supported, required
from argosy.objects.types import JsonObject


def validate(obj: JsonObject) -> list[FieldError]:
    target = obj.get("target") or {}
    errors: list[FieldError] = []
    if target.get("kind", "") not in ("", "Node"):
        errors.append(not_supported("target.kind", target.get("kind"), ["Node", "<empty>"]))
    if not target.get("name"):
        errors.append(required("target.name"))
    if target.get("namespace"):
        errors.append(invalid_value("target.namespace", target["namespace"], "must be empty"))
    return errors


BINDING = Kind(
    group="",
    version="v1",
    kind="Binding",
    plural="bindings",
    singular="binding",
    namespaced=True,
    verbs=("create",),
    virtual=True,
    validate=validate,
)
