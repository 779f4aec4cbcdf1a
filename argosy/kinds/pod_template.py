"""PodTemplate: a pod template on its own."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import Kind
from argosy.kinds.pod_default import default_template
from argosy.kinds.pod_validation import validate_template
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject


def default(obj: JsonObject) -> None:
    default_template(obj)


def validate(obj: JsonObject) -> list[FieldError]:
    return validate_template(obj.get("template") or {}, "template")


def _labels(obj: JsonObject) -> str:
    pairs = columns.at(obj, "template", "metadata", "labels")
    return columns.labels(pairs if isinstance(pairs, dict) else None)


POD_TEMPLATE = Kind(
    group="",
    version="v1",
    kind="PodTemplate",
    plural="podtemplates",
    singular="podtemplate",
    namespaced=True,
    default=default,
    validate=validate,
    columns=(
        columns.computed("Containers", lambda obj: columns.containers(columns.at(obj, "template", "spec"))),
        columns.computed("Images", lambda obj: columns.images(columns.at(obj, "template", "spec"))),
        columns.computed("Pod Labels", _labels, description="Labels of the pods made from it."),
    ),
    has_generation=True,
    delete_returns_object=True,
)
