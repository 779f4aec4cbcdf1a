"""KV: ranges, puts, deletes, transactions, compaction, and the words in which they are refused."""

import pytest

from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Code
from tests.conformance.etcd.backends import Api, Backend, refused

Range = pb.RangeRequest


def put(key: bytes, value: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))


def get(key: bytes, **options: object) -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, **options))  # type: ignore[arg-type]


def delete(key: bytes, range_end: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=range_end))


def test_versions_of_a_key(store: Backend) -> None:
    async def body(api: Api) -> None:
        first = await api.put(b"k", b"one")
        second = await api.put(b"k", b"two")
        assert second == first + 1
        kv = await api.get(b"k")
        assert kv is not None
        assert (kv.value, kv.create_revision, kv.mod_revision, kv.version) == (b"two", first, second, 2)
        assert kv.key == api.prefix + b"k"
        gone = await api.delete(b"k")
        assert (gone.deleted, gone.header.revision) == (1, second + 1)
        again = await api.delete(b"k")
        assert (again.deleted, again.header.revision) == (0, second + 1)
        assert await api.get(b"k") is None
        third = await api.put(b"k", b"three")
        kv = await api.get(b"k")
        assert kv is not None
        assert (kv.create_revision, kv.version) == (third, 1)

    store.run(body)


def test_history(store: Backend) -> None:
    async def body(api: Api) -> None:
        revisions = [await api.put(b"k", b"%d" % number) for number in range(3)]
        await api.put(b"other")
        gone = (await api.delete(b"k")).header.revision
        for number, revision in enumerate(revisions):
            kv = await api.get(b"k", revision)
            assert kv is not None and (kv.value, kv.version) == (b"%d" % number, number + 1)
        assert await api.get(b"k", revisions[0] - 1) is None
        assert (await api.get(b"k", gone - 1)) is not None
        assert await api.get(b"k", gone) is None
        whole = Range(key=api.prefix, range_end=api.end(), revision=revisions[1])
        answer = await api.range(whole)
        assert [(kv.key, kv.value) for kv in answer.kvs] == [(api.prefix + b"k", b"1")]
        assert (answer.count, answer.header.revision) == (1, gone)
        assert await refused(api.get(b"k", gone + 100)) == (
            "OUT_OF_RANGE",
            "etcdserver: mvcc: required revision is a future revision",
        )

    store.run(body)


def test_prev_kv_and_ignore_options(store: Backend) -> None:
    async def body(api: Api) -> None:
        key = api.prefix + b"k"

        async def write(**options: object) -> pb.PutResponse:
            request = pb.PutRequest(key=key, **options)  # type: ignore[arg-type]
            return await api.call("KV/Put", request, pb.PutResponse)

        for option in ("ignore_value", "ignore_lease"):
            assert await refused(write(**{option: True})) == ("INVALID_ARGUMENT", "etcdserver: key not found")
        assert not (await write(value=b"a", prev_kv=True)).HasField("prev_kv")
        assert (await write(value=b"b", prev_kv=True)).prev_kv.value == b"a"
        assert (await write(ignore_value=True, prev_kv=True)).prev_kv.value == b"b"
        kv = await api.get(b"k")
        assert kv is not None and (kv.value, kv.version) == (b"b", 3)
        assert await refused(write(ignore_value=True, value=b"x")) == (
            "INVALID_ARGUMENT",
            "etcdserver: value is provided",
        )
        assert await refused(write(ignore_lease=True, lease=5)) == (
            "INVALID_ARGUMENT",
            "etcdserver: lease is provided",
        )
        request = pb.DeleteRangeRequest(key=api.prefix, range_end=api.end(), prev_kv=True)
        await api.put(b"l", b"c")
        answer = await api.call("KV/DeleteRange", request, pb.DeleteRangeResponse)
        assert [kv.value for kv in answer.prev_kvs] == [b"b", b"c"] and answer.deleted == 2

    store.run(body)


