"""Reads every node's `/metrics/resource`, period by period; one that fails twice in a row has no numbers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator

from argosy import logs
from argosy.host import Clock
from argosy.http import HttpClient, HttpError, Request
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.metrics.window import Sample, Window, scrape

log = logs.get("metrics.scraper")

AT_ONCE = 32
MAX_TEXT_BYTES = 8 << 20


def samples(text: str) -> Iterator[Sample]:
    """Prometheus' text form. Raises ValueError for anything else."""
    from prometheus_client.parser import text_string_to_metric_families

    for family in text_string_to_metric_families(text):
        for item in family.samples:
            yield Sample(item.name, item.labels, item.value, float(item.timestamp or 0.0))


def address(node: JsonObject) -> str:
    """`IP:PORT` of the node's agent; empty when it has not said."""
    status = meta.status(node)
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    ip = next((item["address"] for item in status.get("addresses") or () if item.get("type") == "InternalIP"), "")
    if not ip or not port:
        return ""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class Scraper:
    def __init__(
        self, http: HttpClient, tls: ssl.SSLContext | None, clock: Clock, window: Window, timeout_s: float
    ) -> None:
        self._http = http
        self._tls = tls
        self._clock = clock
        self._window = window
        self._timeout_s = timeout_s
        self._failing: set[str] = set()
        self._known: set[str] = set()

    async def round(self, nodes: Iterable[JsonObject]) -> None:
        """Scrape each node once. Never raises."""
        limit = asyncio.Semaphore(AT_ONCE)
        places = {meta.name(node): address(node) for node in nodes}
        for gone in sorted(self._known - places.keys()):
            self._window.remove(gone)
        self._known = set(places)

        async def one(name: str, place: str) -> None:
            async with limit:
                await self._scrape(name, place)

        await asyncio.gather(*(one(name, place) for name, place in places.items() if place))

    async def _scrape(self, node: str, place: str) -> None:
        request = Request("GET", f"https://{place}/metrics/resource")
        try:
            answer = await self._http.send(
                request, timeout_s=self._timeout_s, tls=self._tls, max_body_bytes=MAX_TEXT_BYTES
            )
            if answer.status != 200:
                raise HttpError(f"{request.url}: status {answer.status}")
            self._window.add(node, scrape(samples(answer.body.decode())))
        except (HttpError, ValueError) as error:
            if node in self._failing:
                self._window.remove(node)
            else:
                log.warning("a node's metrics cannot be had", node=node, error=error)
            self._failing.add(node)
            return
        if node in self._failing:
            self._failing.discard(node)
            log.info("a node's metrics can be had again", node=node)
