"""etcdserverpb.Lease."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Call, Methods
from etcd import errors
from etcd.errors import StoreError
from etcd.lease import MAX_TTL_S
from etcd.machine import Kind
from etcd.service.common import Store, parse, require_room, to_rpc


class LeaseService:
    def __init__(self, store: Store) -> None:
        self._store = store

    def methods(self) -> Methods:
        return Methods(
            {
                "/etcdserverpb.Lease/LeaseGrant": self.grant,
                "/etcdserverpb.Lease/LeaseRevoke": self.revoke,
                "/etcdserverpb.Lease/LeaseTimeToLive": self.time_to_live,
                "/etcdserverpb.Lease/LeaseLeases": self.leases,
            },
            {"/etcdserverpb.Lease/LeaseKeepAlive": self.keep_alive},
        )

    async def grant(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.LeaseGrantRequest, data)
        try:
            if request.TTL > MAX_TTL_S:
                raise errors.lease_ttl_too_large()
            require_room(self._store)
            while request.ID == 0:
                request.ID = self._store.rng.randrange(1 << 63)
            return await self._store.propose(Kind.LEASE_GRANT, request.SerializeToString())
        except StoreError as error:
            raise to_rpc(error) from None

    async def revoke(self, data: bytes, call: Call) -> bytes:
        parse(pb.LeaseRevokeRequest, data)
        try:
            return await self._store.propose(Kind.LEASE_REVOKE, data)
        except StoreError as error:
            raise to_rpc(error) from None

    async def keep_alive(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        async for data in requests:
            request = parse(pb.LeaseKeepAliveRequest, data)
            try:
                ttl = await self._store.keep_alive(request.ID)
            except StoreError as error:
                raise to_rpc(error) from None
            answer = pb.LeaseKeepAliveResponse(ID=request.ID, TTL=ttl)
            yield self._store.machine.header() + answer.SerializeToString()

    async def time_to_live(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.LeaseTimeToLiveRequest, data)
        try:
            await self._store.read_barrier()
            answer = pb.LeaseTimeToLiveResponse(ID=request.ID, TTL=-1)
            lease = self._store.machine.leases.get(request.ID)
            if lease is not None:
                answer.TTL = max(0, math.floor(await self._store.lease_left_s(request.ID)))
                answer.grantedTTL = lease.ttl_s
                if request.keys:
                    answer.keys.extend(sorted(lease.keys))
        except StoreError as error:
            raise to_rpc(error) from None
        return self._store.machine.header() + answer.SerializeToString()

    async def leases(self, data: bytes, call: Call) -> bytes:
        parse(pb.LeaseLeasesRequest, data)
        try:
            await self._store.read_barrier()
        except StoreError as error:
            raise to_rpc(error) from None
        all_leases = [pb.LeaseStatus(ID=lease.id) for lease in self._store.machine.leases.all()]
        return self._store.machine.header() + pb.LeaseLeasesResponse(leases=all_leases).SerializeToString()
