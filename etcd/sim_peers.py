"""Member links over the RPC seam: what the simulator and tests use in place of TCP.

Each member serves one streaming method and reads it from every other one, so that a MemoryNetwork's partitions,
latencies and crashes hold for Raft as they do for clients. No threads, no iterated sets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from argosy import logs
from argosy.rpc import Call, Code, Methods, Network, RpcError, Server, Tls
from etcd import messages

log = logs.get("etcd.sim_peers")

METHOD = "/argosy.etcd.Peers/Listen"
REDIAL_S = 0.2
MAX_QUEUED = 20_000
CONGESTED = 64


class Outbox:
    """Messages on their way to one peer that is listening."""

    def __init__(self) -> None:
        self.queue: deque[bytes] = deque()
        self.closed = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, data: bytes) -> bool:
        if self.closed or len(self.queue) >= MAX_QUEUED:
            self.close()
            return False
        self.queue.append(data)
        self._wake()
        return True

    def close(self) -> None:
        self.closed = True
        self._wake()

    async def get(self) -> bytes | None:
        while not self.queue:
            if self.closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.queue.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class RpcPeers:
    """`etcd.transport.Peers` over an `argosy.rpc.Network`. A link is up while each side listens to the other."""

    def __init__(
        self, network: Network, name: str, cluster_id: int, addresses: Mapping[str, str], tls: Tls | None = None
    ) -> None:
        self._network = network
        self._name = name
        self._cluster_id = cluster_id
        self._addresses = dict(addresses)
        self._tls = tls
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._outboxes: dict[str, Outbox] = {}
        self._hearing: dict[str, bool] = {}
        self._up: dict[str, bool] = {}

    async def start(
        self,
        on_message: Callable[[str, messages.Any], None],
        on_up: Callable[[str], None],
        on_down: Callable[[str], None],
    ) -> None:
        self._on_message, self._on_up, self._on_down = on_message, on_up, on_down
        methods = Methods({}, {METHOD: self._serve})
        self._server = await self._network.serve(self._addresses[self._name], methods, self._tls)
        for name in self._addresses:
            if name != self._name:
                self._tasks.append(asyncio.get_running_loop().create_task(self._listen(name)))

    def send(self, peer: str, data: bytes) -> bool:
        outbox = self._outboxes.get(peer)
        return outbox is not None and outbox.put(data)

    def congested(self, peer: str) -> bool:
        outbox = self._outboxes.get(peer)
        return outbox is None or len(outbox.queue) > CONGESTED

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for outbox in self._outboxes.values():
            outbox.close()
        if self._server is not None:
            await self._server.stop(0)

    async def _serve(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        hello = msgspec.msgpack.decode(await anext(requests), type=messages.Hello)
        if hello.cluster_id != self._cluster_id or hello.to != self._name or hello.name not in self._addresses:
            raise RpcError(Code.PERMISSION_DENIED, "of another cluster")
        old = self._outboxes.get(hello.name)
        if old is not None:
            old.close()
        outbox = self._outboxes[hello.name] = Outbox()
        self._change(hello.name)
        try:
            yield b""
            while (data := await outbox.get()) is not None:
                yield data
        finally:
            outbox.close()
            if self._outboxes.get(hello.name) is outbox:
                del self._outboxes[hello.name]
                self._change(hello.name)

    async def _listen(self, peer: str) -> None:
        channel = self._network.dial(self._addresses[peer], self._tls)
        hello = messages.encode(messages.Hello(messages.PROTOCOL, self._cluster_id, self._name, peer))
        while True:
            try:
                async for data in channel.stream(METHOD, hello):
                    if data:
                        self._on_message(peer, messages.decode(data))
                    else:
                        self._hearing[peer] = True
                        self._change(peer)
            except (RpcError, msgspec.DecodeError) as error:
                log.debug("link lost", peer=peer, error=error)
            self._hearing[peer] = False
            self._change(peer)
            await asyncio.sleep(REDIAL_S)

    def _change(self, peer: str) -> None:
        up = self._hearing.get(peer, False) and peer in self._outboxes
        if up != self._up.get(peer, False):
            self._up[peer] = up
            (self._on_up if up else self._on_down)(peer)
