"""The counters as Prometheus metric families; loaded when /metrics is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from control_plane.apiserver.metrics import Metrics


class _Collector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        from control_plane.apiserver.metrics import BUCKETS

        metrics = self._metrics
        total = CounterMetricFamily("apiserver_request_total", "Requests by verb and code", labels=["verb", "code"])
        for (verb, code), count in metrics.requests.items():
            total.add_metric([verb, str(code)], count)
        seconds = HistogramMetricFamily("apiserver_request_duration_seconds", "Time to answer", labels=["verb"])
        for verb, row in metrics.seconds.items():
            buckets = [(str(bound), row[index]) for index, bound in enumerate(BUCKETS)]
            seconds.add_metric([verb], [*buckets, ("+Inf", row[-2])], row[-1])
        listed = CounterMetricFamily("apiserver_cache_list_returned_objects_total", "Objects in lists")
        listed.add_metric([], metrics.listed_objects)
        return [total, seconds, listed]


def collector(metrics: Metrics) -> Collector:
    return _Collector(metrics)
