"""argosy.v1.Api for aggregated APIs: the messages of the calls, around what `aggregation.calls` is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import orjson

from argosy.objects import status as errors
from argosy.pb import api_pb2 as pb
from control_plane.apiserver.aggregation.calls import AggregatedCalls
from control_plane.apiserver.aggregation.services import Remote
from control_plane.apiserver.request import ListOptions, PatchType, User, WriteOptions

_EVENTS: Final = {
    "ADDED": pb.WatchEvent.ADDED,
    "MODIFIED": pb.WatchEvent.MODIFIED,
    "DELETED": pb.WatchEvent.DELETED,
    "BOOKMARK": pb.WatchEvent.BOOKMARK,
    "ERROR": pb.WatchEvent.ERROR,
}


class GrpcAggregated:
    def __init__(self, calls: AggregatedCalls) -> None:
        self._calls = calls

    def remote(self, target: Any) -> Remote | None:
        """Who serves a call's target, when it is not us."""
        return self._calls.remote(target.group, target.version)

    async def raw(self, message: Any, user: User) -> bytes:
        return pb.Object(json=await self._calls.raw(message.path, user)).SerializeToString()

    async def object(
        self,
        verb: str,
        remote: Remote,
        target: Any,
        user: User,
        *,
        body: bytes = b"",
        patch: PatchType | None = None,
        options: ListOptions | None = None,
        write: WriteOptions | None = None,
    ) -> bytes:
        raw, warnings = await self._calls.one(
            verb, remote, target, user, body=body, patch=patch, options=options, write=write
        )
        return pb.Object(json=raw, warnings=warnings).SerializeToString()

    async def list(self, remote: Remote, target: Any, user: User, options: ListOptions) -> bytes:
        raw, _ = await self._calls.one("list", remote, target, user, options=options)
        found = orjson.loads(raw)
        items, metadata = found.get("items") or [], found.get("metadata") or {}
        kind = str(found.get("kind") or "").removesuffix("List")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise errors.internal(f"{remote.name} answered with something that is no list")
        for item in items:
            # Items of a list leave out what the list says of all.
            item.setdefault("apiVersion", found.get("apiVersion"))
            item.setdefault("kind", kind)
        answer = pb.ObjectList(
            items=[orjson.dumps(item) for item in items],
            resource_version=str(metadata.get("resourceVersion") or ""),
            remaining_item_count=int(metadata.get("remainingItemCount") or 0),
        )
        setattr(answer, "continue", str(metadata.get("continue") or ""))
        return answer.SerializeToString()

    async def watch(self, remote: Remote, target: Any, user: User, options: ListOptions) -> AsyncIterator[bytes]:
        async for event in self._calls.watch(remote, target, user, options):
            kind = _EVENTS.get(str(event.get("type")))
            if kind is None:
                raise errors.internal("an event of an aggregated API makes no sense")
            message = pb.WatchEvents()
            item = message.events.add()
            item.type, item.json = kind, orjson.dumps(event["object"])
            yield message.SerializeToString()
