"""Answers custom.metrics.k8s.io and external.metrics.k8s.io out of Prometheus.

Sources: sigs.k8s.io/custom-metrics-apiserver, prometheus-adapter `pkg/custom-provider` and `pkg/external-provider`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from argosy import logs
from argosy.client import Client
from argosy.host import Clock, rfc3339
from argosy.kinds import KINDS
from argosy.objects import meta, quantity
from argosy.objects import status as errors
from argosy.objects.selectors import Operator, Selector
from argosy.objects.types import JsonObject
from control_plane.aggregated.calls import ApiResource
from control_plane.metrics.adapter.catalog import CLUSTER_SCOPED, Catalog, Source, build
from control_plane.metrics.adapter.prometheus import Prometheus, PrometheusError, Value
from control_plane.metrics.adapter.rules import Rules

log = logs.get("metrics.adapter")

CUSTOM: Final = "custom.metrics.k8s.io"
EXTERNAL: Final = "external.metrics.k8s.io"
ALL_OBJECTS: Final = "*"
MAX_OBJECTS: Final = 5000

Matcher = tuple[str, str, str]


class CustomTarget(NamedTuple):
    """Whose metric is asked for."""

    namespace: str
    """Empty for cluster-scoped objects."""
    resource: str
    """`pods`, `deployments.apps`, …"""
    name: str
    """Or `*`: all that the selector takes."""


class Adapter:
    """`prometheus` gives the server to ask at the moment. Every answer raises ApiError."""

    def __init__(
        self, client: Client, clock: Clock, prometheus: Callable[[], Prometheus], rules: Rules, lookback_s: float
    ) -> None:
        self._client = client
        self._clock = clock
        self._prometheus = prometheus
        self._lookback_s = lookback_s
        self.rules = rules
        self.catalog = Catalog()

    def use(self, rules: Rules) -> None:
        """Go by other rules; metrics that the old ones made are not served any more."""
        self.rules = rules
        self.catalog = Catalog()

    async def refresh(self) -> None:
        """Learn anew which series there are. Raises PrometheusError; the old catalogue stays then."""
        prometheus, now = self._prometheus(), self._clock.now()
        listed = {
            rule: await prometheus.series([rule.series_query], now - self._lookback_s, now)
            for rule in (*self.rules.custom, *self.rules.external)
        }
        self.catalog = build(self.rules, listed)

    async def custom(
        self, version: str, target: CustomTarget, metric: str, objects: Selector, labels: Selector
    ) -> JsonObject:
        """A MetricValueList. `objects` selects objects (with `*`), `labels` series."""
        source = self.catalog.custom.get((target.resource, metric))
        if source is None:
            raise _not_found(f"the server could not find the metric {metric} for {target.resource}")
        names = await self._names(target, objects)
        label = source.rule.label(target.resource)
        values: dict[str, Value] = {}
        if names:
            matchers = [(label, "=~", "|".join(re.escape(name) for name in names)), *matchers_of(labels)]
            if target.namespace:
                matchers.insert(0, (source.rule.label("namespaces") or "namespace", "=", target.namespace))
            found = await self._ask(source, matchers, label)
            values = {value.labels.get(label, ""): value for value in found}
        if target.name != ALL_OBJECTS and target.name not in values:
            raise _not_found(f"the server could not find the metric {metric} for {target.resource} {target.name}")
        items = [self._item(version, target, name, metric, labels, values[name]) for name in names if name in values]
        return {"kind": "MetricValueList", "apiVersion": f"{CUSTOM}/{version}", "metadata": {}, "items": items}

    async def external(self, namespace: str, metric: str, labels: Selector) -> JsonObject:
        """An ExternalMetricValueList."""
        source = self.catalog.external.get(metric)
        if source is None:
            raise _not_found(f"the server could not find the metric {metric}")
        matchers = matchers_of(labels)
        if source.rule.namespaced:
            matchers.insert(0, (source.rule.label("namespaces") or "namespace", "=", namespace))
        found = await self._ask(source, matchers, source.rule.label("namespaces") or "namespace")
        items = [
            {
                "metricName": metric,
                "metricLabels": value.labels,
                "timestamp": rfc3339(value.at_s),
                "value": text_of(value.value),
            }
            for value in found
        ]
        return {
            "kind": "ExternalMetricValueList",
            "apiVersion": f"{EXTERNAL}/v1beta1",
            "metadata": {},
            "items": items,
        }

    async def _ask(self, source: Source, matchers: Sequence[Matcher], group_by: str) -> list[Value]:
        promql = source.rule.promql(source.series, matchers, group_by)
        try:
            return await self._prometheus().query(promql, self._clock.now())
        except PrometheusError as error:
            log.warning("a metric cannot be had", query=promql, error=error)
            raise errors.internal(f"unable to fetch metrics: {error}") from None

    async def _names(self, target: CustomTarget, selector: Selector) -> list[str]:
        if target.name != ALL_OBJECTS:
            return [target.name]
        plural, _, group = target.resource.partition(".")
        kind = KINDS.resource(group, plural)
        if kind is None:
            raise _not_found(f"the server could not find the resource {target.resource}")
        found = await self._client.resource(group, kind.version, plural).list(
            namespace=target.namespace, labels=str(selector), limit=MAX_OBJECTS
        )
        return [meta.name(obj) for obj in found.items]

    def _item(
        self, version: str, target: CustomTarget, name: str, metric: str, labels: Selector, value: Value
    ) -> JsonObject:
        plural, _, group = target.resource.partition(".")
        kind = KINDS.resource(group, plural)
        described = {
            "kind": kind.kind if kind is not None else plural,
            **({"namespace": target.namespace} if target.namespace else {}),
            "name": name,
            "apiVersion": f"/{kind.version}" if kind is not None and not group else f"{group}/v1",
        }
        item: JsonObject = {"describedObject": described}
        if version == "v1beta1":
            item["metricName"] = metric
        else:
            item["metric"] = {"name": metric, **({} if labels.everything else {"selector": _label_selector(labels)})}
        return {**item, "timestamp": rfc3339(value.at_s), "value": text_of(value.value)}

    def resources(self) -> list[ApiResource]:
        """What custom.metrics.k8s.io has: one per resource and metric."""
        return [
            ApiResource(f"{resource}/{metric}", "MetricValueList", resource not in CLUSTER_SCOPED, ("get",))
            for resource, metric in sorted(self.catalog.custom)
        ]

    def external_resources(self) -> list[ApiResource]:
        """What external.metrics.k8s.io has."""
        return [
            ApiResource(metric, "ExternalMetricValueList", verbs=("get", "list"))
            for metric in sorted(self.catalog.external)
        ]


def matchers_of(selector: Selector) -> list[Matcher]:
    """A label selector as PromQL matchers. Raises ApiError for what PromQL cannot say."""
    result: list[Matcher] = []
    for item in selector.requirements:
        values = sorted(item.values)
        match item.operator:
            case Operator.EQUALS:
                result.append((item.key, "=", values[0]))
            case Operator.NOT_EQUALS:
                result.append((item.key, "!=", values[0]))
            case Operator.IN:
                result.append((item.key, "=~", "|".join(re.escape(value) for value in values)))
            case Operator.NOT_IN:
                result.append((item.key, "!~", "|".join(re.escape(value) for value in values)))
            case Operator.EXISTS:
                result.append((item.key, "!=", ""))
            case Operator.NOT_EXISTS:
                result.append((item.key, "=", ""))
            case _:
                raise errors.bad_request(
                    f"the selector's operator {item.operator.value} is not supported for metrics"
                )
    return result


def text_of(value: float) -> str:
    """A measured number as a quantity, in thousandths."""
    return quantity.of_milli(round(value * 1000))


def _label_selector(selector: Selector) -> Mapping[str, object]:
    names = {
        Operator.EQUALS: "In", Operator.IN: "In", Operator.NOT_EQUALS: "NotIn", Operator.NOT_IN: "NotIn",
        Operator.EXISTS: "Exists", Operator.NOT_EXISTS: "DoesNotExist",
    }  # fmt: skip
    return {
        "matchExpressions": [
            {
                "key": item.key,
                "operator": names.get(item.operator, item.operator.value),
                **({"values": sorted(item.values)} if item.values else {}),
            }
            for item in selector.requirements
        ]
    }


def _not_found(message: str) -> errors.ApiError:
    return errors.status_error(404, "NotFound", message)
