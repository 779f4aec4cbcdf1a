"""What the autoscaler makes of the metrics APIs' answers: of one container's, of pods', of those that are no good."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from argosy.client import Client
from argosy.host import Clock, rfc3339
from argosy.objects.types import JsonObject
from control_plane.autoscaler.pods.replicas import CalculationError, Sample
from control_plane.autoscaler.pods.sources import ApiMetrics

NOW_S = 1_800_000_000.0
FRESH, OLD = rfc3339(NOW_S - 10), rfc3339(NOW_S - 400)


class Answers:
    """A client whose every answer has the same items; notes what it is asked."""

    def __init__(self, *items: JsonObject) -> None:
        self.items = list(items)
        self.asked: list[str] = []

    def resource(self, group: str, version: str, plural: str) -> Answers:
        self.asked.append(f"{group}/{version}/{plural}")
        return self

    async def list(self, *, namespace: str, labels: str) -> Any:
        self.asked.append(f"{namespace} {labels}")
        return SimpleNamespace(items=self.items)

    async def get_raw(self, path: str) -> JsonObject:
        self.asked.append(path)
        return {"items": self.items}


def metrics(*items: JsonObject) -> tuple[ApiMetrics, Answers]:
    answers = Answers(*items)
    clock = cast(Clock, SimpleNamespace(now=lambda: NOW_S))
    return ApiMetrics(cast(Client, answers), clock, max_age_s=300.0), answers


def measured(name: str, timestamp: str = FRESH, window: str = "15s", **cpu: str) -> JsonObject:
    """A PodMetrics; `cpu` is by container."""
    containers = [{"name": container, "usage": {"cpu": used}} for container, used in cpu.items()]
    return {"metadata": {"name": name}, "timestamp": timestamp, "window": window, "containers": containers}


def value(name: str, number: str, timestamp: str = FRESH, **more: Any) -> JsonObject:
    """A MetricValue of a pod."""
    return {"describedObject": {"kind": "Pod", "name": name}, "value": number, "timestamp": timestamp, **more}


def cpu_of(source: ApiMetrics, container: str = "") -> dict[str, Sample]:
    return asyncio.run(source.resource("default", "app=web", "cpu", container))


def test_a_container_is_measured_alone() -> None:
    items = (measured("a", app="300m", proxy="50m"), measured("b", app="200m"), measured("c", proxy="10m"))
    source, answers = metrics(*items)
    at_s = NOW_S - 10
    assert cpu_of(source) == {"a": Sample(350, at_s, 15), "b": Sample(200, at_s, 15), "c": Sample(10, at_s, 15)}
    assert cpu_of(source, "app") == {"a": Sample(300, at_s, 15), "b": Sample(200, at_s, 15)}
    assert answers.asked[:2] == ["metrics.k8s.io/v1beta1/pods", "default app=web"]


@pytest.mark.parametrize("bad", ["-50m", "NaN", "", "many"])
def test_one_value_without_sense_does_not_hide_in_a_sum(bad: str) -> None:
    source, _ = metrics(measured("a", app="100m", proxy=bad))
    with pytest.raises(CalculationError, match="makes no sense"):
        cpu_of(source)
    assert cpu_of(source, "app")["a"].milli == 100


def test_old_measurements_do_not_count() -> None:
    source, _ = metrics(measured("a", app="100m"), measured("b", OLD, app="-1"), measured("c", "today", app="1"))
    assert list(cpu_of(source)) == ["a"]
    source, _ = metrics(measured("b", OLD, app="100m"))
    with pytest.raises(CalculationError, match="no metrics returned from resource metrics API"):
        cpu_of(source)


def test_a_window_that_is_none_is_no_error() -> None:
    source, _ = metrics(measured("a", window="soon", app="100m"))
    assert cpu_of(source)["a"] == Sample(100, NOW_S - 10, 0.0)
    source, _ = metrics(value("a", "1", windowSeconds="soon"))
    assert asyncio.run(source.of_pods("default", "app=web", "rate", ""))["a"] == Sample(1000, NOW_S - 10, 60.0)


def test_a_metric_of_pods() -> None:
    source, answers = metrics(value("a", "1500m", windowSeconds=30), value("b", "2", OLD), value("c", "3"))
    found = asyncio.run(source.of_pods("default", "app in (web,api)", "http_requests", "code=500"))
    assert found == {"a": Sample(1500, NOW_S - 10, 30.0), "c": Sample(3000, NOW_S - 10, 60.0)}
    (path,) = answers.asked
    assert path == (
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/http_requests"
        "?labelSelector=app+in+%28web%2Capi%29&metricLabelSelector=code%3D500"
    )


@pytest.mark.parametrize("bad", ["-1", "NaN", "Inf", "many"])
def test_a_metric_without_sense_is_an_error_with_a_reason(bad: str) -> None:
    source, _ = metrics(value("a", bad))
    for asked in (
        source.of_pods("default", "", "rate", ""),
        source.of_object("default", "services", "web", "rate", ""),
        source.external("default", "rate", ""),
    ):
        with pytest.raises(CalculationError, match="makes no sense"):
            asyncio.run(cast(Any, asked))


def test_a_stale_metric_is_an_error_with_a_reason() -> None:
    source, _ = metrics(value("a", "1", OLD))
    for asked, said in (
        (source.of_pods("default", "", "rate", ""), "no metrics returned from custom metrics API"),
        (source.of_object("default", "services", "web", "rate", ""), "0 fresh values"),
        (source.external("default", "rate", ""), "no metrics returned from external metrics API"),
    ):
        with pytest.raises(CalculationError, match=said):
            asyncio.run(cast(Any, asked))
