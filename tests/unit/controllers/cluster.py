"""A whole control plane in one process on virtual time: store, API server, and all controllers of this package."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from argosy import pki
from argosy.client import Client, EventType
from argosy.host import Host, SeededRng, rfc3339
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.rpc_memory import MemoryNetwork
from control_plane.apiserver.config import Config as ApiConfig
from control_plane.apiserver.request import User
from control_plane.apiserver.server import ApiServer
from control_plane.controllers.config import Config
from control_plane.controllers.daemon_pods import target_node
from control_plane.controllers.manager import ControllerManager
from etcd.local import LocalStore
from tests.sim import virtual

ADMIN = User("admin", ("system:masters",))
MANAGER = User("system:kube-controller-manager", ("system:authenticated",))
ADMIN_API, MANAGER_API = "api:6444", "api:6445"
"""Two servers on one store: the controllers' own knows them by name, so that their roles are tested too."""


class Cluster:
    def __init__(self, host: Host, client: Client, network: MemoryNetwork) -> None:
        self.host = host
        self.client = client
        self.network = network
        self._managers: dict[ControllerManager, tuple[str, asyncio.Task[None]]] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.ready_after_s = 1.0

    def start(self, coroutine: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.append(task)
        return task

    def controllers(self, *names: str, **options: Any) -> ControllerManager:
        """Service accounts are always made: without them there are no pods."""
        names = (*names, "serviceaccount-controller") if names else ()
        options = {"leader_elect": False, "controllers": names or ("*",), **options}
        config = Config(api_servers=(MANAGER_API,), **options)
        host = f"manager-{len(self._managers)}"
        manager = ControllerManager(config, self.host, Client(self.network.host(host), [MANAGER_API]))
        self._managers[manager] = (host, self.start(manager.run()))
        return manager

    async def crash(self, manager: ControllerManager) -> None:
        """As kill -9: it cannot say goodbye."""
        host, task = self._managers[manager]
        self.network.crash(host)
        self.tasks.remove(task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def settle(self, seconds: float = 5.0) -> None:
        await asyncio.sleep(seconds)
        for task in self.tasks:
            if task.done():
                task.result()

    # Short forms. A resource is `plural` or `plural.group`, in version v1.

    def resource(self, text: str) -> Any:
        plural, _, group = text.partition(".")
        return self.client.resource(group, "v1", plural)

    async def create(self, resource: str, obj: JsonObject) -> JsonObject:
        return await self.resource(resource).create(obj)  # type: ignore[no-any-return]

    async def get(self, resource: str, key: str) -> JsonObject | None:
        namespace, name = meta.split_key(key)
        try:
            return await self.resource(resource).get(name, namespace=namespace)  # type: ignore[no-any-return]
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(self, resource: str, namespace: str = "") -> list[JsonObject]:
        return (await self.resource(resource).list(namespace=namespace)).items  # type: ignore[no-any-return]

    async def patch(self, resource: str, key: str, change: JsonObject, subresource: str = "") -> JsonObject:
        namespace, name = meta.split_key(key)
        return await self.resource(resource).patch(  # type: ignore[no-any-return]
            name, change, namespace=namespace, subresource=subresource
        )

    async def delete(self, resource: str, key: str, **options: Any) -> None:
        namespace, name = meta.split_key(key)
        await self.resource(resource).delete(name, namespace=namespace, **options)

    async def events(self, reason: str) -> list[str]:
        return [each["message"] for each in await self.list("events") if each["reason"] == reason]

    # A kubelet and scheduler of few words.

    def kubelet(self, *nodes: str) -> None:
        self.start(self._kubelet(nodes))

    async def _kubelet(self, nodes: tuple[str, ...]) -> None:
        count = 0
        async for event in self.resource("pods").watch():
            pod = event.object
            if event.type is EventType.DELETED:
                continue
            if meta.is_deleting(pod):
                self.start(self._end(pod))
            elif not meta.spec(pod).get("nodeName"):
                self.start(self._begin(pod, target_node(pod) or nodes[count % len(nodes)], count))
                count += 1

    async def _begin(self, pod: JsonObject, node: str, number: int) -> None:
        name, namespace = meta.name(pod), meta.namespace(pod)
        binding = {
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }  # fmt: skip
        await self._quietly(self.resource("pods").create(binding, name=name, subresource="binding"))
        await asyncio.sleep(self.ready_after_s)
        now = rfc3339(self.host.clock.now())
        address = f"10.244.{number // 250}.{number % 250 + 1}"
        conditions = [
            {"type": type_, "status": "True", "lastTransitionTime": now}
            for type_ in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        status = {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
            "conditions": conditions,
        }  # fmt: skip
        change = {"metadata": {"uid": meta.uid(pod)}, "status": status}
        await self._quietly(self.patch("pods", meta.key(pod), change, "status"))

    async def _end(self, pod: JsonObject) -> None:
        await asyncio.sleep(1.0)
        await self._quietly(self.delete("pods", meta.key(pod), grace_period_s=0, uid=meta.uid(pod)))

    async def _quietly(self, call: Awaitable[Any]) -> None:
        try:
            await call
        except ApiError as error:
            if error.code not in (404, 409):
                raise


def run(body: Callable[[Cluster], Awaitable[None]], directory: Path | None = None, seed: int = 1) -> None:
    async def main() -> None:
        host = virtual.virtual_host(asyncio.get_running_loop(), seed)
        network = MemoryNetwork(SeededRng(seed), latency_s=0.0005)
        store = LocalStore(host)
        await network.host("store").serve("store:2379", store.methods())
        options: JsonObject = {"compaction_interval_s": 0.0}
        if directory is not None:
            key, _ = pki.key_pair()
            path = directory / "sa.key"
            path.write_bytes(key)
            options["service_account_key"] = str(path)
        serving = []
        for address, user in ((ADMIN_API, ADMIN), (MANAGER_API, MANAGER)):
            config = ApiConfig(etcd_servers=("store:2379",), listen_grpc=(address,), **options)
            server = ApiServer(config, host, network.host("api"), trusted=user)
            serving.append(asyncio.get_running_loop().create_task(server.run()))
            await server.ready.wait()
        cluster = Cluster(host, Client(network.host("one"), [ADMIN_API]), network)
        try:
            await body(cluster)
        finally:
            for task in [*cluster.tasks, *serving]:
                task.cancel()
            await asyncio.gather(*cluster.tasks, *serving, return_exceptions=True)

    virtual.run(main())
