"""etcdserverpb.Maintenance: status, alarms, hashes, leadership; what has no meaning here is refused by name."""

from __future__ import annotations

from collections.abc import AsyncIterator

from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Call, Code, Methods, RpcError
from etcd.errors import StoreError
from etcd.machine import Kind, alarm_body
from etcd.service.common import VERSION, Store, failing, parse, to_rpc


class MaintenanceService:
    def __init__(self, store: Store) -> None:
        self._store = store

    def methods(self) -> Methods:
        return Methods(
            {
                "/etcdserverpb.Maintenance/Status": self.status,
                "/etcdserverpb.Maintenance/Alarm": self.alarm,
                "/etcdserverpb.Maintenance/Defragment": self.defragment,
                "/etcdserverpb.Maintenance/Hash": self.hash,
                "/etcdserverpb.Maintenance/HashKV": self.hash_kv,
                "/etcdserverpb.Maintenance/MoveLeader": self.move_leader,
                "/etcdserverpb.Maintenance/Downgrade": self.refuse,
            },
            {"/etcdserverpb.Maintenance/Snapshot": self.snapshot},
        )

    async def status(self, data: bytes, call: Call) -> bytes:
        parse(pb.StatusRequest, data)
        store = self._store
        commit, applied = store.raft_index()
        in_use = store.machine.history.size_bytes
        errors = [f"memberID:{member} alarm:{pb.AlarmType.Name(kind)} " for member, kind in store.machine.alarms]
        answer = pb.StatusResponse(
            version=VERSION,
            dbSize=store.disk_bytes() or in_use,
            dbSizeInUse=in_use,
            leader=store.leader_id(),
            raftIndex=commit,
            raftAppliedIndex=applied,
            raftTerm=store.machine.raft_term,
            errors=errors + store.problems(),
        )
        return store.machine.header() + answer.SerializeToString()

    async def alarm(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.AlarmRequest, data)
        machine = self._store.machine
        if request.action == pb.AlarmRequest.GET:
            wanted = [kind for kind in machine.alarms if request.alarm in (pb.NONE, kind[1])]
            return machine.header() + alarm_body(wanted)
        try:
            return await self._store.propose(Kind.ALARM, data)
        except StoreError as error:
            raise to_rpc(error) from None

    async def defragment(self, data: bytes, call: Call) -> bytes:
        """Nothing to do: the state is in memory and log segments are dropped whole."""
        parse(pb.DefragmentRequest, data)
        return self._store.machine.header()

    async def hash(self, data: bytes, call: Call) -> bytes:
        parse(pb.HashRequest, data)
        return self._store.machine.header() + pb.HashResponse(hash=self._store.machine.hash(0)).SerializeToString()

    async def hash_kv(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.HashKVRequest, data)
        machine = self._store.machine
        try:
            checksum = machine.hash(request.revision)
        except StoreError as error:
            raise to_rpc(error) from None
        answer = pb.HashKVResponse(
            hash=checksum,
            compact_revision=machine.history.compacted,
            hash_revision=request.revision if request.revision > 0 else machine.history.revision,
        )
        return machine.header() + answer.SerializeToString()

    async def move_leader(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.MoveLeaderRequest, data)
        try:
            await self._store.move_leader(request.targetID)
        except StoreError as error:
            raise to_rpc(error) from None
        return self._store.machine.header()

    def snapshot(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        return failing(RpcError(Code.UNIMPLEMENTED, "etcdserver: Snapshot is not supported: there is no bbolt file"))

    async def refuse(self, data: bytes, call: Call) -> bytes:
        raise RpcError(Code.UNIMPLEMENTED, f"etcdserver: {call.method.rpartition('/')[2]} is not supported")
