"""Leases, members, maintenance."""

import asyncio
from collections.abc import AsyncIterator

from argosy.pb import etcd_pb2 as pb
from tests.conformance.etcd.backends import Api, Backend, refused

NOT_FOUND = ("NOT_FOUND", "etcdserver: requested lease not found")


async def grant(api: Api, ttl_s: int, lease: int = 0) -> pb.LeaseGrantResponse:
    return await api.call("Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=ttl_s, ID=lease), pb.LeaseGrantResponse)


async def time_to_live(api: Api, lease: int) -> pb.LeaseTimeToLiveResponse:
    request = pb.LeaseTimeToLiveRequest(ID=lease, keys=True)
    return await api.call("Lease/LeaseTimeToLive", request, pb.LeaseTimeToLiveResponse)


async def revoke(api: Api, lease: int) -> pb.LeaseRevokeResponse:
    return await api.call("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=lease), pb.LeaseRevokeResponse)


async def keep_alive(api: Api, lease: int) -> pb.LeaseKeepAliveResponse:
    async def requests() -> AsyncIterator[bytes]:
        yield pb.LeaseKeepAliveRequest(ID=lease).SerializeToString()

    async for data in api.channel().stream("/etcdserverpb.Lease/LeaseKeepAlive", requests()):
        return pb.LeaseKeepAliveResponse.FromString(data)
    raise AssertionError("no answer")


def test_a_lease_takes_its_keys_along(store: Backend) -> None:
    async def body(api: Api) -> None:
        granted = await grant(api, 100)
        assert granted.ID > 0 and granted.TTL == 100 and not granted.error
        for key in (b"b", b"a"):
            await api.put(key, b"v", granted.ID)
        kept = await api.put(b"kept", b"v", granted.ID)
        await api.put(b"kept", b"w")
        kv = await api.get(b"a")
        assert kv is not None and kv.lease == granted.ID
        left = await time_to_live(api, granted.ID)
        assert 90 <= left.TTL <= 100 and left.grantedTTL == 100
        assert sorted(left.keys) == [api.prefix + b"a", api.prefix + b"b"]
        async with api.watch() as stream:
            await stream.create(pb.WatchCreateRequest(key=api.prefix, range_end=api.end()))
            before = await api.put(b"mark")
            await revoke(api, granted.ID)
            events = (await stream.events(3))[1:]
            assert [(event.type, event.kv.key[-1:]) for event in events] == [
                (pb.Event.DELETE, b"a"),
                (pb.Event.DELETE, b"b"),
            ]
            assert {event.kv.mod_revision for event in events} == {before + 1}
        kv = await api.get(b"kept")
        assert kv is not None and kv.mod_revision > kept
        assert (await time_to_live(api, granted.ID)).TTL == -1
        assert await refused(revoke(api, granted.ID)) == NOT_FOUND
        assert await refused(api.put(b"x", b"", granted.ID)) == NOT_FOUND

    store.run(body)


def test_own_ids_and_limits(store: Backend) -> None:
    async def body(api: Api) -> None:
        lease = 4_000_000 + int(api.prefix.strip(b"/"))
        made = await grant(api, 50, lease)
        assert lease == made.ID
        assert await refused(grant(api, 50, lease)) == (
            "FAILED_PRECONDITION",
            "etcdserver: lease already exists",
        )
        assert await refused(grant(api, 10_000_000_000)) == ("OUT_OF_RANGE", "etcdserver: too large lease TTL")
        answer = await api.call("Lease/LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
        assert lease in [status.ID for status in answer.leases]
        assert (await keep_alive(api, lease)).TTL == 50
        await revoke(api, lease)
        answer_late = await keep_alive(api, lease)
        assert lease == answer_late.ID and answer_late.TTL == 0

    store.run(body)


def test_a_key_moves_between_leases(store: Backend) -> None:
    async def body(api: Api) -> None:
        first, second = (await grant(api, 60)).ID, (await grant(api, 60)).ID
        await api.put(b"k", b"1", first)
        await api.put(b"k", b"2", second)
        await revoke(api, first)
        kv = await api.get(b"k")
        assert kv is not None and kv.lease == second
        request = pb.PutRequest(key=api.prefix + b"k", value=b"3", ignore_lease=True)
        await api.call("KV/Put", request, pb.PutResponse)
        kv = await api.get(b"k")
        assert kv is not None and (kv.lease, kv.value) == (second, b"3")
        await api.delete(b"k")
        await api.put(b"k", b"4")
        await revoke(api, second)
        kv = await api.get(b"k")
        assert kv is not None and (kv.lease, kv.value) == (0, b"4")

    store.run(body)


def test_an_expired_lease_is_revoked(store: Backend) -> None:
    async def body(api: Api) -> None:
        short, long = (await grant(api, 2)).ID, (await grant(api, 2)).ID
        async with api.watch() as stream:
            await stream.create(pb.WatchCreateRequest(key=api.prefix, range_end=api.end()))
            await api.put(b"short", b"v", short)
            await api.put(b"long", b"v", long)
            await stream.events(2)
            next_event = asyncio.ensure_future(stream.events(1))
            while not next_event.done():
                await keep_alive(api, long)
                await asyncio.wait([next_event], timeout=0.3)
            event = next_event.result()[0]
            assert (event.type, event.kv.key) == (pb.Event.DELETE, api.prefix + b"short")
        assert await api.get(b"long") is not None
        await revoke(api, long)

    store.run(body)


def test_members_and_status(store: Backend) -> None:
    async def body(api: Api) -> None:
        members = await api.call("Cluster/MemberList", pb.MemberListRequest(), pb.MemberListResponse)
        assert len(members.members) == {"three": 3}.get(store.name, 1)
        ids = {member.ID for member in members.members}
        revision = await api.put(b"k")
        status = await api.call("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)
        assert status.leader in ids and status.header.member_id in ids
        assert status.version.startswith("3.") and status.raftTerm > 0 and status.raftIndex > 0
        assert status.header.cluster_id == members.header.cluster_id != 0
        alarms = await api.call("Maintenance/Alarm", pb.AlarmRequest(), pb.AlarmResponse)
        assert list(alarms.alarms) == []
        await api.call("Maintenance/Defragment", pb.DefragmentRequest(), pb.DefragmentResponse)
        hashes = set()
        for _ in range(3):
            await api.get(b"k")
            answer = await api.call("Maintenance/HashKV", pb.HashKVRequest(revision=revision), pb.HashKVResponse)
            hashes.add(answer.hash)
        assert len(hashes) == 1

    store.run(body)


def test_alarms(store: Backend) -> None:
    async def body(api: Api) -> None:
        status = await api.call("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)
        member = status.header.member_id

        async def alarm(action: str) -> pb.AlarmResponse:
            request = pb.AlarmRequest(action=action, memberID=member, alarm="NOSPACE")  # type: ignore[arg-type]
            return await api.call("Maintenance/Alarm", request, pb.AlarmResponse)

        await api.put(b"k", b"v")
        raised = await alarm("ACTIVATE")
        assert [(one.memberID, one.alarm) for one in raised.alarms] == [(member, pb.NOSPACE)]
        try:
            for _ in range(3):
                await api.get(b"k")
                assert await refused(api.put(b"k", b"w")) == (
                    "RESOURCE_EXHAUSTED",
                    "etcdserver: mvcc: database space exceeded",
                )
            assert (await api.delete(b"k")).deleted == 1
        finally:
            await alarm("DEACTIVATE")
        await api.put(b"k", b"x")

    store.run(body)