def test_range_options(store: Backend) -> None:
    async def body(api: Api) -> None:
        for key, value in ((b"a", b"3"), (b"b", b"1"), (b"c", b"2"), (b"d", b"0")):
            await api.put(key, value)
        base = await api.put(b"b", b"9")

        async def keys(**options: object) -> bytes:
            request = Range(key=api.prefix, range_end=api.end(), **options)  # type: ignore[arg-type]
            return b"".join(kv.key[len(api.prefix) :] for kv in (await api.range(request)).kvs)

        assert await keys() == b"abcd"
        assert await keys(sort_order="DESCEND") == b"dcba"
        assert await keys(sort_target="VALUE") == b"dcab"
        assert await keys(sort_target="VALUE", sort_order="DESCEND") == b"bacd"
        assert await keys(sort_target="MOD") == b"acdb"
        assert await keys(sort_target="CREATE", sort_order="DESCEND", limit=2) == b"dc"
        assert await keys(sort_target="VERSION", sort_order="DESCEND", limit=1) == b"b"
        assert await keys(limit=3) == b"abc"
        assert await keys(min_mod_revision=base - 2) == b"bcd"
        assert await keys(max_mod_revision=base - 2) == b"ac"
        assert await keys(min_create_revision=base - 2) == b"cd"
        assert await keys(max_create_revision=base - 3) == b"ab"
        assert await keys(max_create_revision=base - 1, limit=2) == b"ab"
        answer = await api.range(Range(key=api.prefix, range_end=api.end(), limit=2))
        assert (answer.count, answer.more, len(answer.kvs)) == (4, True, 2)
        answer = await api.range(Range(key=api.prefix, range_end=api.end(), limit=4))
        assert (answer.count, answer.more, len(answer.kvs)) == (4, False, 4)
        answer = await api.range(Range(key=api.prefix, range_end=api.end(), count_only=True))
        assert (answer.count, len(answer.kvs)) == (4, 0)
        answer = await api.range(Range(key=api.prefix, range_end=api.end(), count_only=True, revision=base - 1))
        assert answer.count == 4
        answer = await api.range(Range(key=api.prefix, range_end=api.end(), keys_only=True))
        assert [(kv.value, kv.version) for kv in answer.kvs] == [(b"", 1), (b"", 2), (b"", 1), (b"", 1)]
        answer = await api.range(Range(key=api.prefix + b"c", range_end=api.prefix + b"a"))
        assert (answer.count, len(answer.kvs)) == (0, 0)
        answer = await api.range(Range(key=api.prefix + b"c", range_end=b"\0"))
        assert answer.kvs[0].key == api.prefix + b"c" and answer.count >= 2
        answer = await api.range(Range(key=b"\0", range_end=b"\0", count_only=True))
        assert answer.count >= 4
        answer = await api.range(Range(key=api.prefix + b"b", serializable=True, keys_only=True, limit=1))
        assert len(answer.kvs) == 1

    store.run(body)


def test_bad_requests(store: Backend) -> None:
    async def body(api: Api) -> None:
        empty = ("INVALID_ARGUMENT", "etcdserver: key is not provided")
        assert await refused(api.range(Range())) == empty
        assert await refused(api.call("KV/Put", pb.PutRequest(value=b"x"), pb.PutResponse)) == empty
        assert await refused(api.call("KV/DeleteRange", pb.DeleteRangeRequest(), pb.DeleteRangeResponse)) == empty
        assert await refused(api.txn(pb.TxnRequest(compare=[pb.Compare()]))) == empty
        assert await refused(api.txn(pb.TxnRequest(success=[put(b"")]))) == empty
        assert await refused(api.txn(pb.TxnRequest(success=[pb.RequestOp()]))) == (
            "INVALID_ARGUMENT",
            "etcdserver: key not found",
        )
        assert await refused(api.put(b"big", bytes(1800 << 10))) == (
            "INVALID_ARGUMENT",
            "etcdserver: request is too large",
        )
        code, _ = await refused(api.channel().unary("/etcdserverpb.KV/Put", b"\xff\xff\xff", timeout_s=20))
        assert code == "INTERNAL"
        code, _ = await refused(api.channel().unary("/etcdserverpb.KV/Nothing", b"", timeout_s=20))
        assert code == "UNIMPLEMENTED"
        assert await api.put(b"alive")

    store.run(body)


def test_txn_branches(store: Backend) -> None:
    async def body(api: Api) -> None:
        key = api.prefix + b"k"
        missing = pb.Compare(key=key, target="CREATE", result="EQUAL", create_revision=0)
        request = pb.TxnRequest(compare=[missing], success=[put(key, b"1"), get(key)], failure=[get(key)])
        answer = await api.txn(request)
        assert answer.succeeded
        made = answer.header.revision
        assert answer.responses[0].response_put.header.revision == made
        seen = answer.responses[1].response_range
        assert (seen.kvs[0].value, seen.kvs[0].mod_revision, seen.count) == (b"1", made, 1)
        answer = await api.txn(request)
        assert not answer.succeeded and answer.header.revision == made
        assert answer.responses[0].response_range.kvs[0].mod_revision == made
        other = api.prefix + b"l"
        answer = await api.txn(pb.TxnRequest(success=[put(key, b"2"), put(other), delete(api.prefix + b"x")]))
        assert answer.succeeded and answer.header.revision == made + 1
        both = await api.range(Range(key=api.prefix, range_end=api.end()))
        assert {kv.mod_revision for kv in both.kvs} == {made + 1}
        answer = await api.txn(pb.TxnRequest())
        assert answer.succeeded and not answer.responses

    store.run(body)


