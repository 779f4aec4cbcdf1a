"""The state machine against a dumb model: every revision's whole content is kept and compared."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.host import SeededRng, real_host
from argosy.pb import etcd_pb2 as pb
from etcd.errors import StoreError
from etcd.history import Item
from etcd.keys import CHUNK_KEYS, SortedKeys
from etcd.lease import LeaseClock, Leases
from etcd.local import LocalStore
from etcd.machine import Kind, Machine
from etcd.segments import RangeIndex
from etcd.snapshot import Head, read, write
from tests.sim.virtual import SimDisk

KEYS = [b"a", b"a1", b"b", b"b\0", b"c", b"d"]
keys = st.sampled_from(KEYS)
put = st.tuples(st.just("put"), keys, st.binary(max_size=3))
delete = st.tuples(st.just("delete"), keys, st.sampled_from([b"", b"\0", b"b", b"c", b"zz"]))
txn = st.tuples(st.just("txn"), st.lists(put, max_size=3), st.lists(delete, max_size=2))
compact = st.tuples(st.just("compact"), st.integers(0, 8), st.booleans())
snapshot = st.tuples(st.just("snapshot"), st.none(), st.none())


class Model:
    """What etcd promises, with no thought of cost."""

    def __init__(self) -> None:
        self.states: list[dict[bytes, tuple[bytes, int, int, int]]] = [{}, {}]
        self.compacted = 0

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def write(self, operations: list[tuple[str, bytes, bytes]]) -> None:
        state = dict(self.states[-1])
        revision = self.revision + 1
        changed = False
        for kind, key, argument in operations:
            if kind == "put":
                _, create, _, version = state.get(key, (b"", revision, 0, 0))
                state[key] = (argument, create, revision, version + 1)
                changed = True
            else:
                for found in self.inside(state, key, argument):
                    del state[found]
                    changed = True
        if changed:
            self.states.append(state)

    @staticmethod
    def inside(state: dict[bytes, tuple[bytes, int, int, int]], key: bytes, end: bytes) -> list[bytes]:
        if not end:
            return [key] if key in state else []
        return sorted(one for one in state if key <= one and (end == b"\0" or one < end))


def run_txn(machine: Machine, operations: list[tuple[str, bytes, bytes]]) -> bool:
    request = pb.TxnRequest()
    for kind, key, argument in operations:
        if kind == "put":
            request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=argument))
        else:
            request.success.add().request_delete_range.CopyFrom(pb.DeleteRangeRequest(key=key, range_end=argument))
    try:
        machine.apply(Kind.TXN, request.SerializeToString())
    except StoreError as error:
        assert error.message == "etcdserver: duplicate key given in txn request"
        return False
    return True


def compare(machine: Machine, model: Model) -> None:
    assert machine.history.revision == model.revision
    for revision in range(max(1, model.compacted), model.revision + 1):
        for start, end in ((b"\0", b"\0"), (b"a1", b"c"), (b"b", b"")):
            request = pb.RangeRequest(key=start, range_end=end, revision=revision)
            answer = pb.RangeResponse.FromString(machine.range(request))
            state = model.states[revision]
            expected = [(key, *state[key]) for key in Model.inside(state, start, end)]
            got = [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in answer.kvs]
            assert got == expected and answer.count == len(expected)
            counted = pb.RangeRequest(key=start, range_end=end, revision=revision, count_only=True)
            assert pb.RangeResponse.FromString(machine.range(counted)).count == len(expected)
    versions = [*machine.history.current.values(), *(item for past in machine.history.past.values() for item in past)]
    assert machine.history.size_bytes == sum(len(item.encoded) for item in versions)


def through_snapshot(machine: Machine) -> Machine:
    """Write, read and restore; the new machine must be the same."""
    disk = SimDisk()
    history = machine.history
    head = Head(1, 1, (b"", 2, 1), (b"", 1, 1), history.revision, history.compacted, [], [], [])
    write(disk, "/s", head, history.capture())
    again = Machine()
    read(disk, "/s", 1).restore(again)
    assert again.hash(0) == machine.hash(0)
    again.history.drop(10**6)
    return again


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(put, delete, txn, compact, snapshot), max_size=25))
def test_the_machine_is_the_model(operations: list[tuple]) -> None:  # type: ignore[type-arg]
    machine, model = Machine(), Model()
    for operation in operations:
        kind = operation[0]
        if kind == "txn":
            both = [*operation[1], *operation[2]]
            if run_txn(machine, both):
                model.write(both)
        elif kind == "compact":
            revision = model.revision - operation[1]
            request = pb.CompactionRequest(revision=revision).SerializeToString()
            if revision > model.compacted:
                machine.apply(Kind.COMPACT, request)
                model.compacted = revision
                if operation[2]:
                    machine.history.drop(10**6)
            else:
                with pytest.raises(StoreError):
                    machine.apply(Kind.COMPACT, request)
        elif kind == "snapshot":
            machine.history.drop(10**6)
            machine = through_snapshot(machine)
        elif kind == "put":
            machine.apply(Kind.PUT, pb.PutRequest(key=operation[1], value=operation[2]).SerializeToString())
            model.write([operation])
        else:
            request = pb.DeleteRangeRequest(key=operation[1], range_end=operation[2]).SerializeToString()
            machine.apply(Kind.DELETE_RANGE, request)
            model.write([operation])
    while machine.history.drop(1):
        pass
    compare(machine, model)


def test_compaction_frees_memory() -> None:
    machine = Machine()
    for number in range(1000):
        machine.apply(Kind.PUT, pb.PutRequest(key=b"%d" % (number % 10), value=bytes(100)).SerializeToString())
    machine.apply(Kind.DELETE_RANGE, pb.DeleteRangeRequest(key=b"5", range_end=b"\0").SerializeToString())
    machine.apply(Kind.COMPACT, pb.CompactionRequest(revision=machine.history.revision).SerializeToString())
    while machine.history.drop(100):
        pass
    history = machine.history
    assert (len(history.current), history.past, len(history.changes)) == (5, {}, 5)
    assert history.size_bytes == sum(len(item.encoded) for item in history.current.values())


def test_commands_that_are_garbage_change_nothing() -> None:
    machine = Machine()
    before = machine.hash(0)
    for kind in (*Kind, 99):
        try:
            machine.apply(kind, b"\xff\xfe\xfd")
        except StoreError:
            continue
        raise AssertionError(kind)
    assert machine.hash(0) == before


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_sorted_keys_are_a_sorted_list(seed: int) -> None:
    rng = SeededRng(seed)
    found: set[bytes] = set()
    ours = SortedKeys()
    for _ in range(3 * CHUNK_KEYS):
        key = b"%d" % rng.randrange(4 * CHUNK_KEYS)
        if key in found and rng.random() < 0.4:
            found.remove(key)
            ours.remove(key)
        elif key not in found:
            found.add(key)
            ours.add(key)
    start, end = b"%d" % rng.randrange(9999), b"%d" % rng.randrange(9999)
    for low, high in ((start, end), (start, None), (b"", b"")):
        expected = sorted(key for key in found if key >= low and (high is None or key < high))
        assert list(ours.between(low, high)) == expected and ours.count(low, high) == len(expected)
    assert len(ours) == len(found) and all(key in ours for key in list(found)[:50]) and b"x" not in ours


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.binary(max_size=2)), max_size=20), st.data())
def test_the_range_index_finds_all(ranges: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    index: RangeIndex[tuple[bytes, bytes | None]] = RangeIndex()
    distinct = {(low, high or None) for low, high in ranges if not high or high > low}
    distinct |= {(low, low + b"\0") for low, _ in ranges}
    for one in sorted(distinct, key=repr):
        index.add(*one, one)
    gone = data.draw(st.lists(st.sampled_from(sorted(distinct, key=repr)), unique=True)) if distinct else []
    for one in gone:
        index.remove(*one, one)
    left = distinct - set(gone)
    for key in {bound for pair in distinct for bound in pair if bound is not None} | {b"", b"\xff\xff"}:
        expected = {(low, high) for low, high in left if low <= key and (high is None or key < high)}
        assert set(index.find(key)) == expected
    for one in left:
        index.remove(*one, one)
    assert len(index) == 1, "nothing is left behind"


def test_items_survive_encoding() -> None:
    item = Item.make(b"k", b"v" * 300, 1, 2**40, 3, -5)
    again = Item.decode(item.encoded)
    assert (again.key, again.value, again.mod_revision, again.lease) == (b"k", b"v" * 300, 2**40, -5)


def test_the_lease_clock() -> None:
    leases = Leases()
    clock = LeaseClock(leases)
    for lease in (1, 2, 3):
        leases.grant(lease, 10)
        clock.touch(lease, 100.0)
    clock.touch(2, 105.0)
    leases.remove(3)
    assert clock.next_s(100.0) == 10 and clock.expired(109.9) == []
    assert clock.expired(110.0) == [1] and clock.expired(111.0) == []
    clock.retry(1, 112.0)
    assert clock.expired(112.0) == [1] and clock.left_s(2, 112.0) == 3
    for _ in range(1000):
        clock.touch(2, 200.0)
    assert len(clock._queue) < 100
    clock.promote(300.0)
    assert clock.left_s(1, 300.0) == 10 and clock.expired(310.0) == [1, 2]


def test_a_slow_watch_is_caught_up_from_history() -> None:
    async def body() -> None:
        store = LocalStore(real_host())
        stream = store.hub.stream()
        stream.create(pb.WatchCreateRequest(key=b"a", range_end=b"\0"))
        for number in range(100):
            store.apply(Kind.PUT, pb.PutRequest(key=b"k%d" % number, value=bytes(200_000)).SerializeToString())
        queued = stream._out_bytes
        assert queued < 6 << 20, "the queue is bounded"
        seen = []
        stream.request_progress()
        while True:
            message = await stream.next()
            assert message is not None
            response = pb.WatchResponse.FromString(message)
            if response.watch_id == -1:
                break
            seen += [event.kv.key for event in response.events]
        assert seen == [b"k%d" % number for number in range(100)]
        assert response.header.revision == 101
        store.close()

    asyncio.run(body())


def test_a_watch_that_fell_behind_a_compaction_is_cancelled() -> None:
    async def body() -> None:
        store = LocalStore(real_host())
        stream = store.hub.stream()
        stream.create(pb.WatchCreateRequest(key=b"a", range_end=b"\0"))
        for number in range(40):
            store.apply(Kind.PUT, pb.PutRequest(key=b"k%d" % number, value=bytes(200_000)).SerializeToString())
        store.apply(Kind.COMPACT, pb.CompactionRequest(revision=41).SerializeToString())
        count = 0
        while True:
            message = await stream.next()
            assert message is not None
            response = pb.WatchResponse.FromString(message)
            count += len(response.events)
            if response.canceled:
                break
        assert 0 < count < 40 and response.compact_revision == 41
        store.close()

    asyncio.run(body())


def test_fragments() -> None:
    async def body() -> None:
        store = LocalStore(real_host())
        stream = store.hub.stream()
        stream.create(pb.WatchCreateRequest(key=b"a", range_end=b"\0", fragment=True))
        ops = [pb.RequestOp(request_put=pb.PutRequest(key=b"k%02d" % at, value=bytes(100_000))) for at in range(30)]
        store.apply(Kind.TXN, pb.TxnRequest(success=ops).SerializeToString())
        parts = []
        await stream.next()
        while not parts or parts[-1].fragment:
            message = await stream.next()
            assert message is not None and len(message) < 1_300_000
            parts.append(pb.WatchResponse.FromString(message))
        assert len(parts) >= 3
        assert [event.kv.key for part in parts for event in part.events] == [b"k%02d" % at for at in range(30)]
        store.close()

    asyncio.run(body())
