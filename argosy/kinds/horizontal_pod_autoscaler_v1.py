"""autoscaling/v1, the older view of a HorizontalPodAutoscaler: one CPU target; all else is kept in annotations.

Source: pkg/apis/autoscaling/v1/conversion.go.
"""

from __future__ import annotations

import json

from argosy.kinds.kind import Version
from argosy.objects.types import JsonObject

_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS = _PREFIX + "metrics"
CURRENT_METRICS = _PREFIX + "current-metrics"
CONDITIONS = _PREFIX + "conditions"
BEHAVIOR = _PREFIX + "behavior"
_SOURCES = ("object", "pods", "resource", "containerResource", "external")

# Names of the target's and the current value's fields, by what v2 calls them.
_WANTED = {
    "value": "targetValue",
    "averageValue": "targetAverageValue",
    "averageUtilization": "targetAverageUtilization",
}
_CURRENT = {
    "value": "currentValue",
    "averageValue": "currentAverageValue",
    "averageUtilization": "currentAverageUtilization",
}


def from_storage(obj: JsonObject) -> JsonObject:
    """v2 to v1."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict((obj.get("metadata") or {}).get("annotations") or {})
    others = []
    for metric in spec.pop("metrics", None) or ():
        percent = _cpu_percent(metric, "target")
        if percent is not None and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = percent
        else:
            others.append(_old_form(metric, "target", _WANTED))
    _note(annotations, METRICS, others)
    _note(annotations, BEHAVIOR, spec.pop("behavior", None))
    current = []
    for metric in status.pop("currentMetrics", None) or ():
        percent = _cpu_percent(metric, "current")
        if percent is not None:
            status["currentCPUUtilizationPercentage"] = percent
        current.append(_old_form(metric, "current", _CURRENT))
    _note(annotations, CURRENT_METRICS, current)
    _note(annotations, CONDITIONS, status.pop("conditions", None))
    if "status" in obj:
        status.setdefault("currentReplicas", 0)
        status.setdefault("desiredReplicas", 0)
    return _with(obj, spec, status, annotations, "autoscaling/v1")


def to_storage(obj: JsonObject) -> JsonObject:
    """v1 to v2. Annotations that cannot be read are dropped, as upstream does."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict((obj.get("metadata") or {}).get("annotations") or {})
    metrics = [_new_form(metric, "target", _WANTED) for metric in _noted_list(annotations, METRICS)]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    behavior = _noted(annotations, BEHAVIOR)
    if isinstance(behavior, dict):
        spec["behavior"] = behavior
    current = [_new_form(metric, "current", _CURRENT) for metric in _noted_list(annotations, CURRENT_METRICS)]
    percent = status.pop("currentCPUUtilizationPercentage", None)
    if percent is not None and not any(_cpu_percent(metric, "current") is not None for metric in current):
        current.append({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}})
    if current:
        status["currentMetrics"] = current
    conditions = _noted_list(annotations, CONDITIONS)
    if conditions:
        status["conditions"] = conditions
    return _with(obj, spec, status, annotations, "autoscaling/v2")


def _with(obj: JsonObject, spec: JsonObject, status: JsonObject, annotations: JsonObject, version: str) -> JsonObject:
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    result = {**obj, "apiVersion": version, "metadata": metadata}
    if "spec" in obj:
        result["spec"] = spec
    if "status" in obj or status:
        result["status"] = status
    return result


def _cpu_percent(metric: JsonObject, field: str) -> int | None:
    resource = metric.get("resource")
    if not isinstance(resource, dict) or resource.get("name") != "cpu":
        return None
    percent = (resource.get(field) or {}).get("averageUtilization")
    return percent if isinstance(percent, int) else None


def _old_form(metric: JsonObject, field: str, names: dict[str, str]) -> JsonObject:
    result: JsonObject = {"type": metric.get("type")}
    for source in _SOURCES:
        given = metric.get(source)
        if not isinstance(given, dict):
            continue
        old = {key: value for key, value in given.items() if key not in (field, "metric", "describedObject")}
        values = given.get(field) or {}
        for new_name, old_name in names.items():
            if new_name in values:
                old["averageValue" if source == "object" and new_name == "averageValue" else old_name] = values[
                    new_name
                ]
        identifier = given.get("metric")
        if isinstance(identifier, dict):
            old["metricName"] = identifier.get("name")
            if "selector" in identifier:
                old["metricSelector" if source == "external" else "selector"] = identifier["selector"]
        if "describedObject" in given:
            old["target"] = given["describedObject"]
        result[source] = old
    return result


def _new_form(metric: JsonObject, field: str, names: dict[str, str]) -> JsonObject:
    result: JsonObject = {"type": metric.get("type")}
    for source in _SOURCES:
        old = metric.get(source)
        if not isinstance(old, dict):
            continue
        values = {new: old[name] for new, name in names.items() if name in old}
        if source == "object" and "averageValue" in old:
            values["averageValue"] = old["averageValue"]
        if field == "target":
            kinds = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}
            values["type"] = next((kind for name, kind in kinds.items() if name in values), "")
        new: JsonObject = {key: old[key] for key in ("name", "container") if key in old}
        new[field] = values
        if "metricName" in old:
            new["metric"] = {"name": old["metricName"]}
            selector = old.get("metricSelector" if source == "external" else "selector")
            if selector is not None:
                new["metric"]["selector"] = selector
        if source == "object" and "target" in old:
            new["describedObject"] = old["target"]
        result[source] = new
    return result


def _note(annotations: JsonObject, key: str, value: object) -> None:
    annotations.pop(key, None)
    if value:
        annotations[key] = json.dumps(value, separators=(",", ":"))


def _noted(annotations: JsonObject, key: str) -> object:
    text = annotations.pop(key, None)
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _noted_list(annotations: JsonObject, key: str) -> list[JsonObject]:
    found = _noted(annotations, key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


V1 = Version("v1", to_storage, from_storage)
