"""Keeps what is served equal to the CustomResourceDefinitions in the store.

Each API server follows them by its own watch cache: names are accepted, a definition whose names are is compiled and
served, and only then called Established; a changed one is replaced, a deleted one emptied (`cleanup`) and dropped.
Status is written by whichever server comes first; all would write the same. Upstream: apiextensions-apiserver
`pkg/apiserver/customresource_handler.go`, `pkg/controller/{status,establish,finalizer}`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import orjson

from argosy import logs
from argosy.host import rfc3339
from argosy.kinds.custom_resource_definition import CLEANUP_FINALIZER, ESTABLISHED, GROUP, NAMES_ACCEPTED
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.resource import ResourceCache
from control_plane.apiserver.cache.watcher import Watcher
from control_plane.apiserver.crd import names
from control_plane.apiserver.crd.cleanup import Cleanup
from control_plane.apiserver.crd.compiled import CustomCompiled
from control_plane.apiserver.crd.conversion import Conversions
from control_plane.apiserver.crd.family import Family
from control_plane.apiserver.crd.status import StatusWriter
from control_plane.apiserver.crd.versions import CustomVersion, versions_of
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.resources import Served, prefix_of

RETRY_S: Final = 0.2
MAX_RETRY_S: Final = 5.0
SETTLE_S: Final = 3.0
IDLE_S: Final = 3600.0
INITIAL_NAMES: Final = "the initial names have been accepted"
log = logs.get("apiserver.crd")


class CustomResources:
    """`run` follows for ever; `settle` waits until everything written before is served."""

    def __init__(self, pipeline: Pipeline, conversions: Conversions) -> None:
        self._pipeline = pipeline
        self._context = pipeline.context
        self._conversions = conversions
        self._definitions = pipeline.context.resources.stored(GROUP, "customresourcedefinitions")
        self._pending: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._served: dict[str, tuple[str, list[CustomVersion], Family, ResourceCache]] = {}
        """By definition: what it was made of, and what was made."""
        self._watcher: Watcher | None = None
        self._status = StatusWriter(pipeline)
        self._cleanup = Cleanup(pipeline, self._status)
        self._retry_s: dict[str, float] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def settle(self) -> None:
        """Until the definitions that the store has now are followed; gives up after a while. Raises ApiError."""
        await self._context.feeder.consistent()
        if self._watcher is not None and self._watcher.pending:
            self._idle.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), SETTLE_S)

    async def followed(self) -> None:
        """Until everything that the caches hold was gone through: before a server answers."""
        await self._idle.wait()

    def versions_served(self) -> list[CustomVersion]:
        return [version for _, versions, _, _ in self._served.values() for version in versions if version.served]

    async def run(self) -> None:
        if self._definitions is None:
            self._idle.set()
            await asyncio.Event().wait()
            return
        try:
            while True:
                await self._follow(self._definitions.cache)
        finally:
            for timer in self._timers.values():
                timer.cancel()
            await self._cleanup.stop()

    async def _follow(self, cache: ResourceCache) -> None:
        """Until the cache starts anew."""
        watcher = self._watcher = Watcher(None)
        known = [*self._served, *(entry.key for entry in cache.select())]
        cache.watch(watcher, ("", ""), None)
        self._pending.update(dict.fromkeys(known))
        try:
            while not watcher.closed:
                await self._work()
                self._idle.set()
                items = await watcher.next(0.0 if self._pending else IDLE_S)
                self._idle.clear()
                self._pending.update(dict.fromkeys(item.entry.key for item in items))
        finally:
            cache.unwatch(watcher)

    async def _work(self) -> None:
        while self._pending:
            name = next(iter(self._pending))
            del self._pending[name]
            try:
                await self._process(name)
            except ApiError as error:
                self._again(name, error.message)
            except Exception as error:  # one definition must not stop the others
                log.exception("a custom resource definition cannot be followed", name=name)
                self._again(name, type(error).__name__)
            else:
                self._retry_s.pop(name, None)

    def _again(self, name: str, reason: str) -> None:
        pause_s = self._retry_s.get(name, RETRY_S)
        self._retry_s[name] = min(2 * pause_s, MAX_RETRY_S)
        log.warning("tries a custom resource definition again", name=name, reason=reason)

        def wake() -> None:
            self._timers.pop(name, None)
            self._pending[name] = None
            if self._watcher is not None:
                self._watcher.nudge()

        if name not in self._timers:
            self._timers[name] = asyncio.get_running_loop().call_later(pause_s, wake)

    async def _process(self, name: str) -> None:
        assert self._definitions is not None
        entry = self._definitions.cache.get(name)
        if entry is None:
            self._drop(name)
            return
        crd = entry.obj
        now = rfc3339(self._context.host.clock.now())
        if not meta.is_deleting(crd) and names.needs_names(crd):
            wanted = names.accepted(crd, self._others(crd), now)
            if _differs(wanted, meta.status(crd)):
                await self._status.write(crd, wanted)
                self._revisit_group(crd)
                return
        if conditions.is_true(crd, NAMES_ACCEPTED) or conditions.is_true(crd, ESTABLISHED):
            await self._serve(name, crd)
            if not conditions.is_true(crd, ESTABLISHED) and not meta.is_deleting(crd):
                condition = conditions.make(ESTABLISHED, True, now, "InitialNamesAccepted", INITIAL_NAMES)
                found = conditions.with_condition(meta.status(crd).get("conditions") or (), condition)
                await self._status.write(crd, {**meta.status(crd), "conditions": found})
        if meta.is_deleting(crd) and CLEANUP_FINALIZER in meta.finalizers(crd):
            self._cleanup.start(name, self._stored(crd))

    def _stored(self, crd: JsonObject) -> Served | None:
        spec = meta.spec(crd)
        plural = str((spec.get("names") or {}).get("plural", ""))
        found = self._context.resources.stored(str(spec.get("group", "")), plural)
        return found if found is not None and found.custom is not None else None

    def _others(self, crd: JsonObject) -> list[JsonObject]:
        assert self._definitions is not None
        group = meta.spec(crd).get("group")
        return [
            entry.obj
            for entry in self._definitions.cache.select()
            if entry.key != meta.name(crd) and meta.spec(entry.obj).get("group") == group
        ]

    def _revisit_group(self, crd: JsonObject) -> None:
        """A name may have been given up."""
        for other in self._others(crd):
            if not conditions.is_true(other, NAMES_ACCEPTED):
                self._pending[meta.name(other)] = None

    async def _serve(self, name: str, crd: JsonObject) -> None:
        spec, status = meta.spec(crd), meta.status(crd)
        mark = orjson.dumps([meta.uid(crd), spec, status.get("acceptedNames")]).decode()
        known = self._served.get(name)
        if known is not None and known[0] == mark:
            known[2].terminating = meta.is_deleting(crd)
            return
        versions = versions_of(crd)
        storage = next(version for version in versions if version.storage)
        builtin = self._context.resources.stored(storage.kind.group, storage.kind.plural)
        if builtin is not None and builtin.custom is None:
            log.error("a custom resource cannot take the place of a built-in one", name=name)
            return
        nodes = {version.kind.api_version: version.node for version in versions}
        family = Family(storage.kind.kind, nodes, storage.kind.api_version, self._conversions.of(crd))
        family.terminating = meta.is_deleting(crd)
        cache = ResourceCache(prefix_of(storage.kind), {}, family.decode)
        await self._context.feeder.add_live(cache)
        # From here to the end nothing waits: requests see the old resource or the new one.
        self._forget_schemas(name)
        for version in versions:
            if version.served:
                self._context.schemas.put(CustomCompiled(version.kind, version.node, self._context.schemas))
        stored = _served(storage, cache, family)
        self._context.resources.put(
            stored, [_served(version, cache, family) for version in versions if version.served]
        )
        self._served[name] = (mark, versions, family, cache)
        log.info("a custom resource is served", name=name, versions=[v.kind.version for v in versions if v.served])

    def _forget_schemas(self, name: str) -> None:
        known = self._served.get(name)
        for version in known[1] if known is not None else ():
            self._context.schemas.remove(version.kind.group, version.kind.version, version.kind.kind)

    def _drop(self, name: str) -> None:
        self._cleanup.forget(name)
        known = self._served.get(name)
        if known is not None:
            kind = known[1][0].kind
            self._forget_schemas(name)
            del self._served[name]
            self._context.resources.remove(kind.group, kind.plural)
            self._context.feeder.remove(known[3])
            log.info("a custom resource is no longer served", name=name)
        assert self._definitions is not None
        group = name.partition(".")[2]
        for entry in self._definitions.cache.select():
            if meta.spec(entry.obj).get("group") == group and not conditions.is_true(entry.obj, NAMES_ACCEPTED):
                self._pending[entry.key] = None


def _served(version: CustomVersion, cache: ResourceCache, family: Family) -> Served:
    return Served(version.kind, version.kind.group, version.kind.version, None, cache, family)


def _differs(wanted: JsonObject, status: JsonObject) -> bool:
    """Times aside."""
    if wanted.get("acceptedNames") != status.get("acceptedNames"):
        return True
    before = {each.get("type"): each for each in status.get("conditions") or ()}
    return any(not conditions.same(before.get(each["type"]), each) for each in wanted["conditions"])
