"""A cluster for tests of the node autoscaler: an API in memory, a hollow provider, a scheduler of real filters."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from argosy.controller import Context, run_controllers
from argosy.host import rfc3339
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.nodes.controller import NodeAutoscaler
from control_plane.autoscaler.nodes.hollow import HollowProvider
from control_plane.autoscaler.nodes.provider import Group
from control_plane.autoscaler.nodes.scale_up import is_unschedulable
from control_plane.autoscaler.nodes.simulation import Simulation, fresh_node
from control_plane.scheduler.pod_info import PodInfo
from tests.unit.controllers.world import World
from tests.unit.controllers.world import run as run_world


def node(name: str, cpu: str = "2", memory: str = "4Gi", ready: bool = True, **more: Any) -> JsonObject:
    """`more`: labels, annotations, taints."""
    labels = {"kubernetes.io/hostname": name, **more.get("labels", {})}
    capacity = {"cpu": cpu, "memory": memory, "pods": "110"}
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": more.get("annotations", {})},
        "spec": {"taints": more["taints"]} if "taints" in more else {},
        "status": {
            "capacity": capacity, "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }  # fmt: skip


def pod(name: str, cpu: str = "1", memory: str = "128Mi", owner: str = "ReplicaSet", **more: Any) -> JsonObject:
    """`more`: labels, annotations, namespace, uid; anything else is of the spec."""
    metadata: JsonObject = {
        "name": name, "namespace": more.pop("namespace", "default"), "uid": more.pop("uid", f"uid-{name}"),
        "labels": more.pop("labels", {"app": "web"}), "annotations": more.pop("annotations", {}),
    }  # fmt: skip
    if owner:
        metadata["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": owner, "name": "web", "uid": f"u-{owner}", "controller": True}
        ]
    requests = {"requests": {"cpu": cpu, "memory": memory}}
    spec = {"containers": [{"name": "app", "image": "app:1", "resources": requests}], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def group(name: str = "small", least: int = 0, most: int = 5, target: int = 0, **template: Any) -> Group:
    return Group(name, least, most, target, node(f"template-{name}", **template))


class Machines:
    """A node is its Node object."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.real: JsonObject | None = None
        """What nodes really are, whatever the template says."""

    async def start(self, name: str, template: JsonObject) -> None:
        made = fresh_node(self.real or template, name)
        made["status"] = {**made["status"], "conditions": [{"type": "Ready", "status": "True"}]}
        self._world.api.put("nodes", made)

    async def stop(self, name: str) -> None:
        if self._world.api.one("nodes", name) is not None:
            self._world.api.remove("nodes", name)
        for item in self._world.api.all("pods"):
            if meta.spec(item).get("nodeName") == name:
                self._world.api.remove("pods", meta.key(item))


class NodesWorld:
    """`settle` passes virtual seconds."""

    def __init__(self, world: World) -> None:
        self.world, self.api = world, world.api
        self.machines = Machines(world)
        self.provider = HollowProvider(self.machines, [])
        self.controller: NodeAutoscaler | None = None

    def begin(self, *groups: Group, start_s: float = 30.0, **config: Any) -> None:
        self.provider = HollowProvider(self.machines, groups, start_s)
        kind = type("Autoscaler", (NodeAutoscaler,), {"provider": self.provider})
        context = Context(Config(api_servers=("api:6444",), node_provider="hollow", **config), self.world.host,
                          self.world.client)  # fmt: skip

        def started(controllers: Any) -> None:
            (self.controller,) = controllers

        self.world.start(run_controllers(context, [kind], started))
        self.world.start(self._schedule())

    async def _schedule(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.schedule_once()

    def schedule_once(self) -> None:
        nodes = [item for item in self.api.all("nodes") if item["status"]["conditions"][0]["status"] == "True"]
        pods = self.api.all("pods")
        placed = [
            (PodInfo.of(item), item["spec"]["nodeName"])
            for item in pods
            if item["spec"].get("nodeName") and item["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        simulation = Simulation(nodes, placed)
        for item in pods:
            if meta.is_deleting(item):
                self.api.remove("pods", meta.key(item))
                continue
            if item["spec"].get("nodeName"):
                continue
            name = simulation.place(PodInfo.of(item))
            if name:
                change = {"spec": {"nodeName": name}, "status": {"phase": "Running"}}
                self.api.change("pods", meta.key(item), change)
            elif not is_unschedulable(item):
                condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
                self.api.change("pods", meta.key(item), {"status": {"conditions": [condition]}})

    def pods(self, count: int, first: int = 0, **more: Any) -> None:
        now = rfc3339(self.world.host.clock.now())
        for number in range(first, first + count):
            made = pod(f"web-{number}", **more)
            made["metadata"]["creationTimestamp"] = now
            self.api.put("pods", made)

    def nodes(self) -> list[str]:
        return sorted(meta.name(item) for item in self.api.all("nodes"))

    def where(self) -> dict[str, str]:
        return {meta.name(item): item["spec"].get("nodeName", "") for item in self.api.all("pods")}

    def taints(self, name: str) -> list[str]:
        found = self.api.one("nodes", name)
        assert found is not None
        return [taint["key"] for taint in found["spec"].get("taints", ())]

    def status(self) -> str:
        found = self.api.one("configmaps", "kube-system/cluster-autoscaler-status")
        assert found is not None
        return str(found["data"]["status"])

    async def settle(self, seconds: float) -> None:
        await self.world.settle(seconds)

    def events(self, reason: str) -> list[str]:
        return self.world.events(reason)


def run(body: Callable[[NodesWorld], Awaitable[None]]) -> None:
    async def whole(world: World) -> None:
        await body(NodesWorld(world))

    run_world(whole)
