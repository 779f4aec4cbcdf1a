"""ReplicationController: keeps a number of equal pods, as ReplicaSet does, with a plain map as selector."""

from __future__ import annotations

from argosy.kinds import columns, workload
from argosy.kinds.kind import AGE_COLUMN, Kind, keep_status, scale_subresource, status_subresource
from argosy.kinds.pod_default import default_template
from argosy.objects import meta
from argosy.objects.status import FieldError, invalid_value, required
from argosy.objects.types import JsonObject


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    labels = meta.labels(spec.get("template") or {})
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not meta.labels(obj):
            obj.setdefault("metadata", {})["labels"] = dict(labels)
    if spec.get("template") is not None:
        default_template(spec)


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = {"replicas": 0}


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors = workload.not_negative(spec, "minReadySeconds", "replicas")
    selector, template = spec.get("selector"), spec.get("template")
    if not selector:
        errors.append(required("spec.selector"))
    if template is None:
        return [*errors, required("spec.template")]
    labels = meta.labels(template)
    if selector and any(labels.get(key) != value for key, value in selector.items()):
        detail = "`selector` does not match template `labels`"
        errors.append(invalid_value("spec.template.metadata.labels", labels, detail))
    return errors + workload.validate_pods(template, "ReplicationController")


REPLICATION_CONTROLLER = Kind(
    group="",
    version="v1",
    kind="ReplicationController",
    plural="replicationcontrollers",
    singular="replicationcontroller",
    namespaced=True,
    short_names=("rc",),
    categories=("all",),
    subresources=(scale_subresource(), status_subresource("", "v1", "ReplicationController")),
    default=default,
    validate=validate,
    validate_status_update=workload.validate_status_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    columns=(
        columns.number("Desired", "spec", "replicas", description="How many pods there should be."),
        columns.number("Current", "status", "replicas", description="How many there are."),
        columns.number("Ready", "status", "readyReplicas", description="How many are ready."),
        AGE_COLUMN,
        *workload.TEMPLATE_COLUMNS[:2],
        columns.computed(
            "Selector",
            lambda obj: columns.labels(meta.spec(obj).get("selector")),
            priority=1,
            description="Labels of its pods.",
        ),
    ),
    fields={"status.replicas": lambda obj: str(columns.number_at(obj, "status", "replicas"))},
    has_generation=True,
)
