"""Deployment: equal pods, replaced step by step when their template changes."""

from __future__ import annotations

from argosy.kinds import columns, workload
from argosy.kinds.kind import AGE_COLUMN, Kind, keep_status, scale_subresource, status_subresource
from argosy.kinds.pod_default import default_template
from argosy.objects import intstr
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

HISTORY_LIMIT = 10
PROGRESS_DEADLINE_S = 600
STEP = "25%"


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    for field, value in (
        ("replicas", 1),
        ("revisionHistoryLimit", HISTORY_LIMIT),
        ("progressDeadlineSeconds", PROGRESS_DEADLINE_S),
    ):
        if spec.get(field) is None:
            spec[field] = value
    strategy = spec.get("strategy")
    if not isinstance(strategy, dict):
        strategy = spec["strategy"] = {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.get("rollingUpdate")
        if not isinstance(rolling, dict):
            rolling = strategy["rollingUpdate"] = {}
        for field in ("maxUnavailable", "maxSurge"):
            if rolling.get(field) is None:
                rolling[field] = STEP
    default_template(spec)


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = {}


def _validate_strategy(strategy: JsonObject) -> list[FieldError]:
    kind, rolling, path = strategy.get("type"), strategy.get("rollingUpdate"), "spec.strategy.rollingUpdate"
    if kind == "Recreate":
        if rolling is not None:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            return [forbidden_field(path, detail)]
        return []
    if kind != "RollingUpdate":
        return [not_supported("spec.strategy.type", kind, ["Recreate", "RollingUpdate"])]
    if rolling is None:
        return [required(path, "this should be defaulted and never be nil")]
    surge, away = rolling.get("maxSurge"), rolling.get("maxUnavailable")
    errors = workload.validate_step(away, f"{path}.maxUnavailable")
    errors += workload.validate_step(surge, f"{path}.maxSurge")
    if errors:
        return errors
    if (intstr.percent(away) or 0) > 100:
        errors.append(invalid_value(f"{path}.maxUnavailable", away, "must not be greater than 100%"))
    if away in (0, "0%") and surge in (0, "0%"):
        detail = "may not be 0 when `maxSurge` is 0"
        errors.append(invalid_value(f"{path}.maxUnavailable", away, detail))
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors = workload.not_negative(
        spec, "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"
    )
    errors += workload.validate_selector_and_template(spec)
    errors += _validate_strategy(spec.get("strategy") or {})
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds", 0)
    if isinstance(deadline, int) and isinstance(ready, int) and 0 <= deadline <= ready:
        errors.append(invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    selector = (new.get("spec") or {}).get("selector")
    if selector != (old.get("spec") or {}).get("selector"):
        return [invalid_value("spec.selector", selector, "field is immutable")]
    return []


def _ready(obj: JsonObject) -> str:
    return f"{columns.number_at(obj, 'status', 'readyReplicas')}/{columns.number_at(obj, 'spec', 'replicas')}"


DEPLOYMENT = Kind(
    group="apps",
    version="v1",
    kind="Deployment",
    plural="deployments",
    singular="deployment",
    namespaced=True,
    short_names=("deploy",),
    categories=("all",),
    subresources=(scale_subresource(), status_subresource("apps", "v1", "Deployment")),
    default=default,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=workload.validate_status_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    columns=(
        columns.computed("Ready", _ready, description="Ready pods, of those wanted."),
        columns.computed("Up-to-date", lambda obj: columns.number_at(obj, "status", "updatedReplicas")),
        columns.computed("Available", lambda obj: columns.number_at(obj, "status", "availableReplicas")),
        AGE_COLUMN,
        *workload.TEMPLATE_COLUMNS,
    ),
    has_generation=True,
    generation_counts_annotations=True,
    status_keeps_metadata=("labels",),
)
