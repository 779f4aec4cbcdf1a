"""Clients that watch: at the store and at the API servers, through every break, with nothing lost and nothing twice.

Each keeps what it was told, and the stretches that it could not see because its position had been compacted. `check`
holds that against the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import orjson

from argosy.client import EventType
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import RpcError
from etcd.history import Item
from tests.sim.ledger import Ledger
from tests.sim.world import World

PAUSE_S = 0.3


class Gaps:
    """Stretches of revisions, each (after, up to)."""

    def __init__(self) -> None:
        self.stretches: list[tuple[int, int]] = []

    def add(self, after: int, up_to: int) -> None:
        self.stretches.append((after, up_to))

    def __contains__(self, revision: int) -> bool:
        return any(after < revision <= up_to for after, up_to in self.stretches)


class EtcdWatcher:
    """The whole store from the beginning, from some members in turn."""

    def __init__(self, world: World, name: str, members: tuple[str, ...]) -> None:
        self.name = name
        self.next_revision = 1
        self._world = world
        self._members = members
        self._gaps = Gaps()
        self._seen: list[tuple[int, bytes, bytes]] = []
        self._breaks = 0

    async def run(self) -> None:
        while True:
            member = self._members[self._breaks % len(self._members)]
            channel = self._world.network.host(self.name).dial(f"{member}:2379")
            try:
                async for data in channel.stream("/etcdserverpb.Watch/Watch", self._requests()):
                    if not self._take(pb.WatchResponse.FromString(data)):
                        break
            except RpcError as error:
                self._world.trace.line("watch broke", watcher=self.name, at=self.next_revision, code=error.code.name)
            await channel.close()
            self._breaks += 1
            await asyncio.sleep(PAUSE_S)

    async def _requests(self) -> AsyncIterator[bytes]:
        create = pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=self.next_revision)
        yield pb.WatchRequest(create_request=create).SerializeToString()
        await asyncio.get_running_loop().create_future()

    def _take(self, response: pb.WatchResponse) -> bool:
        """False when the watch is over."""
        if response.canceled:
            if response.compact_revision <= self.next_revision:
                self._world.violation(f"{self.name}: {response} at {self.next_revision}")
            self._gaps.add(self.next_revision - 1, response.compact_revision - 1)
            self.next_revision = response.compact_revision
            return False
        for event in response.events:
            if event.kv.mod_revision < self.next_revision:
                self._world.violation(f"{self.name}: {event.kv.mod_revision} came after {self.next_revision - 1}")
            self._seen.append((event.kv.mod_revision, event.kv.key, event.kv.SerializeToString()))
        if response.events:
            self.next_revision = response.events[-1].kv.mod_revision + 1
        return True

    def behind(self, ledger: Ledger) -> bool:
        return self.next_revision <= ledger.revision

    def check(self, ledger: Ledger) -> None:
        expected = [
            (item.mod_revision, item.key, item.encoded)
            for item in ledger.items()
            if item.mod_revision not in self._gaps
        ]
        _compare(self._world, self.name, expected, self._seen)


class ApiWatcher:
    """One resource in one namespace from some API servers, as an informer watches it."""

    def __init__(
        self, world: World, name: str, apis: tuple[str, ...], group: str, plural: str, *, fields: str = ""
    ) -> None:
        self.name = name
        self.objects: dict[str, JsonObject] = {}
        self.revision = 0
        self._world = world
        self._fields = fields
        self._source = world.client(name, apis).resource(group, "v1", plural)
        self._prefix = f"/registry/{group + '/' if group else ''}{plural}/default/".encode()
        self._gaps = Gaps()
        self._seen: list[tuple[int, str, JsonObject]] = []
        self._listed = False

    async def run(self) -> None:
        while True:
            try:
                if not self._listed:
                    await self._list()
                await self._watch()
            except ApiError as error:
                self._world.trace.line("watch broke", watcher=self.name, at=self.revision, code=error.code)
                if error.code == 410:
                    self._listed = False
            await asyncio.sleep(PAUSE_S)

    async def _list(self) -> None:
        found = await self._source.list(namespace="default", fields=self._fields)
        revision = int(found.resource_version)
        if revision < self.revision:
            self._world.violation(f"{self.name}: a list at {revision} came after {self.revision}")
        self._gaps.add(self.revision, revision)
        self.objects = {meta.name(item): item for item in found.items}
        self.revision = revision
        self._listed = True

    async def _watch(self) -> None:
        async for event in self._source.watch(
            namespace="default", fields=self._fields, resource_version=str(self.revision), bookmarks=True
        ):
            revision = int(meta.resource_version(event.object))
            if revision < self.revision or (revision == self.revision and event.type is not EventType.BOOKMARK):
                self._world.violation(f"{self.name}: {event.type.name} {revision} came after {self.revision}")
            self.revision = revision
            if event.type is EventType.BOOKMARK:
                continue
            self._seen.append((revision, event.type.name, event.object))
            if event.type is EventType.DELETED:
                self.objects.pop(meta.name(event.object), None)
            else:
                self.objects[meta.name(event.object)] = event.object

    def behind(self, ledger: Ledger) -> bool:
        newest = max((item.mod_revision for item in ledger.items(self._prefix, self.revision)), default=0)
        return newest > self.revision

    def check(self, ledger: Ledger) -> None:
        """Every change of the store was told once, in order, with its type and its object."""
        if self._fields:
            return
        expected: list[tuple[int, str, JsonObject]] = []
        before: dict[bytes, Item] = {}
        for item in ledger.items(self._prefix):
            old = before.pop(item.key, None)
            if item.version:
                before[item.key] = item
            if item.mod_revision in self._gaps:
                continue
            kind = "ADDED" if old is None else "MODIFIED" if item.version else "DELETED"
            shown = item if item.version else old
            assert shown is not None
            obj = orjson.loads(shown.value)
            obj["metadata"]["resourceVersion"] = str(item.mod_revision)
            expected.append((item.mod_revision, kind, obj))
        _compare(self._world, self.name, expected, self._seen)


def _compare(world: World, name: str, expected: Sequence[object], seen: Sequence[object]) -> None:
    """The first difference is reported."""
    for want, got in zip(expected, seen, strict=False):
        if want != got:
            world.violation(f"{name} was told {got} where the store has {want}")
            return
    if len(expected) != len(seen):
        longer = expected if len(expected) > len(seen) else seen
        more = longer[min(len(expected), len(seen))]
        world.violation(f"{name} was told {len(seen)} changes of {len(expected)}; the next is {more}")
