"""One hollow node against an API in memory, on virtual time: what the node agent's tests stand on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from argosy.client import Client
from argosy.host import Host, SeededRng
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from argosy.pb import api_pb2 as pb
from argosy.rpc_memory import MemoryNetwork
from node_agent.agent import NodeAgent
from node_agent.hollow import hollow_agent, hollow_config
from node_agent.runtime.fake import FakeRuntime
from tests.sim import virtual
from tests.unit.controllers.memory_api import MemoryApi, merged

NODE = "node-1"
MERGE_KEYS = {"conditions": "type", "podIPs": "ip", "hostIPs": "ip"}


def strategic(target: Any, patch: Any) -> Any:
    """Strategic merge as far as a status needs it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif key in MERGE_KEYS and isinstance(value, list):
            result[key] = _merge_list(result.get(key) or [], value, MERGE_KEYS[key])
        else:
            result[key] = strategic(result.get(key), value)
    return result


def _merge_list(old: list[JsonObject], patch: list[JsonObject], key: str) -> list[JsonObject]:
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    gone = [item[key] for item in patch if item.get("$patch") == "delete"]
    result = [item for item in old if item[key] not in gone]
    for item in [item for item in patch if "$patch" not in item]:
        for index, present in enumerate(result):
            if present[key] == item[key]:
                result[index] = merged(present, item)
                break
        else:
            result.append(merged({}, item))
    return result


class NodeApi(MemoryApi):
    """With strategic merge, and with the IPAM controller's part."""

    lagging = False
    """Lists that any server may answer know of no pod yet."""

    def _list(self, body: bytes) -> bytes:
        request = pb.ListRequest.FromString(body)
        if self.lagging and request.target.resource == "pods" and request.resource_version == "0":
            return bytes(pb.ObjectList(resource_version="1").SerializeToString())
        return super()._list(body)

    def _patch(self, body: bytes) -> bytes:
        request = pb.PatchRequest.FromString(body)
        if request.type != pb.PatchRequest.STRATEGIC:
            return super()._patch(body)
        patch = orjson.loads(request.body)
        return self._replace("patch", request.target, lambda old: strategic(old, patch))

    def _create(self, body: bytes) -> bytes:
        request = pb.CreateRequest.FromString(body)
        answer = super()._create(body)
        if request.target.resource == "nodes":
            name = orjson.loads(request.json)["metadata"]["name"]
            self.change("nodes", name, {"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}})
            self.change("nodes", name, {"status": orjson.loads(request.json)["status"]})
        return answer


class World:
    def __init__(self, host: Host, api: NodeApi, client: Client) -> None:
        self.host = host
        self.api = api
        self.client = client
        self.runtime = FakeRuntime(host, images=["busybox:1", "other:1"])
        self.agent: NodeAgent | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, **changes: Any) -> NodeAgent:
        config = hollow_config(NODE, "10.77.3.1", **changes)
        self.agent = hollow_agent(NODE, "10.77.3.1", self.host, self.client, self.runtime, config=config)
        self._task = asyncio.get_running_loop().create_task(self.agent.run())
        return self.agent

    async def stop(self) -> None:
        """kill -9 of the agent: nothing is told to anyone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def pod(self, key: str) -> JsonObject | None:
        return self.api.one("pods", key)

    def status(self, key: str) -> JsonObject:
        found = self.pod(key)
        return meta.status(found) if found else {}

    def container(self, key: str, name: str = "main") -> JsonObject:
        for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
            for item in self.status(key).get(field) or []:
                if item["name"] == name:
                    return item
        return {}

    def condition(self, key: str, type_: str) -> str:
        pod = self.pod(key)
        found = conditions.get(pod, type_) if pod else None
        return str(found["status"]) if found else ""

    def events(self, reason: str) -> list[str]:
        return [event["message"] for event in self.api.all("events") if event["reason"] == reason]

    async def until(self, what: Callable[[], Any], limit_s: float = 60.0) -> None:
        """Pass virtual time until `what` holds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while not what():
            assert loop.time() < deadline, f"did not happen within {limit_s} s"
            await asyncio.sleep(0.05)

    async def running(self, key: str) -> None:
        await self.until(lambda: self.condition(key, "Ready") == "True")

    async def delete(self, name: str, grace_s: int | None = None) -> None:
        await self.client.resource("", "v1", "pods").delete(name, namespace="default", grace_period_s=grace_s)


def make_pod(name: str = "web", **spec: Any) -> JsonObject:
    """A pod bound to the node, with one container, as the API server stores it; `annotations` and `uid` too."""
    annotations = spec.pop("annotations", {})
    containers = spec.pop("containers", [{"name": "main", "image": "busybox:1"}])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {
            "nodeName": NODE,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": containers,
            **spec,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def play(scene: Callable[[World], Awaitable[None]], *, start: bool = True) -> None:
    """Run `scene` on a node that is Ready, in virtual time."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        host = virtual.virtual_host(loop, "node")
        network = MemoryNetwork(SeededRng(1))
        api = NodeApi(host)
        client = await api.client(network.host("node"))
        world = World(host, api, client)
        try:
            if start:
                world.start()
                await world.until(lambda: conditions.is_true(api.one("nodes", NODE) or {}, "Ready"))
            await scene(world)
        finally:
            await world.stop()

    virtual.run(main())
