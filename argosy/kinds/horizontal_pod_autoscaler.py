"""HorizontalPodAutoscaler: keeps a workload at the number of pods that its metrics ask for.

Stored as autoscaling/v2; autoscaling/v1 is another view of it. Rules: pkg/apis/autoscaling/validation.
"""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.horizontal_pod_autoscaler_v1 import V1
from argosy.kinds.kind import AGE_COLUMN, Kind, drop_status, keep_status, status_subresource
from argosy.objects import names, quantity
from argosy.objects.status import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)
from argosy.objects.types import JsonObject

DEFAULT_CPU_PERCENT = 80
MAX_STABILIZATION_S = 3600
MAX_PERIOD_S = 1800
SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
SHOWN_METRICS = 2
_POSITIVE = "must be positive"


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": DEFAULT_CPU_PERCENT}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if isinstance(behavior, dict):
        percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
        up = {
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent],
        }
        behavior["scaleUp"] = _rules(behavior.get("scaleUp"), up)
        behavior["scaleDown"] = _rules(behavior.get("scaleDown"), {"policies": [percent]})


def _rules(given: JsonObject | None, defaults: JsonObject) -> JsonObject:
    given = given if isinstance(given, dict) else {}
    return {"selectPolicy": "Max", **defaults, **{key: value for key, value in given.items() if value is not None}}


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    errors: list[FieldError] = []
    if least is not None and least < 1:
        errors.append(invalid_value("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid_value("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        errors.append(invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    errors += _reference("spec.scaleTargetRef", spec.get("scaleTargetRef") or {})
    for index, metric in enumerate(spec.get("metrics") or ()):
        errors += _metric(f"spec.metrics[{index}]", metric)
    for name, rules in (spec.get("behavior") or {}).items():
        if isinstance(rules, dict):
            errors += _scaling_rules(f"spec.behavior.{name}", rules)
    return errors


def _reference(path: str, reference: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("kind", "name"):
        text = reference.get(field) or ""
        if not text:
            errors.append(required(f"{path}.{field}"))
        else:
            errors += [invalid_value(f"{path}.{field}", text, detail) for detail in names.check_path_segment(text)]
    return errors


def _metric(path: str, metric: JsonObject) -> list[FieldError]:
    kind = metric.get("type") or ""
    if not kind:
        return [required(f"{path}.type", "must specify a metric source type")]
    if kind not in SOURCES:
        return [not_supported(f"{path}.type", kind, sorted(SOURCES))]
    field = SOURCES[kind]
    errors = [
        forbidden_field(f"{path}.{other}", "must populate the given metric source only")
        for other in SOURCES.values()
        if other != field and metric.get(other) is not None
    ]
    source = metric.get(field)
    if source is None:
        return [*errors, required(f"{path}.{field}", "must populate information for the given metric source")]
    path = f"{path}.{field}"
    if kind in ("Resource", "ContainerResource"):
        if not source.get("name"):
            errors.append(required(f"{path}.name", "must specify a resource name"))
        if kind == "ContainerResource" and not source.get("container"):
            errors.append(required(f"{path}.container", "must specify a container"))
    else:
        name = (source.get("metric") or {}).get("name") or ""
        if not name:
            errors.append(required(f"{path}.metric.name", "must specify a metric name"))
        else:
            errors += [invalid_value(f"{path}.metric.name", name, text) for text in names.check_path_segment(name)]
    if kind == "Object":
        errors += _reference(f"{path}.describedObject", source.get("describedObject") or {})
    target = source.get("target") or {}
    return errors + _target(f"{path}.target", target) + _wanted(f"{path}.target", kind, target)


def _target(path: str, target: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    kind = target.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    elif kind not in ("Utilization", "Value", "AverageValue"):
        errors.append(invalid_value(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    errors += [
        invalid_value(f"{path}.{field}", target[field], _POSITIVE)
        for field in ("value", "averageValue")
        if target.get(field) is not None and quantity.milli(target[field]) <= 0
    ]
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        errors.append(invalid_value(f"{path}.averageUtilization", percent, "must be greater than 0"))
    return errors


def _wanted(path: str, kind: str, target: JsonObject) -> list[FieldError]:
    """Which of value, averageValue and averageUtilization a source must have."""
    value, average = target.get("value") is not None, target.get("averageValue") is not None
    percent = target.get("averageUtilization") is not None
    if kind in ("Resource", "ContainerResource"):
        if not percent and not average:
            return [
                required(f"{path}.averageUtilization", "must set either a target raw value or a target utilization")
            ]
        if percent and average:
            return [
                forbidden_field(
                    f"{path}.averageValue", "may not set both a target raw value and a target utilization"
                )
            ]
        return []
    if kind == "Pods":
        return [] if average else [required(f"{path}.averageValue", "must specify a positive target averageValue")]
    per_pod = (
        "a target value for metric or a per-pod target" if kind == "External" else "a target value or averageValue"
    )
    if not value and not average:
        return [required(f"{path}.averageValue", f"must set either {per_pod}")]
    if value and average:
        return [forbidden_field(f"{path}.value", f"may not set both {per_pod.replace(' or ', ' and ')}")]
    return []


def _scaling_rules(path: str, rules: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        detail = "must be greater than or equal to zero"
        errors.append(invalid_value(f"{path}.stabilizationWindowSeconds", window, detail))
    if window is not None and window > MAX_STABILIZATION_S:
        detail = f"must be less than or equal to {MAX_STABILIZATION_S}"
        errors.append(invalid_value(f"{path}.stabilizationWindowSeconds", window, detail))
    select = rules.get("selectPolicy")
    if select is not None and select not in ("Max", "Min", "Disabled"):
        errors.append(not_supported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min")))
    tolerance = rules.get("tolerance")
    if tolerance is not None and quantity.milli(tolerance) < 0:
        errors.append(invalid_value(f"{path}.tolerance", tolerance, "must be greater or equal to zero"))
    policies = rules.get("policies") or []
    if not policies:
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(policies):
        here = f"{path}.policies[{index}]"
        if policy.get("type") not in ("Pods", "Percent"):
            errors.append(not_supported(f"{here}.type", policy.get("type"), ("Percent", "Pods")))
        for field in ("value", "periodSeconds"):
            if policy.get(field, 0) <= 0:
                errors.append(invalid_value(f"{here}.{field}", policy.get(field, 0), "must be greater than zero"))
        if policy.get("periodSeconds", 0) > MAX_PERIOD_S:
            detail = f"must be less than or equal to {MAX_PERIOD_S}"
            errors.append(invalid_value(f"{here}.periodSeconds", policy["periodSeconds"], detail))
    return errors


def _target_column(obj: JsonObject) -> str:
    """`cpu: 12%/80%, 3/10 (avg) + 1 more...` (pkg/printers/internalversion, formatHPAMetrics)."""
    metrics = columns.items_at(obj, "spec", "metrics")
    if not metrics:
        return columns.NONE
    statuses = columns.items_at(obj, "status", "currentMetrics")
    shown = [
        _one_target(metric, statuses[index] if index < len(statuses) else {})
        for index, metric in enumerate(metrics[:SHOWN_METRICS])
    ]
    text = ", ".join(shown)
    return f"{text} + {len(metrics) - SHOWN_METRICS} more..." if len(metrics) > SHOWN_METRICS else text


def _one_target(metric: JsonObject, status: JsonObject) -> str:
    kind = metric.get("type", "")
    field = SOURCES.get(kind, "")
    source = metric.get(field) or {}
    target = source.get("target") or {}
    current = (status.get(field) or {}).get("current") or {}
    name = f"{source.get('name', '')}: " if kind in ("Resource", "ContainerResource") else ""
    if target.get("averageValue") is not None:
        average = " (avg)" if kind in ("Object", "External") else ""
        return f"{name}{current.get('averageValue', columns.UNKNOWN)}/{target['averageValue']}{average}"
    if target.get("averageUtilization") is not None:
        now = current.get("averageUtilization")
        return f"{name}{columns.UNKNOWN if now is None else f'{now}%'}/{target['averageUtilization']}%"
    return f"{name}{current.get('value', columns.UNKNOWN)}/{target.get('value', columns.UNKNOWN)}"


def _reference_column(obj: JsonObject) -> str:
    reference = columns.at(obj, "spec", "scaleTargetRef")
    return f"{columns.text_at(reference, 'kind')}/{columns.text_at(reference, 'name')}"


def _least(obj: JsonObject) -> str:
    value = columns.at(obj, "spec", "minReplicas")
    return columns.UNSET if value is None else str(value)


HORIZONTAL_POD_AUTOSCALER = Kind(
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    namespaced=True,
    short_names=("hpa",),
    categories=("all",),
    subresources=(status_subresource("autoscaling", "v2", "HorizontalPodAutoscaler"),),
    versions=(V1,),
    default=default,
    validate=validate,
    prepare_create=drop_status,
    prepare_update=keep_status,
    columns=(
        columns.computed("Reference", _reference_column, description="What is scaled."),
        columns.computed("Targets", _target_column, description="Present and wanted value of each metric."),
        columns.computed("MinPods", _least, description="Never fewer pods."),
        columns.number("MaxPods", "spec", "maxReplicas", description="Never more pods."),
        columns.number("Replicas", "status", "currentReplicas", description="Pods as last seen."),
        AGE_COLUMN,
    ),
)
