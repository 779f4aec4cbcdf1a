"""DaemonSet: one pod on every node, or on every node of some kind."""

from __future__ import annotations

from argosy.kinds import columns, workload
from argosy.kinds.kind import AGE_COLUMN, Kind, keep_status, status_subresource
from argosy.kinds.pod_default import default_template
from argosy.objects import intstr, meta
from argosy.objects.status import FieldError, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

HISTORY_LIMIT = 10
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""The annotation that counts changes of the template (apps/v1 has no field for it)."""
STATUS_COUNTS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
)


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    strategy = spec.get("updateStrategy")
    if not isinstance(strategy, dict):
        strategy = spec["updateStrategy"] = {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.get("rollingUpdate")
        if not isinstance(rolling, dict):
            rolling = strategy["rollingUpdate"] = {}
        for field, value in (("maxUnavailable", 1), ("maxSurge", 0)):
            if rolling.get(field) is None:
                rolling[field] = value
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = HISTORY_LIMIT
    default_template(spec)


def template_generation(obj: JsonObject) -> int:
    """0 where the annotation is missing or no number."""
    text = meta.annotations(obj).get(TEMPLATE_GENERATION, "")
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0


def _set_template_generation(obj: JsonObject, number: int) -> None:
    metadata = obj.setdefault("metadata", {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(number)}


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = dict.fromkeys(
        ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"), 0
    )
    _set_template_generation(obj, max(1, template_generation(obj)))


def prepare_update(new: JsonObject, old: JsonObject) -> None:
    keep_status(new, old)
    changed = meta.spec(new).get("template") != meta.spec(old).get("template")
    number = template_generation(old) + changed
    if number or TEMPLATE_GENERATION in meta.annotations(new):
        _set_template_generation(new, number)


def _validate_strategy(strategy: JsonObject) -> list[FieldError]:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [not_supported(path, strategy, ["RollingUpdate", "OnDelete"])]
    path += ".rollingUpdate"
    if rolling is None:
        return [required(path)]
    away, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    errors = workload.validate_step(away, f"{path}.maxUnavailable", most_percent=100)
    errors += workload.validate_step(surge, f"{path}.maxSurge", most_percent=100)
    has_away, has_surge = (value not in (0, None) and intstr.percent(value) != 0 for value in (away, surge))
    if has_away and has_surge:
        errors.append(invalid_value(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    elif not has_away and not has_surge:
        errors.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors = workload.validate_selector_and_template(spec, "daemonset", "DaemonSet")
    errors += workload.not_negative(spec, "minReadySeconds")
    errors += _validate_strategy(spec.get("updateStrategy") or {})
    return errors + workload.not_negative(spec, "revisionHistoryLimit")


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    selector = (new.get("spec") or {}).get("selector")
    if selector != (old.get("spec") or {}).get("selector"):
        return [invalid_value("spec.selector", selector, "field is immutable")]
    return []


def validate_status_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    status = new.get("status") or {}
    errors = [
        invalid_value(f"status.{field}", status[field], workload.NOT_NEGATIVE)
        for field in STATUS_COUNTS
        if (status.get(field) or 0) < 0
    ]
    return errors + workload.collisions_decremented(new, old)


def _node_selector(obj: JsonObject) -> str:
    return columns.labels(((meta.spec(obj).get("template") or {}).get("spec") or {}).get("nodeSelector"))


DAEMON_SET = Kind(
    group="apps",
    version="v1",
    kind="DaemonSet",
    plural="daemonsets",
    singular="daemonset",
    namespaced=True,
    short_names=("ds",),
    categories=("all",),
    subresources=(status_subresource("apps", "v1", "DaemonSet"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    columns=(
        columns.number("Desired", "status", "desiredNumberScheduled", description="Nodes that should run a pod."),
        columns.number("Current", "status", "currentNumberScheduled", description="Those of them that have one."),
        columns.number("Ready", "status", "numberReady", description="Those whose pod is ready."),
        columns.number(
            "Up-to-date", "status", "updatedNumberScheduled", description="Those with the present template."
        ),
        columns.number("Available", "status", "numberAvailable", description="Those whose pod counts as available."),
        columns.computed("Node Selector", _node_selector, description="Labels of the nodes that should run a pod."),
        AGE_COLUMN,
        *workload.TEMPLATE_COLUMNS,
    ),
    has_generation=True,
)
