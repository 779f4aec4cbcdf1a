"""Watches: order, history, filters, progress, compaction, several on one stream."""

from argosy.pb import etcd_pb2 as pb
from tests.conformance.etcd.backends import Api, Backend

Create = pb.WatchCreateRequest


def _shown(events: list[pb.Event]) -> list[tuple[int, bytes]]:
    return [(event.type, event.kv.value) for event in events]


def test_live_events_in_order(store: Backend) -> None:
    async def body(api: Api) -> None:
        async with api.watch() as stream:
            created = await stream.create(Create(key=api.prefix, range_end=api.end()))
            assert created.created and not created.canceled and created.header.revision > 0
            revisions = [await api.put(b"k", b"%d" % number) for number in range(20)]
            revisions.append((await api.delete(b"k")).header.revision)
            events = await stream.events(21)
            assert [event.kv.mod_revision for event in events] == revisions
            assert _shown(events[:2]) == [(pb.Event.PUT, b"0"), (pb.Event.PUT, b"1")]
            last = events[-1]
            assert (last.type, last.kv.key, last.kv.value) == (pb.Event.DELETE, api.prefix + b"k", b"")
            assert (last.kv.version, last.kv.create_revision) == (0, 0)
            assert not last.HasField("prev_kv")

    store.run(body)


def test_one_key_and_from_key(store: Backend) -> None:
    async def body(api: Api) -> None:
        async with api.watch() as stream:
            one = await stream.create(Create(key=api.prefix + b"b"))
            onward = await stream.create(Create(key=api.prefix + b"b", range_end=b"\0"))
            assert one.watch_id != onward.watch_id
            for key in (b"a", b"b", b"ba", b"c"):
                await api.put(key, key)
            seen: dict[int, list[bytes]] = {one.watch_id: [], onward.watch_id: []}
            while sum(map(len, seen.values())) < 4:
                response = await stream.next()
                seen[response.watch_id] += [event.kv.value for event in response.events]
            assert seen == {one.watch_id: [b"b"], onward.watch_id: [b"b", b"ba", b"c"]}

    store.run(body)


def test_from_a_revision_with_previous_values(store: Backend) -> None:
    async def body(api: Api) -> None:
        first = await api.put(b"k", b"1")
        await api.put(b"k", b"2")
        await api.put(b"other", b"x")
        await api.delete(b"k")
        async with api.watch() as stream:
            await stream.create(Create(key=api.prefix, range_end=api.end(), start_revision=first + 1, prev_kv=True))
            events = await stream.events(3)
            assert [event.prev_kv.value for event in events] == [b"1", b"", b"2"]
            await api.put(b"k", b"3")
            assert _shown(await stream.events(1)) == [(pb.Event.PUT, b"3")]

    store.run(body)


def test_a_future_revision_waits(store: Backend) -> None:
    async def body(api: Api) -> None:
        now = await api.put(b"k", b"0")
        async with api.watch() as stream:
            await stream.create(Create(key=api.prefix + b"k", start_revision=now + 3))
            for number in range(1, 5):
                await api.put(b"k", b"%d" % number)
            assert _shown(await stream.events(2)) == [(pb.Event.PUT, b"3"), (pb.Event.PUT, b"4")]

    store.run(body)


def test_filters(store: Backend) -> None:
    async def body(api: Api) -> None:
        async with api.watch() as stream:
            deletes = await stream.create(Create(key=api.prefix, range_end=api.end(), filters=["NOPUT"]))
            puts = await stream.create(Create(key=api.prefix, range_end=api.end(), filters=["NODELETE"]))
            await api.put(b"k", b"v")
            await api.delete(b"k")
            await api.put(b"k", b"w")
            seen: dict[int, list[int]] = {deletes.watch_id: [], puts.watch_id: []}
            while sum(map(len, seen.values())) < 3:
                response = await stream.next()
                seen[response.watch_id] += [event.type for event in response.events]
            assert seen == {deletes.watch_id: [pb.Event.DELETE], puts.watch_id: [pb.Event.PUT, pb.Event.PUT]}

    store.run(body)


