"""What a deleted CustomResourceDefinition waits for: that its objects are deleted, finalizers and all.

Upstream: apiextensions-apiserver `pkg/controller/finalizer/crd_finalizer.go`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from argosy import logs
from argosy.host import rfc3339
from argosy.kinds.custom_resource_definition import CLEANUP_FINALIZER, GROUP
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.crd.status import SERVER, StatusWriter
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import Request
from control_plane.apiserver.resources import Served

AGAIN_S: Final = 0.05
MAX_AGAIN_S: Final = 2.0
WORKERS: Final = 16
log = logs.get("apiserver.crd")


class Cleanup:
    """One task per definition that is going."""

    def __init__(self, pipeline: Pipeline, status: StatusWriter) -> None:
        self._pipeline = pipeline
        self._context = pipeline.context
        self._status = status
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, served: Served | None) -> None:
        """`served` is None for a definition that never was."""
        task = self._tasks.get(name)
        if task is None or task.done():
            self._tasks[name] = asyncio.create_task(self._run(name, served), name=f"crd-cleanup-{name}")

    def forget(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, served: Served | None) -> None:
        """Until it is gone; whatever fails is tried again."""
        pause_s = AGAIN_S
        while True:
            crd = self._definition(name)
            if crd is None or CLEANUP_FINALIZER not in meta.finalizers(crd):
                return
            try:
                await self._once(name, crd, served)
            except ApiError as error:
                log.warning("cannot delete a custom resource's objects yet", name=name, error=error.message)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_AGAIN_S)

    async def _once(self, name: str, crd: JsonObject, served: Served | None) -> None:
        try:
            left = await self._empty(crd, served) if served is not None else 0
        except ApiError as error:
            await self._tell(name, True, "InstanceDeletionFailed", f"could not issue all deletes: {error.message}")
            raise
        if not left:
            await self._done(name, served)

    def _definition(self, name: str) -> JsonObject | None:
        entry = self._context.resources.require(GROUP, "customresourcedefinitions").cache.get(name)
        return entry.obj if entry is not None and meta.is_deleting(entry.obj) else None

    async def _empty(self, crd: JsonObject, served: Served) -> int:
        """Ask for the end of every object; gives how many are left."""
        await self._tell(meta.name(crd), True, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        await self._context.feeder.consistent()
        present = self._context.resources.stored(served.group, served.plural) or served
        gate = asyncio.Semaphore(WORKERS)

        async def one(entry: Entry) -> None:
            async with gate:
                await self._delete(present, entry.obj)

        await asyncio.gather(*(one(entry) for entry in present.cache.select() if not meta.is_deleting(entry.obj)))
        await self._context.feeder.consistent()
        return len(present.cache)

    async def _delete(self, served: Served, obj: JsonObject) -> None:
        request = Request(
            SERVER,
            "delete",
            served,
            namespace=meta.namespace(obj),
            name=meta.name(obj),
            delete_options={"preconditions": {"uid": meta.uid(obj)}},
        )
        try:
            await self._pipeline.trusted(request)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def _tell(self, name: str, status: bool, reason: str, message: str) -> None:
        crd = self._definition(name)
        if crd is not None:
            now = rfc3339(self._context.host.clock.now())
            await self._status.terminating(crd, status, now, reason, message)

    async def _done(self, name: str, served: Served | None) -> None:
        reason, message = ("InstanceDeletionCompleted", "removed all instances")
        if served is None:
            reason, message = ("NeverEstablished", "resource was never established")
        await self._tell(name, False, reason, message)
        await self._context.feeder.consistent()
        crd = self._definition(name)
        if crd is not None:
            await self._status.release(crd)
