"""The metrics server at work: caches of nodes and pods, scrapes, and the adapter's catalogue of series."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

from argosy import logs
from argosy.client import Client
from argosy.host import Host
from argosy.http import HttpClient
from argosy.informer import InformerFactory
from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.service_lookup import NoEndpoint, ServiceLookup
from control_plane.metrics.adapter.prometheus import Prometheus, PrometheusError
from control_plane.metrics.adapter.rules import RuleError, Rules, parse
from control_plane.metrics.adapter.service import Adapter
from control_plane.metrics.api import MetricsApi
from control_plane.metrics.config import Config
from control_plane.metrics.scraper import Scraper
from control_plane.metrics.window import Window

log = logs.get("metrics")

RULES_KEY: Final = "config.yaml"
URL_KEY: Final = "prometheus-url"
LOOKBACK_S: Final = 300.0
"""Series that ended longer ago are no metrics any more."""


class MetricsRuntime:
    """`tls` is shown to nodes; `api` answers."""

    def __init__(
        self, config: Config, host: Host, client: Client, http: HttpClient, tls: ssl.SSLContext | None
    ) -> None:
        self._config = config
        self._host = host
        self._http = http
        self._informers = InformerFactory(client, host)
        self._nodes = self._informers.informer("", "v1", "nodes")
        self._pods = self._informers.informer("", "v1", "pods")
        self._services = ServiceLookup.of(self._informers)
        self._settings = self._informers.informer(
            "", "v1", "configmaps", fields=f"metadata.name={config.adapter_config.partition('/')[2]}"
        )
        self._settings.add_handler(
            added=self._configured, updated=lambda _old, new: self._configured(new), deleted=self._unconfigured
        )
        self._url = config.prometheus_url
        window = Window()
        self._scraper = Scraper(http, tls, host.clock, window, config.kubelet_request_timeout)
        self.adapter = Adapter(client, host.clock, self._prometheus, Rules(), LOOKBACK_S)
        self._changed = asyncio.Event()
        self.api = MetricsApi(
            window, self._pods.list, self._nodes.list, self._pods.get, self._nodes.get, self.adapter
        )
        self.ready = False
        """The nodes were scraped once."""

    async def run(self) -> None:
        """Until cancelled."""
        self._informers.start()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._scrape()), loop.create_task(self._relist())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._informers.stop()

    async def _scrape(self) -> None:
        await self._nodes.wait_synced()
        await self._pods.wait_synced()
        period_s = self._config.metric_resolution
        while True:
            begun_s = self._host.clock.monotonic()
            await self._scraper.round(self._nodes.list())
            self.ready = True
            await asyncio.sleep(max(0.0, begun_s + period_s - self._host.clock.monotonic()))

    async def _relist(self) -> None:
        """Learn which series there are, each interval and whenever the rules change."""
        await self._settings.wait_synced()
        await self._services.wait_synced()
        failing = False
        while True:
            self._changed.clear()
            if self.adapter.rules.custom or self.adapter.rules.external:
                try:
                    await self.adapter.refresh()
                    failing = False
                except PrometheusError as error:
                    if not failing:
                        log.warning("Prometheus' series cannot be listed", error=error)
                    failing = True
            try:
                async with asyncio.timeout(self._config.metrics_relist_interval):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _configured(self, settings: JsonObject) -> None:
        if meta.key(settings) != self._config.adapter_config:
            return
        import yaml

        data = settings.get("data") or {}
        try:
            loaded = yaml.load(data.get(RULES_KEY) or "{}", Loader=yaml.CSafeLoader)
            if not isinstance(loaded, dict):
                raise RuleError(f"{RULES_KEY} must be an object")
            rules = parse(loaded)
        except (RuleError, yaml.YAMLError) as error:
            log.error("the adapter's rules cannot be used, the old ones stay", error=error)
            return
        self._use(rules, str(data.get(URL_KEY) or self._config.prometheus_url))

    def _unconfigured(self, settings: JsonObject) -> None:
        if meta.key(settings) == self._config.adapter_config:
            self._use(Rules(), self._config.prometheus_url)

    def _use(self, rules: Rules, url: str) -> None:
        self._url = url
        self.adapter.use(rules)
        self._changed.set()

    def _prometheus(self) -> Prometheus:
        if not self._url:
            raise PrometheusError(
                f"no Prometheus is set: {URL_KEY} in the ConfigMap {self._config.adapter_config}, or --prometheus-url"
            )
        return Prometheus(self._http, self._endpoint(self._url))

    def _endpoint(self, url: str) -> str:
        """The URL with a ready endpoint in the place of a Service's name. Raises PrometheusError."""
        parts = urlsplit(url)
        try:
            host, port = self._services.resolve(parts.hostname or "", parts.port or 80)
        except NoEndpoint as error:
            raise PrometheusError(str(error)) from None
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{parts.path}"
