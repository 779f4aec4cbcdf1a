"""Member links over the memory network: what the simulator and tests use in place of TCP.

Each member serves one stream and reads it from every other one, so that a MemoryNetwork's partitions, latencies and
crashes hold for Raft as they do for clients. More than half of a simulated cluster's messages are these, so nothing
wakes a task for one: they are handed over where they arrive. No threads, no iterated sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from argosy import logs
from argosy.rpc import Code, Methods, RpcError
from argosy.rpc_memory import Exchange, MemoryHost, MemoryServer
from etcd import messages

log = logs.get("etcd.sim_peers")

METHOD = "/argosy.etcd.Peers/Listen"
REDIAL_S = 0.2
MAX_QUEUED = 20_000
CONGESTED = 64


class RpcPeers:
    """`etcd.transport.Peers` over a MemoryNetwork. A link is up while each side listens to the other."""

    def __init__(self, network: MemoryHost, name: str, cluster_id: int, addresses: Mapping[str, str]) -> None:
        self._network = network
        self._name = name
        self._cluster_id = cluster_id
        self._addresses = dict(addresses)
        self._server: MemoryServer | None = None
        self._stopped = False
        self._outboxes: dict[str, Exchange] = {}
        self._inboxes: dict[str, Exchange] = {}
        self._hearing: dict[str, bool] = {}
        self._up: dict[str, bool] = {}

    async def start(
        self,
        on_message: Callable[[str, messages.Any], None],
        on_up: Callable[[str], None],
        on_down: Callable[[str], None],
    ) -> None:
        self._on_message, self._on_up, self._on_down = on_message, on_up, on_down
        self._server = await self._network.serve(self._addresses[self._name], Methods({}, {}))
        self._server.fed[METHOD] = self._serve
        for name in self._addresses:
            if name != self._name:
                self._listen(name)

    def send(self, peer: str, data: bytes) -> bool:
        outbox = self._outboxes.get(peer)
        if outbox is None:
            return False
        if outbox.under_way >= MAX_QUEUED:
            self._close(peer, outbox)
            return False
        return outbox.put(data)

    def congested(self, peer: str) -> bool:
        outbox = self._outboxes.get(peer)
        return outbox is None or outbox.under_way > CONGESTED

    async def stop(self) -> None:
        self._stopped = True
        for peer, outbox in list(self._outboxes.items()):
            self._close(peer, outbox)
        for inbox in self._inboxes.values():
            inbox.client_done()
        if self._server is not None:
            await self._server.stop(0)

    def _serve(self, request: bytes, outbox: Exchange) -> None:
        hello = msgspec.msgpack.decode(request, type=messages.Hello)
        if hello.cluster_id != self._cluster_id or hello.to != self._name or hello.name not in self._addresses:
            outbox.finish(RpcError(Code.PERMISSION_DENIED, "of another cluster"))
            return
        old = self._outboxes.get(hello.name)
        self._outboxes[hello.name] = outbox
        if old is not None:
            old.finish()
        outbox.on_gone = lambda: self._close(hello.name, outbox)
        outbox.put(b"")
        self._change(hello.name)

    def _close(self, peer: str, outbox: Exchange) -> None:
        outbox.finish()
        if self._outboxes.get(peer) is outbox:
            del self._outboxes[peer]
            self._change(peer)

    def _listen(self, peer: str) -> None:
        if self._stopped or self._network.dead:
            return
        hello = messages.encode(messages.Hello(messages.PROTOCOL, self._cluster_id, self._name, peer))
        take, lose = partial(self._take, peer), partial(self._lose, peer)
        self._inboxes[peer] = self._network.listen(self._addresses[peer], METHOD, hello, take, lose)

    def _take(self, peer: str, data: bytes) -> None:
        if self._stopped:
            return
        if data:
            self._on_message(peer, messages.decode(data))
        else:
            self._hearing[peer] = True
            self._change(peer)

    def _lose(self, peer: str) -> None:
        if self._stopped:
            return
        log.debug("link lost", peer=peer)
        self._hearing[peer] = False
        self._change(peer)
        asyncio.get_running_loop().call_later(REDIAL_S, self._listen, peer)

    def _change(self, peer: str) -> None:
        up = self._hearing.get(peer, False) and peer in self._outboxes
        if up != self._up.get(peer, False):
            self._up[peer] = up
            (self._on_up if up else self._on_down)(peer)
