"""HorizontalPodAutoscaler: defaults, rules, columns, and that its two versions are views of one object."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.kinds.horizontal_pod_autoscaler import HORIZONTAL_POD_AUTOSCALER as KIND
from argosy.objects import meta
from argosy.objects.types import JsonObject

REFERENCE = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
(V1,) = KIND.versions


def hpa(**spec: Any) -> JsonObject:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"scaleTargetRef": REFERENCE, "maxReplicas": 3, **spec},
    }


def made(**spec: Any) -> JsonObject:
    obj = meta.copy_object(hpa(**spec))
    KIND.default(obj)
    return obj


def failures(**spec: Any) -> list[str]:
    return [str(error) for error in KIND.validate(hpa(**spec))]


def metric(kind: str, **source: Any) -> JsonObject:
    return {"type": kind, kind[0].lower() + kind[1:]: source}


CPU = metric("Resource", name="cpu", target={"type": "Utilization", "averageUtilization": 60})
MEMORY = metric("Resource", name="memory", target={"type": "AverageValue", "averageValue": "100Mi"})
QUEUE = metric(
    "External",
    metric={"name": "queue", "selector": {"matchLabels": {"q": "a"}}},
    target={"type": "Value", "value": "30"},
)
HITS = metric("Pods", metric={"name": "hits"}, target={"type": "AverageValue", "averageValue": "1k"})
REQUESTS = metric(
    "Object",
    describedObject={"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main"},
    metric={"name": "requests"},
    target={"type": "AverageValue", "averageValue": "10"},
)
SIDECAR = metric(
    "ContainerResource", name="cpu", container="c", target={"type": "Utilization", "averageUtilization": 1}
)


def test_defaults() -> None:
    spec = made()["spec"]
    assert spec["minReplicas"] == 1
    assert spec["metrics"] == [
        metric("Resource", name="cpu", target={"type": "Utilization", "averageUtilization": 80})
    ]
    assert "behavior" not in spec
    behavior = made(behavior={"scaleDown": {"stabilizationWindowSeconds": 60}})["spec"]["behavior"]
    assert behavior["scaleUp"] == {
        "selectPolicy": "Max",
        "stabilizationWindowSeconds": 0,
        "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15},
        ],
    }  # fmt: skip
    assert behavior["scaleDown"] == {
        "selectPolicy": "Max",
        "stabilizationWindowSeconds": 60,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }


@pytest.mark.parametrize(
    ("spec", "failure"),
    [
        ({"minReplicas": 0}, "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"),
        ({"maxReplicas": 0}, "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
        (
            {"minReplicas": 4},
            "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
        ),
        ({"scaleTargetRef": {"kind": "Deployment"}}, "spec.scaleTargetRef.name: Required value"),
        ({"metrics": [{}]}, "spec.metrics[0].type: Required value: must specify a metric source type"),
        (
            {"metrics": [{"type": "Odd"}]},
            'spec.metrics[0].type: Unsupported value: "Odd": supported values: '
            '"ContainerResource", "External", "Object", "Pods", "Resource"',
        ),
        (
            {"metrics": [{**CPU, "pods": HITS["pods"]}]},
            "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
        ),
        (
            {"metrics": [metric("Resource", name="cpu", target={"type": "Utilization"})]},
            "spec.metrics[0].resource.target.averageUtilization: Required value: "
            "must set either a target raw value or a target utilization",
        ),
        (
            {"metrics": [metric("Resource", name="cpu", target={"type": "AverageValue", "averageValue": "-1"})]},
            'spec.metrics[0].resource.target.averageValue: Invalid value: "-1": must be positive',
        ),
        (
            {"behavior": {"scaleUp": {"policies": []}}},
            "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
        ),
        (
            {"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}}},
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
        ),
    ],
)
def test_rules(spec: dict[str, Any], failure: str) -> None:
    assert failures(**spec)[0] == failure


def test_every_source_passes() -> None:
    assert failures(metrics=[CPU, MEMORY, QUEUE, HITS, REQUESTS, SIDECAR]) == []


def cell(obj: JsonObject, name: str) -> object:
    return next(column.value(obj, 0.0) for column in KIND.table if column.name == name)


def test_columns() -> None:
    obj = hpa(metrics=[CPU, MEMORY, QUEUE], minReplicas=1)
    assert cell(obj, "Reference") == "Deployment/web"
    assert cell(obj, "Targets") == "cpu: <unknown>/60%, memory: <unknown>/100Mi + 1 more..."
    current = metric("Resource", name="cpu", current={"averageUtilization": 7, "averageValue": "70m"})
    obj["status"] = {"currentMetrics": [current], "currentReplicas": 2}
    assert cell(obj, "Targets") == "cpu: 7%/60%, memory: <unknown>/100Mi + 1 more..."
    assert cell(hpa(metrics=[REQUESTS, QUEUE]), "Targets") == "<unknown>/10 (avg), <unknown>/30"
    assert (cell(obj, "MinPods"), cell(obj, "MaxPods"), cell(obj, "Replicas")) == ("1", 3, 2)


def test_the_older_version_shows_cpu_and_keeps_the_rest_in_annotations() -> None:
    obj = hpa(metrics=[CPU, QUEUE], behavior={"scaleUp": {"selectPolicy": "Min"}})
    obj["status"] = {
        "desiredReplicas": 2,
        "currentReplicas": 2,
        "currentMetrics": [metric("Resource", name="cpu", current={"averageUtilization": 7})],
        "conditions": [{"type": "AbleToScale", "status": "True"}],
    }
    old = V1.from_storage(obj)
    assert old["spec"]["targetCPUUtilizationPercentage"] == 60
    assert old["status"]["currentCPUUtilizationPercentage"] == 7
    assert sorted(key.partition("/")[2] for key in meta.annotations(old)) == [
        "behavior", "conditions", "current-metrics", "metrics",
    ]  # fmt: skip
    assert V1.to_storage(old) == obj


def test_what_cannot_be_read_in_annotations_is_dropped() -> None:
    old = {**hpa(targetCPUUtilizationPercentage=50), "apiVersion": "autoscaling/v1"}
    old["metadata"] = {**old["metadata"], "annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{", "a": "b"}}
    new = V1.to_storage(old)
    assert new["metadata"]["annotations"] == {"a": "b"}
    assert [item["resource"]["target"]["averageUtilization"] for item in new["spec"]["metrics"]] == [50]


@given(st.permutations([CPU, MEMORY, QUEUE, HITS, REQUESTS, SIDECAR]), st.integers(0, 6))
def test_both_versions_say_the_same(metrics: list[JsonObject], count: int) -> None:
    chosen = sorted(metrics[:count], key=lambda item: item is not CPU)  # v1 puts its own CPU target first
    obj = hpa(**({"metrics": chosen} if chosen else {}))
    assert V1.to_storage(V1.from_storage(obj)) == obj
