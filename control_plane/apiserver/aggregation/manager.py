"""Keeps what is known of aggregated APIs up to date while the API server runs.

Every server does this for itself: each has its own way to the others, and its own copy of their discovery. What
they write, the Available condition, is one and the same unless their views of the network differ.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import orjson

from argosy import logs
from argosy.host import Clock, rfc3339
from argosy.kinds.api_service import AVAILABLE, LOCAL_MESSAGE, LOCAL_REASON
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.queue import WorkQueue, run_workers
from control_plane.apiserver.aggregation import registration
from control_plane.apiserver.aggregation.availability import Availability, Verdict, same
from control_plane.apiserver.aggregation.connector import Connector, Opener
from control_plane.apiserver.aggregation.documents import Documents, Unusable
from control_plane.apiserver.aggregation.services import GROUP, PLURAL, ApiServices, Remote, remote_of
from control_plane.apiserver.bootstrap.objects import ITSELF
from control_plane.apiserver.cache.events import Item, Type
from control_plane.apiserver.cache.resource import ALL, ResourceCache
from control_plane.apiserver.cache.watcher import Watcher
from control_plane.apiserver.config import Config
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import Request, WriteOptions
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.service_endpoints import SERVICE_LABEL, ServiceEndpoints

WORKERS: Final = 4
RETRY_FIRST_S: Final = 0.25
REGISTER_EVERY_S: Final = 1.0
DISCOVER_EVERY_S: Final = 60.0
LOCAL: Final = Verdict(True, LOCAL_REASON, LOCAL_MESSAGE)
log = logs.get("apiserver.aggregation")


@dataclass(frozen=True)
class Aggregation:
    """The parts, for those who route requests."""

    services: ApiServices
    connector: Connector
    documents: Documents
    availability: Availability

    @staticmethod
    def make(config: Config, resources: Resources, http: Opener, endpoints: ServiceEndpoints) -> Aggregation:
        services = ApiServices(resources)
        connector = Connector(http, endpoints, config.proxy_client_certificate, config.proxy_client_key)
        documents = Documents(services, connector)
        return Aggregation(services, connector, documents, Availability(resources, endpoints, connector))


class Manager:
    """`run` works until it is cancelled."""

    def __init__(self, aggregation: Aggregation, pipeline: Pipeline, config: Config, clock: Clock) -> None:
        self._parts = aggregation
        self._pipeline = pipeline
        self._config = config
        self._clock = clock
        self._queue = WorkQueue(max_s=config.apiservice_resync_s)
        self._failures: dict[str, int] = {}
        self._discovered: dict[str, float] = {}
        self._served = pipeline.context.resources.require(GROUP, PLURAL)
        self._resources = pipeline.context.resources

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(self._register()),
            loop.create_task(self._watch(self._served.cache)),
            loop.create_task(self._watch(self._resources.require("", "services").cache)),
            loop.create_task(self._watch(self._resources.require("discovery.k8s.io", "endpointslices").cache)),
            loop.create_task(run_workers(self._queue, self.reconcile, count=WORKERS, name="apiservices")),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _register(self) -> None:
        """Once at start, then whenever the served versions are others, and now and then."""
        seen: object = None
        done_at = self._clock.monotonic()
        while True:
            groups, now = self._resources.groups(), self._clock.monotonic()
            if groups != seen or now - done_at >= self._config.apiservice_resync_s:
                try:
                    if seen is None:
                        await registration.publish(self._pipeline, self._config)
                    await registration.register(self._pipeline, starting=seen is None)
                    seen, done_at = groups, now
                except (ApiError, OSError, ValueError) as error:
                    log.warning("cannot register the served versions yet", error=error)
            await asyncio.sleep(REGISTER_EVERY_S)

    async def _watch(self, cache: ResourceCache) -> None:
        """Every change that concerns an APIService makes work under its name."""
        while True:
            watcher = Watcher(None)
            cache.watch(watcher, (ALL, ""), None)
            try:
                for entry in list(self._served.cache.entries()):
                    self._queue.add(entry.key)
                while not watcher.closed:
                    for item in await watcher.next(self._config.apiservice_resync_s):
                        self._concerns(cache, item)
            finally:
                cache.unwatch(watcher)

    def _concerns(self, cache: ResourceCache, item: Item) -> None:
        obj = item.entry.obj
        if cache is self._served.cache:
            # A change of status is our own, or another server's: it asks for no new check.
            old = item.change.old if item.change is not None else None
            if item.type is not Type.MODIFIED or old is None or meta.spec(old.obj) != meta.spec(obj):
                self._parts.documents.stale(meta.name(obj))
                self._queue.add(meta.name(obj))
            return
        name = meta.name(obj) if obj["kind"] == "Service" else meta.labels(obj).get(SERVICE_LABEL, "")
        for remote in self._parts.services.remotes.values():
            if (remote.namespace, remote.service) == (meta.namespace(obj), name):
                self._queue.add(remote.name)

    async def reconcile(self, name: str) -> float | None:
        """Check one APIService, say so in its status, and ask for its documents. Raises ApiError."""
        entry = self._served.cache.get(name)
        if entry is None:
            self._failures.pop(name, None)
            self._discovered.pop(name, None)
            self._parts.documents.forget(name)
            return None
        remote = remote_of(entry.obj)
        if remote is None:
            self._parts.documents.forget(name)
            condition = conditions.get(entry.obj, AVAILABLE)
            if condition is None or condition.get("reason") != LOCAL_REASON:
                await self._say(entry.obj, LOCAL)
            return None
        verdict = await self._parts.availability.check(remote)
        await self._say(entry.obj, verdict)
        if not verdict.available:
            self._parts.documents.stale(name)
            failures = self._failures[name] = min(self._failures.get(name, 0) + 1, 10)
            return min(RETRY_FIRST_S * 2.0**failures, self._config.apiservice_resync_s)
        self._failures.pop(name, None)
        await self._discover(remote)
        return self._config.apiservice_resync_s

    async def _discover(self, remote: Remote) -> None:
        """Ask for its documents, unless they are young."""
        now = self._clock.monotonic()
        young = now - self._discovered.get(remote.name, float("-inf")) < DISCOVER_EVERY_S
        if young and self._parts.documents.known(remote).fresh:
            return
        try:
            await self._parts.documents.refresh(remote)
            self._discovered[remote.name] = now
        except Unusable as error:
            log.warning("discovery of an aggregated API failed", name=remote.name, error=error)

    async def _say(self, obj: JsonObject, verdict: Verdict) -> None:
        old = conditions.get(obj, AVAILABLE)
        if same(old, verdict):
            return
        made = conditions.make(
            AVAILABLE, verdict.available, rfc3339(self._clock.now()), verdict.reason, verdict.message
        )
        status = meta.status(obj)
        listed = conditions.with_condition(status.get("conditions") or (), made)
        new = {**obj, "status": {**status, "conditions": listed}}
        log.info("availability of an API", name=meta.name(obj), available=verdict.available, why=verdict.reason)
        request = Request(
            ITSELF,
            "update",
            self._served,
            name=meta.name(obj),
            subresource="status",
            body=orjson.dumps(new),
            write=WriteOptions(field_manager="kube-aggregator"),
        )
        try:
            await self._pipeline.trusted(request)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
