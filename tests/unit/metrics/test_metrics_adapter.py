"""Custom and external metrics out of Prometheus: rules, queries, answers, and a Prometheus that lies."""

import asyncio
import json
import ssl
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from argosy.host import SeededRng
from argosy.http import HttpError, Request, Response
from argosy.objects import selectors
from argosy.objects.status import ApiError
from argosy.rpc_memory import MemoryNetwork
from control_plane.metrics.adapter.prometheus import Prometheus, PrometheusError
from control_plane.metrics.adapter.rules import RuleError, parse
from control_plane.metrics.adapter.service import Adapter, CustomTarget
from tests.sim import virtual
from tests.unit.controllers.memory_api import MemoryApi

NOW = 1_700_000_000.0
CONFIG: dict[str, Any] = {
    "rules": [
        {
            "seriesQuery": 'http_requests_total{namespace!="",pod!=""}',
            "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
            "name": {"matches": "^(.*)_total$", "as": "${1}_per_second"},
            "metricsQuery": "sum(rate(<<.Series>>{<<.LabelMatchers>>}[1m])) by (<<.GroupBy>>)",
        },
        {
            "seriesQuery": '{__name__=~"^kube_.*"}',
            "seriesFilters": [{"isNot": "_created$"}],
            "resources": {"template": "<<.Resource>>"},
            "metricsQuery": "max(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
        },
    ],
    "externalRules": [
        {
            "seriesQuery": "queue_length",
            "resources": {"overrides": {"namespace": {"resource": "namespace"}}},
            "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
        }
    ],
}
SERIES = [
    {"__name__": "http_requests_total", "namespace": "default", "pod": "a"},
    {"__name__": "kube_load", "namespace": "default", "service": "web"},
    {"__name__": "kube_load_created", "namespace": "default", "service": "web"},
    {"__name__": "queue_length", "namespace": "default", "queue": "mail"},
]


