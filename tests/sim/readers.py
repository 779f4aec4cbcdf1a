"""Clients of single store members, while links between members are cut: each read must show what was acknowledged.

An API server asks whichever member answers; these ask one member and no other, so that a leader that was replaced
and does not know it is found out. What was read is held against the ledger afterwards.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from argosy.host import SeededRng
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Channel, RpcError
from etcd.history import Item
from tests.sim.world import STORES, World

PREFIX = b"/sim/"
KEYS = 4
PAUSE_S = 0.8
WRITE_S = 1.0
READ_S = 6.0
"""A client that waits longer gives up."""


@dataclass
class Floor:
    """What the readers of one run know together."""

    revision: int = 0
    """The newest that any of them was told: no later question may have an older answer."""
    reads: int = 0
    seen: list[tuple[str, bytes, int, bytes, int]] = field(default_factory=list)
    """Member, key, revision of the answer; value and its revision, nothing and 0 when there is no such key."""

    def check(self, world: World) -> None:
        """Every answer was the key's state at the revision that it named."""
        changes: dict[bytes, list[Item]] = {}
        for item in world.ledger.items(PREFIX):
            changes.setdefault(item.key, []).append(item)
        for member, key, at, value, revision in self.seen:
            before = [item for item in changes.get(key, ()) if item.mod_revision <= at]
            found = (before[-1].value, before[-1].mod_revision) if before else (b"", 0)
            if found != (value, revision):
                world.violation(f"{member} answered {key!r} at {at} with {value!r} of {revision}, not {found}")


class MemberClient:
    """Reads at one member, and now and then writes there."""

    def __init__(self, world: World, member: str, floor: Floor) -> None:
        self._world = world
        self._member = member
        self._floor = floor
        self._rng = SeededRng(f"reader/{member}/{world.seed}")
        self._name = f"reader-{member}"
        self._written = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_S * (0.5 + self._rng.random()))
            if not self._cut():
                continue
            channel = self._world.network.host(self._name).dial(f"{self._member}:2379")
            try:
                async with asyncio.timeout(READ_S):
                    await self._read(channel)
                async with asyncio.timeout(WRITE_S):
                    await self._write(channel)
            except (RpcError, TimeoutError) as error:
                self._world.trace.line("failed", reader=self._name, error=type(error).__name__)
            await channel.close()

    def _cut(self) -> bool:
        cut = self._world.network.is_cut
        return any(cut(one, two) for one in STORES for two in STORES)

    async def _read(self, channel: Channel) -> None:
        key, floor = self._key(), self._floor.revision
        request = pb.RangeRequest(key=key).SerializeToString()
        answer = pb.RangeResponse.FromString(await channel.unary("/etcdserverpb.KV/Range", request))
        at = answer.header.revision
        if at < floor:
            self._world.violation(f"{self._member} answered at revision {at} after {floor} was acknowledged")
        kv = answer.kvs[0] if answer.kvs else pb.KeyValue()
        self._floor.reads += 1
        self._floor.revision = max(self._floor.revision, at)
        self._floor.seen.append((self._member, key, at, kv.value, kv.mod_revision))

    async def _write(self, channel: Channel) -> None:
        self._written += 1
        put = pb.PutRequest(key=self._key(), value=b"%s %d" % (self._name.encode(), self._written))
        answer = pb.PutResponse.FromString(await channel.unary("/etcdserverpb.KV/Put", put.SerializeToString()))
        self._floor.revision = max(self._floor.revision, answer.header.revision)

    def _key(self) -> bytes:
        return PREFIX + b"%d" % self._rng.randrange(KEYS)
