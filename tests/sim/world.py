"""A whole cluster in one process on virtual time: store of three, API server, controllers, scheduler, hollow nodes.

`World` boots it from a seed and injects faults; clients write and remember what was acknowledged. Every process is a
host of the memory network, so that a partition or a crash hits all that it does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

from argosy.client import Client
from argosy.host import Host, SeededRng
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.rpc_memory import MemoryNetwork
from control_plane.apiserver.auth.attributes import User
from control_plane.apiserver.config import Config as ApiConfig
from control_plane.apiserver.server import ApiServer
from control_plane.controllers.config import Config as ControllersConfig
from control_plane.controllers.manager import ControllerManager
from control_plane.scheduler.config import Config as SchedulerConfig
from control_plane.scheduler.scheduler import Scheduler
from etcd.config import Config as StoreConfig
from etcd.sim_member import sim_member
from node_agent.hollow import hollow_agent
from node_agent.runtime.fake import FakeRuntime
from tests.sim.virtual import SimDisk, VirtualClock

STORES = ("etcd-1", "etcd-2", "etcd-3")
NODES = ("node-1", "node-2", "node-3")
IMAGE = "example/web:1"


class World:
    def __init__(self, seed: int) -> None:
        self.rng = SeededRng(seed)
        self.network = MemoryNetwork(SeededRng(f"net{seed}"), latency_s=0.001, jitter_s=0.004)
        self.disks = {name: SimDisk() for name in STORES}
        self.runtimes: dict[str, FakeRuntime] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.boots = 0
        self.acknowledged: dict[str, str] = {}
        """ConfigMap names to the last value whose write was answered."""
        self.unsure: dict[str, list[str]] = {}
        """Values whose writes failed since: they may have happened."""

    def _host(self, name: str) -> Host:
        self.boots += 1
        loop = asyncio.get_running_loop()
        rng = SeededRng(f"{name}{self.boots}{self.rng.random()}")
        return Host(VirtualClock(loop), rng, self.disks.get(name) or SimDisk())

    def client(self, name: str) -> Client:
        return Client(self.network.host(name), ["api:6444"], field_manager=name)

    def _start(self, name: str, running: Coroutine[object, object, None]) -> None:
        self.tasks[name] = asyncio.get_running_loop().create_task(running, name=name)

    async def boot(self, name: str) -> None:
        """Start (again) the process of that name."""
        host = self._host(name)
        if name in STORES:
            config = StoreConfig(
                name=name,
                data_dir=f"/{name}",
                listen_client=f"{name}:2379",
                listen_peer=f"{name}:2380",
                initial_cluster=tuple(f"{other}={other}:2380" for other in STORES),
                segment_bytes=256 << 10,
                snapshot_bytes=512 << 10,
                retain_bytes=64 << 10,
            )
            self._start(name, sim_member(config, host, self.network.host(name)).run())
        elif name == "api":
            api = ApiConfig(
                etcd_servers=tuple(f"{store}:2379" for store in STORES),
                listen_grpc=("api:6444",),
                default_not_ready_toleration_seconds=10,
                default_unreachable_toleration_seconds=10,
            )
            trusted = User("kubernetes-admin", ("system:masters",))
            self._start(name, ApiServer(api, host, self.network.host(name), trusted=trusted).run())
        elif name == "controllers":
            controllers = ControllersConfig(
                api_servers=("api:6444",), cluster_cidr=("10.244.0.0/16",), identity=f"c{self.boots}"
            )
            self._start(name, ControllerManager(controllers, host, self.client(name)).run())
        elif name == "scheduler":
            scheduler = SchedulerConfig(api_servers=("api:6444",), identity=f"s{self.boots}")
            self._start(name, Scheduler(scheduler, host, self.client(name)).run())
        else:
            runtime = self.runtimes.setdefault(name, FakeRuntime(host, images=[IMAGE]))
            address = f"10.77.3.{NODES.index(name) + 1}"
            self._start(name, hollow_agent(name, address, host, self.client(name), runtime).run())

    async def boot_all(self) -> None:
        for name in (*STORES, "api", "controllers", "scheduler", *NODES):
            await self.boot(name)

    async def crash(self, name: str) -> None:
        """End a process at once; a store member's disk keeps only what was synced."""
        self.network.crash(name)
        task = self.tasks.pop(name)
        task.cancel()
        with contextlib.suppress(BaseException):
            await task
        if name in STORES:
            self.disks[name].power_cut()

    async def write(self, number: int, value: str) -> None:
        """Write one ConfigMap and remember what was answered."""
        name = f"m{number}"
        maps = self.client("writer").resource("", "v1", "configmaps")
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default"},
            "data": {"value": value},
        }
        try:
            try:
                await maps.update(body)
            except ApiError as error:
                if error.reason != "NotFound" or name in self.acknowledged:
                    raise
                await maps.create(body)
        except ApiError:
            self.unsure.setdefault(name, []).append(value)
        else:
            self.acknowledged[name] = value
            self.unsure.pop(name, None)

    async def lost(self) -> list[str]:
        """Acknowledged writes that are not there."""
        found = await self.client("checker").resource("", "v1", "configmaps").list(namespace="default")
        values = {meta.name(item): item.get("data", {}).get("value") for item in found.items}
        return [
            f"{name}: {values.get(name)} is neither {value} nor one of {self.unsure.get(name, [])}"
            for name, value in self.acknowledged.items()
            if values.get(name) not in (value, *self.unsure.get(name, []))
        ]
