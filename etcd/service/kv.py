"""etcdserverpb.KV: reads from this member's state, writes through the log."""

from __future__ import annotations

import asyncio

from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Call, Methods
from etcd import range as ranges
from etcd import txn
from etcd.errors import StoreError
from etcd.machine import Kind
from etcd.service.common import Store, parse, require_room, to_rpc


class KvService:
    def __init__(self, store: Store) -> None:
        self._store = store

    def methods(self) -> Methods:
        return Methods(
            {
                "/etcdserverpb.KV/Range": self.range,
                "/etcdserverpb.KV/Put": self.put,
                "/etcdserverpb.KV/DeleteRange": self.delete_range,
                "/etcdserverpb.KV/Txn": self.txn,
                "/etcdserverpb.KV/Compact": self.compact,
            }
        )

    async def range(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RangeRequest, data)
        try:
            ranges.check(request)
            if not request.serializable:
                await self._store.read_barrier()
            return self._store.machine.range(request)
        except StoreError as error:
            raise to_rpc(error) from None

    async def put(self, data: bytes, call: Call) -> bytes:
        try:
            txn.check_put(parse(pb.PutRequest, data))
            require_room(self._store)
            return await self._store.propose(Kind.PUT, data)
        except StoreError as error:
            raise to_rpc(error) from None

    async def delete_range(self, data: bytes, call: Call) -> bytes:
        try:
            txn.check_delete(parse(pb.DeleteRangeRequest, data))
            return await self._store.propose(Kind.DELETE_RANGE, data)
        except StoreError as error:
            raise to_rpc(error) from None

    async def txn(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.TxnRequest, data)
        try:
            txn.check_txn(request)
            if txn.is_readonly(request):
                if not txn.is_serializable(request):
                    await self._store.read_barrier()
                return self._store.machine.read_txn(request)
            if _puts(request):
                require_room(self._store)
            return await self._store.propose(Kind.TXN, data)
        except StoreError as error:
            raise to_rpc(error) from None

    async def compact(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.CompactionRequest, data)
        try:
            answer = await self._store.propose(Kind.COMPACT, data)
        except StoreError as error:
            raise to_rpc(error) from None
        if request.physical:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def finish() -> None:
                if not done.done():
                    done.set_result(None)

            self._store.dropper.when_idle(finish)
            await done
        return answer


def _puts(request: pb.TxnRequest) -> bool:
    return any(
        op.HasField("request_put") or (op.HasField("request_txn") and _puts(op.request_txn))
        for op in (*request.success, *request.failure)
    )
