"""The API server while its store is away, cut off, or answers without having been heard."""

from __future__ import annotations

import asyncio
import gc

from argosy.host import Host, RealClock, RealDisk, SeededRng
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Call, Code, Methods, RpcError
from argosy.rpc_memory import MemoryNetwork
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.cache.feeder import Feeder
from control_plane.apiserver.cache.resource import ResourceCache
from control_plane.apiserver.storage import etcd as etcd_client
from control_plane.apiserver.storage.encryption.transformer import Transformer
from control_plane.apiserver.storage.etcd import EtcdClient
from control_plane.apiserver.storage.store import Changed, Claims, Store
from etcd.local import LocalStore

OBJECT = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s","namespace":"default","uid":"%s"}}'


class Two:
    """One store behind two addresses on two hosts."""

    def __init__(self) -> None:
        self.host = Host(RealClock(), SeededRng(1), RealDisk())
        self.network = MemoryNetwork(SeededRng(2))
        self.local = LocalStore(self.host)
        self.client = EtcdClient(self.network.host("api"), ["s1:1", "s2:1"])
        self.store = Store(self.client, Transformer(self.host))

    async def serve(self, first: Methods | None = None) -> None:
        await self.network.host("s1").serve("s1:1", first or self.local.methods())
        await self.network.host("s2").serve("s2:1", self.local.methods())


def test_calls_and_watch_go_on_at_the_other_endpoint(monkeypatch):
    monkeypatch.setattr(etcd_client, "ATTEMPT_TIMEOUT_S", 0.1)

    async def body():
        two = Two()
        await two.serve()
        feeder = Feeder(two.store)
        cache = ResourceCache("/registry/configmaps/")
        feeder.add(cache)
        running = asyncio.create_task(feeder.run())
        await feeder.ready.wait()
        await two.store.create("/registry/configmaps/default/a", OBJECT % (b"a", b"1"))
        await feeder.consistent()
        two.network.crash("s1")
        await two.store.create("/registry/configmaps/default/b", OBJECT % (b"b", b"2"))
        await feeder.consistent()
        assert [entry.key for entry in cache.select()] == ["default/a", "default/b"]
        running.cancel()

    asyncio.run(body())


def test_a_read_that_nobody_waits_for_any_more_fails_in_silence(monkeypatch):
    """Callers that share a read of the revision may all be gone when it fails: nothing is left to be reported."""
    monkeypatch.setattr(etcd_client, "GIVE_UP_S", 0.05)

    async def body():
        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["message"]))
        two = Two()
        caller = asyncio.create_task(two.store.revision())
        await asyncio.sleep(0)
        caller.cancel()
        while any(task is not asyncio.current_task() for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
        del caller
        two.store = None
        gc.collect()
        assert reported == []

    asyncio.run(body())


def test_a_write_whose_answer_was_lost_is_not_taken_for_a_conflict(monkeypatch):
    monkeypatch.setattr(etcd_client, "ATTEMPT_TIMEOUT_S", 0.1)

    async def body():
        two = Two()
        local = two.local.methods()
        deaf = {"on": True}

        async def txn(request, call):
            answer = await local.unary["/etcdserverpb.KV/Txn"](request, call)
            if deaf["on"]:
                raise RpcError(Code.UNAVAILABLE, "gone before the answer")
            return answer

        await two.serve(Methods({**local.unary, "/etcdserverpb.KV/Txn": txn}, local.stream))
        key = "/registry/configmaps/default/a"
        revision = await two.store.create(key, OBJECT % (b"a", b"1"))
        stored = await two.store.read(key)
        assert stored is not None
        assert stored.revision == revision
        two.client._current = 0
        revision = await two.store.replace(key, OBJECT % (b"a", b"1x"), revision)
        two.client._current = 0
        await two.store.remove(key, revision)
        assert await two.store.read(key) is None
        try:
            await two.store.replace(key, b"{}", revision)
        except Changed as changed:
            assert changed.current is None
        else:
            raise AssertionError("a removed key was replaced")

    asyncio.run(body())


def test_stored_bytes_come_back_with_their_revision():
    entry = Entry.stored("default/a", OBJECT % (b"a", b"1"), 42)
    assert entry.obj["metadata"]["resourceVersion"] == "42"
    foreign = b'{"metadata": {"name": "a"}, "kind": "ConfigMap", "apiVersion": "v1", "data": {"metadata": "x"}}'
    entry = Entry.stored("default/a", foreign, 43)
    assert (entry.obj["metadata"], entry.obj["data"]) == (
        {"resourceVersion": "43", "name": "a"},
        {"metadata": "x"},
    )


def test_a_creation_that_comes_late_has_no_effect(monkeypatch):
    """A member may hold what it cannot pass on, and do so when the object was made by another and is gone again."""
    monkeypatch.setattr(etcd_client, "ATTEMPT_TIMEOUT_S", 0.1)

    async def body():
        two = Two()
        local = two.local.methods()
        held = []

        async def txn(request, call):
            held.append(request)
            await asyncio.Event().wait()

        await two.serve(Methods({**local.unary, "/etcdserverpb.KV/Txn": txn}, local.stream))
        key = "/registry/configmaps/default/a"
        claims = Claims(take={"/registry/ranges/ip": b"a"})
        revision = await two.store.create(key, OBJECT % (b"a", b"1"), claims)
        await two.store.remove(key, revision, Claims(release=("/registry/ranges/ip",)))
        (late,) = held
        answer = pb.TxnResponse.FromString(await local.unary["/etcdserverpb.KV/Txn"](late, Call("late")))
        assert not answer.succeeded
        assert await two.store.read(key) is None and await two.store.read("/registry/ranges/ip") is None
        # A client that knows only the fence of before learns of the new one, and is not held up.
        other = Store(EtcdClient(two.network.host("other"), ["s2:1"]), Transformer(two.host))
        await other.create(key, OBJECT % (b"a", b"2"))
        try:
            await other.create(key, OBJECT % (b"a", b"3"))
        except Changed as changed:
            assert changed.current is not None and b'"2"' in changed.current.value
        else:
            raise AssertionError("made twice")

    asyncio.run(body())