def test_a_transaction_is_one_response(store: Backend) -> None:
    async def body(api: Api) -> None:
        async with api.watch() as stream:
            await stream.create(Create(key=api.prefix, range_end=api.end()))
            ops = [pb.RequestOp(request_put=pb.PutRequest(key=api.prefix + b"%d" % number)) for number in range(5)]
            answer = await api.txn(pb.TxnRequest(success=ops))
            response = await stream.next()
            assert [event.kv.mod_revision for event in response.events] == [answer.header.revision] * 5
            assert [event.kv.key[-1:] for event in response.events] == [b"0", b"1", b"2", b"3", b"4"]
            assert response.header.revision >= answer.header.revision

    store.run(body)


def test_cancel(store: Backend) -> None:
    async def body(api: Api) -> None:
        async with api.watch() as stream:
            created = await stream.create(Create(key=api.prefix + b"k"))
            other = await stream.create(Create(key=api.prefix + b"l"))
            stream.send(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=created.watch_id)))
            response = await stream.next()
            assert response.canceled and response.watch_id == created.watch_id
            await api.put(b"k")
            await api.put(b"l")
            response = await stream.next()
            assert response.watch_id == other.watch_id and response.events[0].kv.key == api.prefix + b"l"

    store.run(body)


def test_ids_of_the_client(store: Backend) -> None:
    async def body(api: Api) -> None:
        async with api.watch() as stream:
            created = await stream.create(Create(key=api.prefix + b"k", watch_id=77))
            assert created.watch_id == 77 and created.created and not created.canceled
            again = await stream.create(Create(key=api.prefix + b"k", watch_id=77))
            assert again.watch_id == -1 and again.canceled and "duplicate watch ID" in again.cancel_reason
            await api.put(b"k")
            assert (await stream.next()).watch_id == 77

    store.run(body)


def test_compacted(store: Backend) -> None:
    async def body(api: Api) -> None:
        first = await api.put(b"k", b"1")
        await api.put(b"k", b"2")
        third = await api.put(b"k", b"3")
        await api.compact(third)
        async with api.watch() as stream:
            created = await stream.create(Create(key=api.prefix + b"k", start_revision=first))
            assert created.created
            response = await stream.next()
            assert response.canceled and response.compact_revision == third and not response.events
            await stream.create(Create(key=api.prefix + b"k", start_revision=third))
            assert _shown(await stream.events(1)) == [(pb.Event.PUT, b"3")]
            await api.put(b"k", b"4")
            assert _shown(await stream.events(1)) == [(pb.Event.PUT, b"4")]

    store.run(body)


def test_progress_on_request(store: Backend) -> None:
    async def body(api: Api) -> None:
        async with api.watch() as stream:
            await stream.create(Create(key=api.prefix + b"k"))
            revision = await api.put(b"elsewhere")
            response = None
            while response is None or response.header.revision < revision:
                stream.send(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
                response = await stream.next()
                assert (response.watch_id, list(response.events)) == (-1, [])

    store.run(body)


def test_long_history_comes_complete(store: Backend) -> None:
    async def body(api: Api) -> None:
        first = 0
        for start in range(0, 6000, 100):
            ops = [
                pb.RequestOp(request_put=pb.PutRequest(key=api.prefix + b"%05d" % number, value=bytes(200)))
                for number in range(start, start + 100)
            ]
            revision = (await api.txn(pb.TxnRequest(success=ops))).header.revision
            first = first or revision
        async with api.watch() as stream:
            await stream.create(Create(key=api.prefix, range_end=api.end(), start_revision=first))
            events = await stream.events(6000)
            assert [event.kv.key[len(api.prefix) :] for event in events] == [b"%05d" % at for at in range(6000)]

    store.run(body)


def test_lagging_readers_lose_nothing(store: Backend) -> None:
    """The stream's queue fills up while nobody reads; afterwards everything comes, in order."""

    async def body(api: Api) -> None:
        async with api.watch() as stream:
            created = await stream.create(Create(key=api.prefix, range_end=api.end()))
            assert created.created
            for number in range(30):
                await api.put(b"%d" % number, bytes(400_000))
            events = await stream.events(30)
            assert [event.kv.key[len(api.prefix) :] for event in events] == [b"%d" % at for at in range(30)]
            await api.put(b"after", b"x")
            assert _shown(await stream.events(1)) == [(pb.Event.PUT, b"x")]

    store.run(body)
