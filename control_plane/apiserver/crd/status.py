"""Writes the status of CustomResourceDefinitions, as this server itself."""

from __future__ import annotations

from typing import Final

import orjson

from argosy.kinds.custom_resource_definition import CLEANUP_FINALIZER, GROUP, TERMINATING
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import Request, User, WriteOptions

SERVER: Final = User("system:apiserver", ("system:masters", "system:authenticated"))
MANAGER: Final = "kube-apiserver"


class StatusWriter:
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def write(self, crd: JsonObject, status: JsonObject) -> None:
        """Of the state that `crd` is; one that was changed since is left to the next round. Raises ApiError."""
        await self._update({**crd, "status": status}, "status")

    async def terminating(self, crd: JsonObject, status: bool, now: str, reason: str, message: str) -> None:
        condition = conditions.make(TERMINATING, status, now, reason, message)
        present = conditions.get(crd, TERMINATING)
        if conditions.same(present, condition):
            return
        found = conditions.with_condition(meta.status(crd).get("conditions") or (), condition)
        await self.write(crd, {**meta.status(crd), "conditions": found})

    async def release(self, crd: JsonObject) -> None:
        """Nothing is left of its objects: it may go. Raises ApiError."""
        kept = [name for name in meta.finalizers(crd) if name != CLEANUP_FINALIZER]
        metadata = {**crd["metadata"], "finalizers": kept}
        await self._update({**crd, "metadata": metadata}, "")

    async def _update(self, crd: JsonObject, subresource: str) -> None:
        served = self._pipeline.context.resources.require(GROUP, "customresourcedefinitions")
        request = Request(
            SERVER,
            "update",
            served,
            name=meta.name(crd),
            subresource=subresource,
            body=orjson.dumps(crd),
            write=WriteOptions(field_manager=MANAGER),
        )
        try:
            await self._pipeline.trusted(request)
        except ApiError as error:
            # Another server was first, or a user: the change comes by the watch and is looked at again.
            if error.code not in (404, 409):
                raise
