"""Services of etcd that this store does not have; each call is refused by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator

from argosy.rpc import Call, Code, Methods, RpcError
from etcd.service.common import failing

_UNARY = {
    "etcdserverpb.Auth": (
        "AuthEnable", "AuthDisable", "AuthStatus", "Authenticate", "UserAdd", "UserGet", "UserList", "UserDelete",
        "UserChangePassword", "UserGrantRole", "UserRevokeRole", "RoleAdd", "RoleGet", "RoleList", "RoleDelete",
        "RoleGrantPermission", "RoleRevokePermission",
    ),
    "v3lockpb.Lock": ("Lock", "Unlock"),
    "v3electionpb.Election": ("Campaign", "Proclaim", "Leader", "Resign"),
}  # fmt: skip
_STREAM = {"v3electionpb.Election": ("Observe",)}


def methods() -> Methods:
    return Methods(
        {f"/{service}/{name}": _refuse for service, names in _UNARY.items() for name in names},
        {f"/{service}/{name}": _refuse_stream for service, names in _STREAM.items() for name in names},
    )


def _error(call: Call) -> RpcError:
    service, _, name = call.method.lstrip("/").partition("/")
    return RpcError(Code.UNIMPLEMENTED, f"etcdserver: {service} {name} is not supported by this store")


async def _refuse(data: bytes, call: Call) -> bytes:
    raise _error(call)


def _refuse_stream(requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
    return failing(_error(call))
