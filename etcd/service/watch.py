"""etcdserverpb.Watch: one task reads a client's requests, the call itself sends what its stream has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Call, Methods, RpcError
from etcd.service.common import Store, parse
from etcd.watch import WatchStream


class WatchService:
    def __init__(self, store: Store) -> None:
        self._store = store

    def methods(self) -> Methods:
        return Methods({}, {"/etcdserverpb.Watch/Watch": self.watch})

    async def watch(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        stream = self._store.hub.stream()
        reader = asyncio.get_running_loop().create_task(_read(requests, stream))
        try:
            while (message := await stream.next()) is not None:
                yield message
            if reader.done() and not reader.cancelled() and reader.exception() is not None:
                await reader
        finally:
            reader.cancel()
            stream.close()


async def _read(requests: AsyncIterator[bytes], stream: WatchStream) -> None:
    """A client that only half-closes keeps its watches, as with etcd; a bad request ends the stream."""
    try:
        async for data in requests:
            request = parse(pb.WatchRequest, data)
            kind = request.WhichOneof("request_union")
            if kind == "create_request":
                stream.create(request.create_request)
            elif kind == "cancel_request":
                stream.cancel(request.cancel_request.watch_id)
            elif kind == "progress_request":
                stream.request_progress()
    except RpcError:
        stream.close()
        raise