COMPARES = [
    ("VERSION", "EQUAL", {"version": 2}, True),
    ("VERSION", "GREATER", {"version": 2}, False),
    ("VERSION", "GREATER", {"version": 1}, True),
    ("VERSION", "LESS", {"version": 3}, True),
    ("VERSION", "NOT_EQUAL", {"version": 2}, False),
    ("VALUE", "EQUAL", {"value": b"v"}, True),
    ("VALUE", "LESS", {"value": b"w"}, True),
    ("VALUE", "GREATER", {"value": b"vv"}, False),
    ("VALUE", "NOT_EQUAL", {"value": b"x"}, True),
    ("LEASE", "EQUAL", {"lease": 0}, True),
    ("LEASE", "GREATER", {"lease": 0}, False),
    ("MOD", "GREATER", {"mod_revision": 1}, True),
    ("CREATE", "LESS", {"create_revision": 1}, False),
]


def test_txn_compares(store: Backend) -> None:
    async def body(api: Api) -> None:
        await api.put(b"k", b"u")
        await api.put(b"k", b"v")
        for target, result, wanted, expected in COMPARES:
            compare = pb.Compare(key=api.prefix + b"k", target=target, result=result, **wanted)  # type: ignore[arg-type]
            answer = await api.txn(pb.TxnRequest(compare=[compare]))
            assert answer.succeeded == expected, (target, result, wanted)
        nothing = {"key": api.prefix + b"none"}
        for target, expected in (("VALUE", False), ("VERSION", True), ("MOD", True), ("LEASE", True)):
            compare = pb.Compare(target=target, result="EQUAL", **nothing)  # type: ignore[arg-type]
            assert (await api.txn(pb.TxnRequest(compare=[compare]))).succeeded == expected, target
        await api.put(b"m", b"v")
        whole = {"key": api.prefix, "range_end": api.end()}
        for target, wanted, expected in (
            ("VALUE", {"value": b"v"}, True),
            ("VERSION", {"version": 2}, False),
        ):
            compare = pb.Compare(target=target, result="EQUAL", **whole, **wanted)  # type: ignore[arg-type]
            assert (await api.txn(pb.TxnRequest(compare=[compare]))).succeeded == expected, target

    store.run(body)


def test_nested_txn(store: Backend) -> None:
    async def body(api: Api) -> None:
        key = api.prefix + b"k"
        is_new = pb.Compare(key=key, target="VERSION", result="EQUAL", version=0)
        inner = pb.TxnRequest(compare=[is_new], success=[put(key + b"1", b"new")], failure=[put(key + b"1", b"old")])
        outer = pb.TxnRequest(success=[put(key, b"x"), pb.RequestOp(request_txn=inner), get(key + b"1")])
        answer = await api.txn(outer)
        nested = answer.responses[1].response_txn
        assert nested.succeeded, "comparisons see the state before the transaction"
        assert answer.responses[2].response_range.kvs[0].value == b"new"
        answer = await api.txn(outer)
        assert not answer.responses[1].response_txn.succeeded
        assert answer.responses[2].response_range.kvs[0].value == b"old"

    store.run(body)


def test_txn_conflicts(store: Backend) -> None:
    async def body(api: Api) -> None:
        k, e = api.prefix + b"k", api.end()
        duplicate = ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request")

        def nested(success: list[pb.RequestOp], failure: list[pb.RequestOp]) -> pb.RequestOp:
            return pb.RequestOp(request_txn=pb.TxnRequest(success=success, failure=failure))

        for bad in (
            [put(k), put(k)],
            [put(k), delete(k)],
            [delete(api.prefix, e), put(k)],
            [nested([put(k)], []), put(k)],
            [nested([delete(api.prefix, e)], []), put(k)],
            [nested([put(k)], []), nested([put(k)], [])],
        ):
            assert await refused(api.txn(pb.TxnRequest(success=bad))) == duplicate
            assert await refused(api.txn(pb.TxnRequest(failure=bad))) == duplicate
        for good in ([nested([put(k)], [put(k)])], [delete(api.prefix, e), delete(k)], [put(k), get(k)]):
            await api.txn(pb.TxnRequest(success=good))
        many = [put(k + b"%d" % number) for number in range(129)]
        assert await refused(api.txn(pb.TxnRequest(success=many))) == (
            "INVALID_ARGUMENT",
            "etcdserver: too many operations in txn request",
        )
        await api.txn(pb.TxnRequest(success=many[:128]))

    store.run(body)


