"""Counters of the API server, in Prometheus' text form, under the names that upstream's dashboards know."""

from __future__ import annotations

from typing import Final

BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """Made without the library until somebody counts or asks, so that embedded servers do not load it."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.seconds: dict[str, list[float]] = {}
        self.listed_objects = 0

    def request(self, verb: str, code: int, seconds: float) -> None:
        key = (verb, code)
        self.requests[key] = self.requests.get(key, 0) + 1
        row = self.seconds.setdefault(verb, [0.0] * (len(BUCKETS) + 2))
        for index, bound in enumerate(BUCKETS):
            if seconds <= bound:
                row[index] += 1
        row[-2] += 1
        row[-1] += seconds

    def listed(self, objects: int) -> None:
        self.listed_objects += objects

    def text(self) -> bytes:
        """Everything, process figures included."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        from control_plane.apiserver.metrics_text import collector

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(collector(self))
        return generate_latest(registry)
