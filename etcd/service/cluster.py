"""etcdserverpb.Cluster: the members. Their set is fixed by configuration; changing it is refused by name."""

from __future__ import annotations

from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Call, Code, Methods, RpcError, Unary
from etcd.errors import StoreError
from etcd.service.common import Store, parse, to_rpc

_REFUSED = ("MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote")


class ClusterService:
    def __init__(self, store: Store) -> None:
        self._store = store

    def methods(self) -> Methods:
        unary: dict[str, Unary] = {"/etcdserverpb.Cluster/MemberList": self.member_list}
        for name in _REFUSED:
            unary[f"/etcdserverpb.Cluster/{name}"] = self.refuse
        return Methods(unary)

    async def member_list(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.MemberListRequest, data)
        if request.linearizable:
            try:
                await self._store.read_barrier()
            except StoreError as error:
                raise to_rpc(error) from None
        members = [
            pb.Member(ID=member.id, name=member.name, peerURLs=member.peer_urls, clientURLs=member.client_urls)
            for member in self._store.members()
        ]
        return self._store.machine.header() + pb.MemberListResponse(members=members).SerializeToString()

    async def refuse(self, data: bytes, call: Call) -> bytes:
        name = call.method.rpartition("/")[2]
        raise RpcError(Code.UNIMPLEMENTED, f"etcdserver: {name} is not supported: members are fixed at start")
