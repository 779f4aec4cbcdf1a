"""A provider behind a wire: dials what serves argosy.v1.NodeGroups (proto/argosy/v1/node_groups.proto)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
from google.protobuf.message import DecodeError

from argosy.objects.types import JsonObject
from argosy.pb import node_groups_pb2 as pb
from argosy.rpc import Channel, Code, Network, RpcError
from control_plane.autoscaler.nodes.provider import ErrorClass, Group, Instance, ProviderError, State

SERVICE: Final = "/argosy.v1.NodeGroups/"
TIMEOUT_S: Final = 30.0
_STATES: Final = {
    pb.Instance.RUNNING: State.RUNNING,
    pb.Instance.CREATING: State.CREATING,
    pb.Instance.DELETING: State.DELETING,
}
_ERRORS: Final = {
    pb.Instance.OUT_OF_RESOURCES: ErrorClass.OUT_OF_RESOURCES,
    pb.Instance.QUOTA_EXCEEDED: ErrorClass.QUOTA_EXCEEDED,
}


class WireProvider:
    """A `NodeProvider`."""

    def __init__(self, network: Network, address: str) -> None:
        """`address`: `unix:PATH`. Connects with the first call."""
        self._channel: Channel = network.dial(address)

    async def refresh(self) -> None:
        await self._call("Refresh", pb.RefreshRequest().SerializeToString())

    async def groups(self) -> Sequence[Group]:
        body = await self._call("Groups", pb.NodeGroupsRequest().SerializeToString())
        try:
            found = pb.NodeGroupsResponse.FromString(body).groups
        except DecodeError as error:
            raise ProviderError(f"not a list of node groups: {error}") from None
        return [
            Group(item.name, item.min_size, item.max_size, item.target_size, _template(item.template_json))
            for item in found
        ]

    async def instances(self, group: str) -> Sequence[Instance]:
        body = await self._call("Instances", pb.InstancesRequest(group=group).SerializeToString())
        try:
            found = pb.InstancesResponse.FromString(body).instances
        except DecodeError as error:
            raise ProviderError(f"not a list of instances: {error}") from None
        return [_instance(item) for item in found]

    async def increase(self, group: str, count: int) -> None:
        await self._call("Increase", pb.IncreaseRequest(group=group, count=count).SerializeToString())

    async def delete_nodes(self, group: str, names: Sequence[str]) -> None:
        await self._call("DeleteNodes", pb.DeleteNodesRequest(group=group, names=names).SerializeToString())

    async def decrease_target(self, group: str, count: int) -> None:
        await self._call("DecreaseTarget", pb.DecreaseTargetRequest(group=group, count=count).SerializeToString())

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, method: str, request: bytes) -> bytes:
        try:
            return await self._channel.unary(SERVICE + method, request, timeout_s=TIMEOUT_S)
        except RpcError as error:
            busy = error.code in (Code.ABORTED, Code.UNAVAILABLE)
            raise ProviderError(error.message, error.code.name, busy=busy) from None


def _template(text: bytes) -> JsonObject:
    """What is no object comes as an empty one, which no group can have."""
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return read if isinstance(read, dict) else {}


def _instance(item: pb.Instance) -> Instance:
    error = None if item.error_class == pb.Instance.NONE else _ERRORS.get(item.error_class, ErrorClass.OTHER)
    state = _STATES.get(item.state, State.RUNNING)
    return Instance(item.name, state, item.provider_id, error, item.error_code, item.error_message)
