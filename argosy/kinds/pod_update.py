"""What may change of an existing pod (pkg/apis/core/validation, ValidatePodUpdate)."""

from __future__ import annotations

from argosy.objects.status import FieldError, forbidden_field
from argosy.objects.types import JsonObject

IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    if new.get("spec") != old.get("spec"):
        return [forbidden_field("spec", IMMUTABLE)]
    return []


def validate_status_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    return []
