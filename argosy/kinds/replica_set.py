"""ReplicaSet: keeps a number of equal pods."""

from __future__ import annotations

from argosy.kinds import columns, workload
from argosy.kinds.kind import (
    AGE_COLUMN,
    Kind,
    keep_status,
    scale_subresource,
    status_subresource,
)
from argosy.kinds.pod_default import default_template
from argosy.objects.status import FieldError, invalid_value
from argosy.objects.types import JsonObject


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    default_template(spec)


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = {"replicas": 0}


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    return workload.not_negative(spec, "replicas", "minReadySeconds") + workload.validate_selector_and_template(spec)


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    selector = (new.get("spec") or {}).get("selector")
    if selector != (old.get("spec") or {}).get("selector"):
        return [invalid_value("spec.selector", selector, "field is immutable")]
    return []


REPLICA_SET = Kind(
    group="apps",
    version="v1",
    kind="ReplicaSet",
    plural="replicasets",
    singular="replicaset",
    namespaced=True,
    short_names=("rs",),
    categories=("all",),
    subresources=(scale_subresource(), status_subresource("apps", "v1", "ReplicaSet")),
    default=default,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=workload.validate_status_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    columns=(
        columns.number("Desired", "spec", "replicas", description="How many pods there should be."),
        columns.number("Current", "status", "replicas", description="How many there are."),
        columns.number("Ready", "status", "readyReplicas", description="How many are ready."),
        AGE_COLUMN,
        *workload.TEMPLATE_COLUMNS,
    ),
    fields={"status.replicas": lambda obj: str(columns.number_at(obj, "status", "replicas"))},
    has_generation=True,
)
