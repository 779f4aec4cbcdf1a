"""A control plane for controller tests: an API in memory, controllers on it, and a kubelet that makes pods ready."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from argosy.client import Client, EventType
from argosy.host import Host, SeededRng, rfc3339
from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.rpc_memory import MemoryNetwork
from control_plane.controllers.config import Config
from control_plane.controllers.daemon_pods import target_node
from control_plane.controllers.manager import ControllerManager
from tests.sim import virtual
from tests.unit.controllers.memory_api import MemoryApi


class World:
    """`settle` passes virtual seconds; `api` is looked into past the wire."""

    def __init__(self, host: Host, api: MemoryApi, client: Client, network: MemoryNetwork) -> None:
        self.host = host
        self.api = api
        self.client = client
        self.network = network
        self.tasks: list[asyncio.Task[None]] = []
        self.broken_images: set[str] = set()
        """Pods of these images never become ready."""
        self.ready_after_s = 1.0

    def start(self, coroutine: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.append(task)
        return task

    def controllers(self, *names: str, **options: Any) -> ControllerManager:
        config = Config(api_servers=("api:6444",), controllers=names, leader_elect=False, **options)
        manager = ControllerManager(config, self.host, self.client)
        self.start(manager.run())
        return manager

    async def settle(self, seconds: float = 5.0) -> None:
        await asyncio.sleep(seconds)
        for task in self.tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def events(self, reason: str) -> list[str]:
        return [event["message"] for event in self.api.all("events") if event["reason"] == reason]

    def names(self, resource: str, namespace: str = "default") -> list[str]:
        return [meta.name(obj) for obj in self.api.all(resource, namespace)]

    # A kubelet.

    def kubelet(self) -> None:
        self.start(self._kubelet())

    async def _kubelet(self) -> None:
        """Binds pods to nodes in turn, makes them ready after a while, and ends what is being deleted."""
        nodes = ["node-1", "node-2", "node-3"]
        count = 0
        async for event in self.client.resource("", "v1", "pods").watch(resource_version="1"):
            key = meta.key(event.object)
            if event.type is EventType.ADDED and not meta.spec(event.object).get("nodeName"):
                node = target_node(event.object) or nodes[count % 3]
                self.start(self._run_pod(key, meta.uid(event.object), node, f"10.244.{count % 3}.{count}"))
                count += 1
            elif event.type is EventType.MODIFIED and meta.is_deleting(event.object):
                self.start(self._end_pod(key, meta.uid(event.object)))

    async def _run_pod(self, key: str, uid: str, node: str, address: str) -> None:
        self.change_pod(key, uid, {"spec": {"nodeName": node}})
        await asyncio.sleep(self.ready_after_s)
        pod = self.api.one("pods", key)
        if pod is not None and (meta.spec(pod).get("containers") or [{}])[0].get("image") not in self.broken_images:
            self.change_pod(key, uid, ready_status(self.host, address))

    async def _end_pod(self, key: str, uid: str) -> None:
        await asyncio.sleep(1.0)
        pod = self.api.one("pods", key)
        if pod is not None and meta.uid(pod) == uid:
            self.api.remove("pods", key)

    def change_pod(self, key: str, uid: str, change: JsonObject) -> None:
        pod = self.api.one("pods", key)
        if pod is not None and meta.uid(pod) == uid:
            self.api.change("pods", key, change)


def ready_status(host: Host, address: str = "10.244.0.9", ready: bool = True) -> JsonObject:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": rfc3339(host.clock.now())}
    return {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}}


def run(body: Callable[[World], Awaitable[None]], seed: int = 1) -> None:
    async def main() -> None:
        host = virtual.virtual_host(asyncio.get_running_loop(), seed)
        api = MemoryApi(host)
        network = MemoryNetwork(SeededRng(seed), latency_s=0.001)
        client = await api.client(network.host("one"))
        world = World(host, api, client, network)
        try:
            await body(world)
        finally:
            await world.stop()

    virtual.run(main())


def template(image: str = "app:1", **labels: str) -> JsonObject:
    return {
        "metadata": {"labels": labels or {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]},
    }


def replica_set(name: str = "web", replicas: int = 3, **spec: Any) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec,
        },
    }  # fmt: skip


def deployment(name: str = "web", replicas: int = 3, image: str = "app:1", **spec: Any) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }


def stateful_set(name: str = "db", replicas: int = 3, image: str = "app:1", **spec: Any) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": template(image, app=name),
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def daemon_set(name: str = "agent", image: str = "app:1", **spec: Any) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": name, "namespace": "default", "annotations": {"deprecated.daemonset.template.generation": "1"},
        },
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": template(image, app=name),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "revisionHistoryLimit": 10,
            **spec,
        },
    }  # fmt: skip


def node(name: str, labels: dict[str, str] | None = None, taints: list[JsonObject] | None = None) -> JsonObject:
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": taints or []},
    }  # fmt: skip


def pod(name: str, *, node: str = "", labels: dict[str, str] | None = None, **parts: Any) -> JsonObject:
    spec: JsonObject = {"containers": [{"name": "app", "image": "app:1"}], **parts.pop("spec", {})}
    if node:
        spec["nodeName"] = node
    metadata = {"name": name, "namespace": "default", "labels": labels or {"app": "web"}, **parts.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, **parts}