def test_a_refused_txn_changes_nothing(store: Backend) -> None:
    async def body(api: Api) -> None:
        revision = await api.put(b"k", b"v")
        future = get(api.prefix + b"k", revision=revision + 1000)
        assert await refused(api.txn(pb.TxnRequest(success=[put(api.prefix + b"l"), future]))) == (
            "OUT_OF_RANGE",
            "etcdserver: mvcc: required revision is a future revision",
        )
        ignoring = pb.RequestOp(request_put=pb.PutRequest(key=api.prefix + b"none", ignore_value=True))
        code, message = await refused(api.txn(pb.TxnRequest(success=[put(api.prefix + b"l"), ignoring])))
        assert (code, message) == ("INVALID_ARGUMENT", "etcdserver: key not found")
        leased = pb.RequestOp(request_put=pb.PutRequest(key=api.prefix + b"m", lease=12345))
        assert await refused(api.txn(pb.TxnRequest(success=[put(api.prefix + b"l"), leased]))) == (
            "NOT_FOUND",
            "etcdserver: requested lease not found",
        )
        answer = await api.range(Range(key=api.prefix, range_end=api.end()))
        assert (answer.count, answer.header.revision) == (1, revision)

    store.run(body)


def test_compaction(store: Backend) -> None:
    async def body(api: Api) -> None:
        first = await api.put(b"k", b"1")
        await api.put(b"gone", b"x")
        await api.delete(b"gone")
        second = await api.put(b"k", b"2")
        third = await api.put(b"k", b"3")
        await api.compact(second)
        compacted = ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted")
        assert await refused(api.get(b"k", first)) == compacted
        assert await refused(api.get(b"k", second - 1)) == compacted
        kv = await api.get(b"k", second)
        assert kv is not None and kv.value == b"2"
        kv = await api.get(b"k")
        assert kv is not None and (kv.value, kv.version) == (b"3", 3)
        assert await refused(api.compact(second)) == compacted
        assert await refused(api.compact(first)) == compacted
        assert await refused(api.compact(third + 1000)) == (
            "OUT_OF_RANGE",
            "etcdserver: mvcc: required revision is a future revision",
        )
        answer = await api.range(Range(key=api.prefix, range_end=api.end(), revision=second))
        assert [kv.key for kv in answer.kvs] == [api.prefix + b"k"]

    store.run(body)


def test_many_keys(store: Backend) -> None:
    async def body(api: Api) -> None:
        names = [b"%04d" % (number * 7919 % 3000) for number in range(3000)]
        for start in range(0, 3000, 100):
            batch = [put(api.prefix + name, name) for name in names[start : start + 100]]
            await api.txn(pb.TxnRequest(success=batch))
        answer = await api.range(Range(key=api.prefix, range_end=api.end()))
        assert [kv.value for kv in answer.kvs] == sorted(names) and answer.count == 3000
        page = await api.range(Range(key=api.prefix + b"1000", range_end=api.end(), limit=10))
        assert [kv.value for kv in page.kvs] == sorted(names)[1000:1010] and page.count == 2000
        request = pb.DeleteRangeRequest(key=api.prefix + b"0500", range_end=api.prefix + b"2500")
        assert (await api.call("KV/DeleteRange", request, pb.DeleteRangeResponse)).deleted == 2000
        answer = await api.range(Range(key=api.prefix, range_end=api.end(), count_only=True))
        assert answer.count == 1000
        answer = await api.range(Range(key=api.prefix, range_end=api.end(), limit=1, revision=page.header.revision))
        assert (answer.count, answer.more) == (3000, True)

    store.run(body)


@pytest.mark.parametrize("method", ["Auth/AuthStatus", "Auth/UserList"])
def test_unsupported_services_say_so(store: Backend, method: str) -> None:
    if store.name == "etcd":
        pytest.skip("etcd has it")

    async def body(api: Api) -> None:
        code, message = await refused(api.channel().unary(f"/etcdserverpb.{method}", b"", timeout_s=20))
        assert code == Code.UNIMPLEMENTED.name and method.partition("/")[2] in message

    store.run(body)
