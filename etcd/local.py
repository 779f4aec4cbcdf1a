"""A whole store in one process without a log: the same machine, watches and services, nothing durable.

For tests and for embedding where durability is not wanted; the API server's tests run on it over MemoryNetwork:

    store = LocalStore(host)
    server = await network.serve("10.77.1.1:2379", store.methods())
"""

from __future__ import annotations

import asyncio

from argosy.host import Clock, Host, Rng
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Methods
from etcd import errors, service
from etcd.compaction import Dropper
from etcd.lease import LeaseClock
from etcd.machine import Kind, Machine
from etcd.service.common import MemberInfo
from etcd.watch import WatchHub


class LocalStore:
    """One member, no Raft: a command is applied where it arrives. Use on one event loop."""

    def __init__(self, host: Host, name: str = "local") -> None:
        self.machine = Machine()
        self.machine.raft_term = 1
        self.hub = WatchHub(self.machine.history, self.machine.header)
        self.dropper = Dropper(self.machine.history)
        self._host = host
        self._name = name
        self._applied = 0
        self._leases = LeaseClock(self.machine.leases)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def clock(self) -> Clock:
        return self._host.clock

    @property
    def rng(self) -> Rng:
        return self._host.rng

    def methods(self) -> Methods:
        return service.methods(self)

    async def propose(self, kind: Kind, request: bytes) -> bytes:
        return self.apply(kind, request)

    def apply(self, kind: Kind, request: bytes) -> bytes:
        """Apply at once. Raises StoreError."""
        self._applied += 1
        answer = self.machine.apply(kind, request)
        self.hub.advance()
        if kind == Kind.COMPACT:
            self.dropper.kick()
        elif kind == Kind.LEASE_GRANT:
            self._leases.touch(pb.LeaseGrantRequest.FromString(request).ID, self.clock.monotonic())
            self._arm()
        return answer

    async def read_barrier(self) -> None:
        """Everything applied is visible at once."""

    async def keep_alive(self, lease_id: int) -> int:
        lease = self.machine.leases.get(lease_id)
        if lease is None:
            return 0
        self._leases.touch(lease_id, self.clock.monotonic())
        return lease.ttl_s

    async def lease_left_s(self, lease_id: int) -> float:
        return self._leases.left_s(lease_id, self.clock.monotonic())

    def members(self) -> list[MemberInfo]:
        return [MemberInfo(1, self._name, (), ())]

    def leader_id(self) -> int:
        return self.machine.member_id

    def raft_index(self) -> tuple[int, int]:
        return self._applied, self._applied

    def disk_bytes(self) -> int:
        return 0

    def problems(self) -> list[str]:
        return []

    async def move_leader(self, target_id: int) -> None:
        if target_id != self.machine.member_id:
            raise errors.member_not_found()

    def close(self) -> None:
        """End all watch streams and timers."""
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self.hub.streams):
            stream.close()

    def _arm(self) -> None:
        if self._timer is None:
            left = self._leases.next_s(self.clock.monotonic())
            if left is not None:
                self._timer = asyncio.get_running_loop().call_later(left + 0.001, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for lease_id in self._leases.expired(self.clock.monotonic()):
            self.apply(Kind.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=lease_id).SerializeToString())
        self._arm()
