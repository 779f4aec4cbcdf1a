"""Writes one pod's status, and deletes its object at the end; level-triggered, the newest status wins.

A task of its own per pod, so that an API server that is away holds up no container.
"""

from __future__ import annotations

import asyncio

from argosy import logs
from argosy.client import PatchType, Resource
from argosy.host import Host
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent.patch import status_patch, with_status

log = logs.get("node_agent.status")

RETRY_MIN_S = 0.2
RETRY_MAX_S = 10.0
REPEAT_S = 30.0
"""The same status is not written again sooner, should the server keep it in another form."""


def is_newer(new: JsonObject, old: JsonObject) -> bool:
    """Whether `new` is the later version of the same object; versions are numbers that grow."""
    left, right = meta.resource_version(new), meta.resource_version(old)
    return left.isdigit() and right.isdigit() and int(left) > int(right)


class Reporter:
    def __init__(self, pods: Resource, host: Host, pod: JsonObject) -> None:
        self._pods = pods
        self._host = host
        self.pod = pod
        """The newest object known."""
        self.gone = False
        """The object no longer exists, or another one has its name."""
        self._wanted: JsonObject | None = None
        self._written: JsonObject | None = None
        self._written_at = 0.0
        self._dirty = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()

    def observed(self, pod: JsonObject) -> None:
        """A watch event; an older one than what a write gave back is passed over."""
        if pod is not self.pod and not is_newer(self.pod, pod):
            self.pod = pod
            if self._wanted is not None:
                self._mark()

    @property
    def local(self) -> JsonObject:
        """The pod with the status that is being written."""
        return self.pod if self._wanted is None else with_status(self.pod, self._wanted)

    def report(self, status: JsonObject) -> None:
        self._wanted = status
        self._mark()

    def stop_reporting(self) -> None:
        """The object is not ours to write any more."""
        self.gone = True
        self._clean.set()

    async def written(self) -> None:
        """Until the last status is at the API server, or the object is gone."""
        await self._clean.wait()

    def _mark(self) -> None:
        if self.gone:
            return
        if self._change() is not None:
            self._clean.clear()
            self._dirty.set()

    def _change(self) -> JsonObject | None:
        if self._wanted is None:
            return None
        change = status_patch(self.pod, self._wanted)
        if change is None:
            return None
        recent = self._host.clock.monotonic() - self._written_at < REPEAT_S
        return None if recent and self._wanted == self._written else change

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._write()
            if not self._dirty.is_set():
                self._clean.set()

    async def _write(self) -> None:
        pause_s = RETRY_MIN_S
        while not self.gone:
            change = self._change()
            wanted = self._wanted
            if change is None:
                return
            try:
                answer = await self._pods.patch(
                    meta.name(self.pod),
                    change,
                    namespace=meta.namespace(self.pod),
                    type=PatchType.STRATEGIC,
                    subresource="status",
                )
            except ApiError as error:
                if error.code == 404 or (error.code in (409, 422) and await self._replaced()):
                    self.stop_reporting()
                    return
                log.warning(
                    "pod status was not written", pod=meta.key(self.pod), code=error.code, error=error.message
                )
                await asyncio.sleep(pause_s * (0.5 + self._host.rng.random()))
                pause_s = min(RETRY_MAX_S, pause_s * 2)
                continue
            self._written, self._written_at = wanted, self._host.clock.monotonic()
            if is_newer(answer, self.pod):
                self.pod = answer
            return

    async def _replaced(self) -> bool:
        """Whether another pod has taken the name (a uid in a patch that differs is a conflict)."""
        try:
            found = await self._pods.get(meta.name(self.pod), namespace=meta.namespace(self.pod))
        except ApiError as error:
            return error.code == 404
        return meta.uid(found) != meta.uid(self.pod)

    async def delete(self) -> None:
        """Remove the object for good; returns when the server took it or it is gone."""
        pause_s = RETRY_MIN_S
        while not self.gone:
            try:
                await self._pods.delete(
                    meta.name(self.pod),
                    namespace=meta.namespace(self.pod),
                    grace_period_s=0,
                    uid=meta.uid(self.pod),
                )
            except ApiError as error:
                if error.code in (404, 409):
                    return
                log.warning("pod was not deleted", pod=meta.key(self.pod), code=error.code, error=error.message)
                await asyncio.sleep(pause_s * (0.5 + self._host.rng.random()))
                pause_s = min(RETRY_MAX_S, pause_s * 2)
            else:
                return
