"""The stores that the suite runs on: ours in one process, ours as one and three real members, and Debian's etcd."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from google.protobuf.message import Message

from argosy.host import SeededRng, real_host
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Channel, GrpcNetwork, Network, RpcError, wait_ready
from argosy.rpc_memory import MemoryNetwork
from etcd.local import LocalStore
from tests.ports import free_ports

M = TypeVar("M", bound=Message)
NAMES = ("local", "one", "three", "etcd")


class Api:
    """Typed calls to one store, over all of its members in turn."""

    def __init__(self, channels: list[Channel], prefix: bytes) -> None:
        self._channels = channels
        self._turn = 0
        self.prefix = prefix
        """Every test has key space of its own."""

    def channel(self) -> Channel:
        self._turn += 1
        return self._channels[self._turn % len(self._channels)]

    async def call(self, method: str, request: Message, answer: type[M]) -> M:
        data = await self.channel().unary(f"/etcdserverpb.{method}", request.SerializeToString(), timeout_s=20)
        return answer.FromString(data)

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        return await self.call("KV/Range", request, pb.RangeResponse)

    async def get(self, key: bytes, revision: int = 0) -> pb.KeyValue | None:
        answer = await self.range(pb.RangeRequest(key=self.prefix + key, revision=revision))
        return answer.kvs[0] if answer.kvs else None

    async def put(self, key: bytes, value: bytes = b"", lease: int = 0) -> int:
        """The revision of the write."""
        request = pb.PutRequest(key=self.prefix + key, value=value, lease=lease)
        return (await self.call("KV/Put", request, pb.PutResponse)).header.revision

    async def delete(self, key: bytes) -> pb.DeleteRangeResponse:
        return await self.call("KV/DeleteRange", pb.DeleteRangeRequest(key=self.prefix + key), pb.DeleteRangeResponse)

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        return await self.call("KV/Txn", request, pb.TxnResponse)

    async def compact(self, revision: int, physical: bool = True) -> pb.CompactionResponse:
        request = pb.CompactionRequest(revision=revision, physical=physical)
        return await self.call("KV/Compact", request, pb.CompactionResponse)

    def end(self) -> bytes:
        """The end of this test's key space."""
        return self.prefix[:-1] + bytes([self.prefix[-1] + 1])

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[WatchStream]:
        stream = WatchStream(self.channel())
        try:
            yield stream
        finally:
            await stream.close()


class WatchStream:
    def __init__(self, channel: Channel) -> None:
        self._requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._answers = channel.stream("/etcdserverpb.Watch/Watch", self._feed())

    async def _feed(self) -> AsyncIterator[bytes]:
        while (request := await self._requests.get()) is not None:
            yield request

    def send(self, request: pb.WatchRequest) -> None:
        self._requests.put_nowait(request.SerializeToString())

    async def create(self, request: pb.WatchCreateRequest) -> pb.WatchResponse:
        self.send(pb.WatchRequest(create_request=request))
        return await self.next()

    async def next(self) -> pb.WatchResponse:
        return pb.WatchResponse.FromString(await asyncio.wait_for(anext(self._answers), 20))

    async def events(self, count: int) -> list[pb.Event]:
        """The next `count` events, over as many responses as they take."""
        events: list[pb.Event] = []
        while len(events) < count:
            events.extend((await self.next()).events)
        assert len(events) == count
        return events

    async def close(self) -> None:
        self._requests.put_nowait(None)
        await self._answers.aclose()  # type: ignore[attr-defined]


class Backend:
    """Runs a test's body against one store."""

    def __init__(self, name: str, addresses: list[str]) -> None:
        self.name = name
        self.addresses = addresses
        self._count = 0

    def run(self, body: Callable[[Api], Awaitable[None]]) -> None:
        self._count += 1
        asyncio.run(asyncio.wait_for(self._run(body, b"/%d/" % self._count), 60))

    async def _run(self, body: Callable[[Api], Awaitable[None]], prefix: bytes) -> None:
        network: Network
        if self.name == "local":
            network = MemoryNetwork(SeededRng(1)).host("one")
            store = LocalStore(real_host())
            server = await network.serve("10.0.0.1:2379", store.methods())
            channel = network.dial("10.0.0.1:2379")
            await body(Api([channel], prefix))
            await channel.close()
            store.close()
            await server.stop(0)
            return
        network = GrpcNetwork()
        channels = [network.dial(address) for address in self.addresses]
        try:
            await body(Api(channels, prefix))
        finally:
            for channel in channels:
                await channel.close()


def our_members(folder: Path, count: int, *flags: str) -> tuple[list[subprocess.Popen[bytes]], list[str]]:
    clients, peers = free_ports(count), free_ports(count)
    cluster = ",".join(f"m{at}=127.0.0.1:{port}" for at, port in enumerate(peers))
    processes = []
    for at in range(count):
        arguments = ["--name", f"m{at}", "--data-dir", str(folder / f"m{at}"), "--cluster-token", "conformance"]
        arguments += ["--listen-client", f"127.0.0.1:{clients[at]}", "--listen-peer", f"127.0.0.1:{peers[at]}"]
        arguments += ["--initial-cluster", cluster, "--log-level", "warning", *flags]
        processes.append(subprocess.Popen([sys.executable, "-m", "etcd", *arguments]))
    return processes, [f"127.0.0.1:{port}" for port in clients]


def debian_etcd(folder: Path) -> tuple[list[subprocess.Popen[bytes]], list[str]]:
    program = shutil.which("etcd")
    if program is None:
        pytest.skip("Debian's etcd-server is not installed")
    client, peer = free_ports(2)
    urls = [f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"]
    arguments = ["--name", "peer", "--data-dir", str(folder / "peer"), "--log-level", "error"]
    arguments += ["--listen-client-urls", urls[0], "--advertise-client-urls", urls[0]]
    arguments += ["--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1]]
    arguments += ["--initial-cluster", f"peer={urls[1]}"]
    return [subprocess.Popen([program, *arguments])], [f"127.0.0.1:{client}"]


async def _until_serving(addresses: list[str]) -> None:
    network = GrpcNetwork()
    for address in addresses:
        channel = network.dial(address)
        request = pb.RangeRequest(key=b"up").SerializeToString()
        await wait_ready(channel, "/etcdserverpb.KV/Range", request, timeout_s=60)
        await channel.close()


@contextlib.contextmanager
def backend(name: str) -> Iterator[Backend]:
    """Start a store and stop it afterwards. Skips where it is not installed."""
    if name == "local":
        yield Backend(name, [])
        return
    with tempfile.TemporaryDirectory() as folder:
        if name == "etcd":
            processes, addresses = debian_etcd(Path(folder))
        else:
            processes, addresses = our_members(Path(folder), 1 if name == "one" else 3)
        try:
            asyncio.run(_until_serving(addresses))
            yield Backend(name, addresses)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(20)


async def refused(awaitable: Awaitable[object]) -> tuple[str, str]:
    """Code name and message of a call that must fail."""
    with pytest.raises(RpcError) as caught:
        await awaitable
    return caught.value.code.name, caught.value.message
