"""A store of three members in one process on virtual time, with clients that check what they are told.

Clients raise counters by compare-and-swap, so that every acknowledged step is unique and a lost or doubled one
shows; readers check that linearizable reads never go back in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from argosy.host import Host, SeededRng
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Channel, RpcError
from argosy.rpc_memory import MemoryNetwork
from etcd.config import Config
from etcd.member import Member
from etcd.sim_member import sim_member
from tests.sim.virtual import SimDisk, VirtualClock

NAMES = ("m1", "m2", "m3")


class Cluster:
    def __init__(self, seed: int, **flags: int) -> None:
        self.rng = SeededRng(seed)
        self.network = MemoryNetwork(SeededRng(f"net{seed}"), latency_s=0.001, jitter_s=0.004, keepalive_s=4.0)
        self.disks = {name: SimDisk() for name in NAMES}
        self.members: dict[str, Member] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.flags = {"segment_bytes": 32 << 10, "snapshot_bytes": 8 << 10, "retain_bytes": 2 << 10, **flags}
        self.boots = 0

    def boot(self, name: str) -> None:
        self.boots += 1
        config = Config(
            name=name,
            data_dir=f"/{name}",
            listen_client=f"{name}:2379",
            listen_peer=f"{name}:2380",
            initial_cluster=tuple(f"{other}={other}:2380" for other in NAMES),
            **self.flags,  # type: ignore[arg-type]
        )
        loop = asyncio.get_running_loop()
        host = Host(VirtualClock(loop), SeededRng(f"{name}{self.boots}{self.rng.random()}"), self.disks[name])
        self.members[name] = member = sim_member(config, host, self.network.host(name))
        self.tasks[name] = loop.create_task(member.run())

    def lie(self) -> None:
        """From now on no disk does what datasync promises."""
        for disk in self.disks.values():
            disk.lies = True

    async def kill(self, *names: str, power: bool = True) -> None:
        """Crash members at the same moment; with `power`, their disks keep only what was synced."""
        dead = {name: self.tasks.pop(name) for name in names}
        for name, task in dead.items():
            self.network.crash(name)
            self.members.pop(name)
            task.cancel()
            if power:
                self.disks[name].power_cut()
        for task in dead.values():
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for name in names:
            if power:
                self.disks[name].power_cut()

    def leader(self) -> str:
        for name, member in self.members.items():
            if hasattr(member, "raft") and member.raft.is_leader:
                return name
        return ""

    async def until_converged(self) -> None:
        """All members are up and have applied the same."""
        while True:
            await asyncio.sleep(0.2)
            members = list(self.members.values())
            if len(members) == 3 and all(hasattr(one, "raft") for one in members):
                states = {(one.raft.commit_index, one.raft.applied_index, one.raft.leader) for one in members}
                if len(states) == 1 and all(commit == applied and leader for commit, applied, leader in states):
                    return

    async def close(self) -> None:
        for name in list(self.tasks):
            task = self.tasks.pop(name)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class Client:
    """Talks to all members in turn; `steps` holds every acknowledged (key, number)."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.channels: list[Channel] = [cluster.network.host(name).dial(f"{member}:2379") for member in NAMES]
        self.rng = SeededRng(f"{name}{cluster.rng.random()}")
        self.steps: list[tuple[bytes, int]] = []
        self.failures = 0

    async def call(self, method: str, request: bytes) -> bytes:
        channel = self.channels[self.rng.randrange(3)]
        return await channel.unary(f"/etcdserverpb.KV/{method}", request, timeout_s=3.0)

    async def read(self, key: bytes) -> int:
        answer = pb.RangeResponse.FromString(await self.call("Range", pb.RangeRequest(key=key).SerializeToString()))
        return int(answer.kvs[0].value) if answer.kvs else 0

    async def step(self, key: bytes) -> None:
        """Raise the counter by one, if nobody else does first."""
        number = await self.read(key)
        self.cluster_check(key, number)
        compare = pb.Compare(key=key, target=pb.Compare.VALUE, result=pb.Compare.EQUAL, value=b"%d" % number)
        if number == 0:
            compare = pb.Compare(key=key, target=pb.Compare.VERSION, result=pb.Compare.EQUAL, version=0)
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"%d" % (number + 1)))
        request = pb.TxnRequest(compare=[compare], success=[put])
        answer = pb.TxnResponse.FromString(await self.call("Txn", request.SerializeToString()))
        if answer.succeeded:
            self.steps.append((key, number + 1))
            SEEN[key] = max(SEEN.get(key, 0), number + 1)

    def cluster_check(self, key: bytes, number: int) -> None:
        assert number >= self.floor, f"{key!r} went back to {number} from {self.floor}"

    floor = 0

    async def work(self, keys: list[bytes], until: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            key = self.rng.choice(keys)
            self.floor = SEEN.get(key, 0)
            try:
                await self.step(key)
            except RpcError:
                self.failures += 1
                await asyncio.sleep(0.1 * self.rng.random())
            await asyncio.sleep(0.02 * self.rng.random())


SEEN: dict[bytes, int] = {}
"""The greatest acknowledged number of each key: no read that starts later may give less."""


async def watch_all(cluster: Cluster, member: str, events: list[tuple[int, bytes, bytes]]) -> None:
    """Collect every change from the beginning, resuming at the revision reached when the stream breaks."""
    position = 1

    async def requests(start: int) -> AsyncIterator[bytes]:
        create = pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=start)
        yield pb.WatchRequest(create_request=create).SerializeToString()
        await asyncio.get_running_loop().create_future()

    while True:
        channel = cluster.network.host("watcher").dial(f"{member}:2379")
        try:
            async for data in channel.stream("/etcdserverpb.Watch/Watch", requests(position)):
                response = pb.WatchResponse.FromString(data)
                assert not response.canceled, response
                for event in response.events:
                    assert event.kv.mod_revision >= position
                    events.append((event.kv.mod_revision, event.kv.key, event.kv.value))
                if response.events:
                    position = response.events[-1].kv.mod_revision + 1
        except RpcError:
            pass
        await asyncio.sleep(0.2)