class FakePrometheus:
    """Answers the HTTP API with what a test sets, and notes the queries."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.result: list[dict[str, Any]] = []
        self.body: bytes | None = None
        self.down = False

    async def send(
        self, request: Request, *, timeout_s: float, tls: ssl.SSLContext | None = None, max_body_bytes: int = 0
    ) -> Response:
        if self.down:
            raise HttpError(f"{request.url}: connection refused")
        if self.body is not None:
            return Response(200, {}, self.body)
        parts = urlsplit(request.url)
        query = parse_qs(parts.query)
        data: Any
        if parts.path == "/api/v1/series":
            name = query["match[]"][0].partition("{")[0]
            data = [labels for labels in SERIES if labels["__name__"].startswith(name or "kube_")]
        else:
            self.queries.append(query["query"][0])
            data = {"resultType": "vector", "result": self.result}
        return Response(200, {}, json.dumps({"status": "success", "data": data}).encode())

    def gives(self, *values: tuple[dict[str, str], str]) -> None:
        self.result = [{"metric": labels, "value": [NOW, text]} for labels, text in values]


def run(body: Any) -> None:
    async def main() -> None:
        host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        api = MemoryApi(host)
        client = await api.client(MemoryNetwork(SeededRng(1), latency_s=0.001).host("one"))
        for name, app in (("a", "web"), ("b", "web"), ("c", "other")):
            api.put("pods", {"metadata": {"name": name, "namespace": "default", "labels": {"app": app}}})
        prometheus = FakePrometheus()
        server = Prometheus(prometheus, "http://prometheus:9090/")
        adapter = Adapter(client, host.clock, lambda: server, parse(CONFIG), 60.0)
        await adapter.refresh()
        await body(adapter, prometheus)

    virtual.run(main())


EVERYTHING = selectors.EVERYTHING
WEB = selectors.parse("app=web")
PODS = CustomTarget("default", "pods", "*")


def test_series_become_metrics_of_resources() -> None:
    async def body(adapter: Adapter, _prometheus: FakePrometheus) -> None:
        assert [item.name for item in adapter.resources()] == [
            "namespaces/http_requests_per_second", "namespaces/kube_load",
            "pods/http_requests_per_second", "services/kube_load",
        ]  # fmt: skip
        assert [item.name for item in adapter.external_resources()] == ["queue_length"]

    run(body)


def test_pods_of_a_selector() -> None:
    async def body(adapter: Adapter, prometheus: FakePrometheus) -> None:
        prometheus.gives(({"pod": "a"}, "12.5"), ({"pod": "b"}, "3"))
        found = await adapter.custom("v1beta2", PODS, "http_requests_per_second", WEB, EVERYTHING)
        assert prometheus.queries == ['sum(rate(http_requests_total{namespace="default",pod=~"a|b"}[1m])) by (pod)']
        assert [(item["describedObject"]["name"], item["value"]) for item in found["items"]] == [
            ("a", "12500m"), ("b", "3"),
        ]  # fmt: skip
        assert found["items"][0]["describedObject"] == {
            "kind": "Pod", "namespace": "default", "name": "a", "apiVersion": "/v1",
        }  # fmt: skip

    run(body)


def test_one_object_and_a_selector_of_series() -> None:
    async def body(adapter: Adapter, prometheus: FakePrometheus) -> None:
        prometheus.gives(({"service": "web"}, "0.25"))
        labels = selectors.parse("verb in (get,li.st),code!=500")
        found = await adapter.custom(
            "v1beta2", CustomTarget("default", "services", "web"), "kube_load", EVERYTHING, labels
        )
        (query,) = prometheus.queries
        assert query == (
            'max(kube_load{namespace="default",service=~"web",code!="500",verb=~"get|li\\\\.st"}) by (service)'
        ) or query == (
            'max(kube_load{namespace="default",service=~"web",verb=~"get|li\\\\.st",code!="500"}) by (service)'
        )
        assert found["items"][0]["value"] == "250m"
        prometheus.gives()
        with pytest.raises(ApiError) as failure:
            await adapter.custom(
                "v1beta2", CustomTarget("default", "services", "web"), "kube_load", EVERYTHING, labels
            )
        assert failure.value.code == 404

    run(body)


def test_external_metrics() -> None:
    async def body(adapter: Adapter, prometheus: FakePrometheus) -> None:
        prometheus.gives(({"namespace": "default"}, "42"))
        found = await adapter.external("default", "queue_length", selectors.parse("queue=mail"))
        assert prometheus.queries == ['sum(queue_length{namespace="default",queue="mail"}) by (namespace)']
        assert [item["value"] for item in found["items"]] == ["42"]
        with pytest.raises(ApiError) as failure:
            await adapter.external("default", "nothing", EVERYTHING)
        assert failure.value.code == 404

    run(body)


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "many"])
def test_a_lying_prometheus_is_an_error(text: str) -> None:
    async def body(adapter: Adapter, prometheus: FakePrometheus) -> None:
        prometheus.gives(({"namespace": "default"}, text))
        with pytest.raises(ApiError) as failure:
            await adapter.external("default", "queue_length", EVERYTHING)
        assert failure.value.code == 500 and "unable to fetch metrics" in failure.value.message

    run(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"status":"error","error":"query timed out"}',
        b'{"status":"success","data":{"resultType":"matrix"}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{}]}}',
    ],
)
def test_garbage_is_an_error(body: bytes) -> None:
    prometheus = FakePrometheus()
    prometheus.body = body
    with pytest.raises(PrometheusError):
        asyncio.run(Prometheus(prometheus, "http://p").query("up", NOW))


def test_metrics_stay_known_while_prometheus_is_away() -> None:
    async def body(adapter: Adapter, prometheus: FakePrometheus) -> None:
        prometheus.down = True
        with pytest.raises(PrometheusError):
            await adapter.refresh()
        assert adapter.resources()

    run(body)


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"seriesQuery": ""}, "rules[0].seriesQuery is required"),
        (
            {"metricsQuery": "<<.LabelValuesByName.pod>>"},
            "rules[0].metricsQuery: <<.LabelValuesByName.pod>> is not supported",
        ),
        ({"name": {"matches": "("}}, "rules[0].name.matches: '(' is no regular expression"),
        ({"resources": {"overrides": {"pod": {}}}}, "rules[0].resources.overrides.pod.resource is required"),
    ],
)
def test_rules_that_cannot_be_used_are_refused_by_name(change: dict[str, Any], failure: str) -> None:
    with pytest.raises(RuleError) as found:
        parse({"rules": [{**CONFIG["rules"][0], **change}]})
    assert str(found.value).startswith(failure)
