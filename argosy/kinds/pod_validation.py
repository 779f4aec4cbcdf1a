"""Rules for pods and pod templates (pkg/apis/core/validation)."""

from __future__ import annotations

from argosy.objects.status import FieldError, required
from argosy.objects.types import JsonObject


def validate(pod: JsonObject) -> list[FieldError]:
    spec = pod.get("spec") or {}
    return [] if spec.get("containers") else [required("spec.containers")]


def validate_template(template: JsonObject, path: str) -> list[FieldError]:
    spec = template.get("spec") or {}
    return [] if spec.get("containers") else [required(f"{path}.spec.containers")]
