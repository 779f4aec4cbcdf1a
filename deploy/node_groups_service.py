"""The wire of node groups, served: argosy.v1.NodeGroups (proto/argosy/v1/node_groups.proto).

The node autoscaler dials it (`--node-provider`). What offers machines implements `Groups`; errors become gRPC's.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from google.protobuf.message import DecodeError, Message

from argosy.pb import node_groups_pb2 as pb
from argosy.rpc import Call, Code, Methods, RpcError, Unary

SERVICE: Final = "/argosy.v1.NodeGroups/"


class GroupsError(Exception):
    """It cannot be done; the message says why. `busy`: not now, but soon."""

    def __init__(self, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


class Groups(Protocol):
    """Every method raises GroupsError."""

    async def groups(self) -> Sequence[tuple[str, int, int, int, dict[str, Any]]]:
        """(name, minimum, maximum, target, template Node)"""

    async def instances(self, group: str) -> Sequence[pb.Instance]: ...

    async def increase(self, group: str, count: int) -> None: ...

    async def delete_nodes(self, group: str, names: Sequence[str]) -> None: ...

    async def decrease_target(self, group: str, count: int) -> None: ...


def methods(groups: Groups) -> Methods:
    async def refresh(_body: bytes) -> Message:
        return pb.RefreshResponse()

    async def listed(_body: bytes) -> Message:
        return pb.NodeGroupsResponse(
            groups=[
                pb.NodeGroup(
                    name=name,
                    min_size=least,
                    max_size=most,
                    target_size=target,
                    template_json=json.dumps(template).encode(),
                )
                for name, least, most, target, template in await groups.groups()
            ]
        )

    async def instances(body: bytes) -> Message:
        return pb.InstancesResponse(instances=await groups.instances(pb.InstancesRequest.FromString(body).group))

    async def increase(body: bytes) -> Message:
        request = pb.IncreaseRequest.FromString(body)
        _check_count(request.count)
        await groups.increase(request.group, request.count)
        return pb.IncreaseResponse()

    async def delete_nodes(body: bytes) -> Message:
        request = pb.DeleteNodesRequest.FromString(body)
        await groups.delete_nodes(request.group, list(request.names))
        return pb.DeleteNodesResponse()

    async def decrease_target(body: bytes) -> Message:
        request = pb.DecreaseTargetRequest.FromString(body)
        _check_count(request.count)
        await groups.decrease_target(request.group, request.count)
        return pb.DecreaseTargetResponse()

    handlers = {
        "Refresh": refresh,
        "Groups": listed,
        "Instances": instances,
        "Increase": increase,
        "DeleteNodes": delete_nodes,
        "DecreaseTarget": decrease_target,
    }
    return Methods({SERVICE + name: _answering(handler) for name, handler in handlers.items()})


def _check_count(count: int) -> None:
    if count <= 0:
        raise RpcError(Code.INVALID_ARGUMENT, f"a number of nodes must be positive, not {count}")


def _answering(handler: Callable[[bytes], Awaitable[Message]]) -> Unary:
    async def answer(body: bytes, _call: Call) -> bytes:
        try:
            return (await handler(body)).SerializeToString()
        except DecodeError:
            raise RpcError(Code.INVALID_ARGUMENT, "not a request") from None
        except GroupsError as error:
            code = Code.ABORTED if error.busy else Code.FAILED_PRECONDITION
            raise RpcError(code, str(error)) from None

    return answer
