"""The node agent: one node's pods, its Node object, its lease and its network, in one class.

`NodeAgent(config, host, client, machine).run()` is the whole agent: `__main__` runs it on a real machine, the
simulator on a hollow one (`hollow.py`). Ending it ends no container; the next agent adopts them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence

from argosy import logs
from argosy.client import Client
from argosy.events import EventRecorder
from argosy.host import Host
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.pod_qos import BURSTABLE, qos_class
from argosy.objects.types import JsonObject
from node_agent.backoff import Backoff
from node_agent.config import Config
from node_agent.eviction import Evictor
from node_agent.images import Images
from node_agent.local_path import LocalFolder, LocalPath
from node_agent.machine import Machine
from node_agent.node_status import pod_cidrs
from node_agent.objects import Objects
from node_agent.pods import Pods
from node_agent.probes.manager import Probes
from node_agent.reclaiming import Reclaimer, Surroundings
from node_agent.registration import Registration
from node_agent.relisting import Relister
from node_agent.resources import pod_amount
from node_agent.runtime.runtime import RuntimeFailure, State
from node_agent.seams import PodSettings, Tools
from node_agent.starting import Starter
from node_agent.stopping import Stopper
from node_agent.worker import Parts

log = logs.get("node_agent")

RETRY_S = 1.0
LOG_ROTATION_S = 10.0
RELEASE_PERIOD_S = 60.0
FLUSH_S = 1.0


class NodeAgent:
    def __init__(self, config: Config, host: Host, client: Client, machine: Machine) -> None:
        self.config = config
        self.machine = machine
        self._host = host
        self._client = client
        name = config.node_name
        self._pod_informer = Informer(client.resource("", "v1", "pods"), host, fields=f"spec.nodeName={name}")
        self._node_informer = Informer(client.resource("", "v1", "nodes"), host)
        self._service_informer = Informer(client.resource("", "v1", "services"), host, transform=_service)
        self.recorder = EventRecorder(client, host, "kubelet", node=name)
        self.objects = Objects(client, host, self._wake, self._labels)
        self.relister = Relister(machine.runtime, host, config.runtime_relist_s, self._wake)
        self.registration = Registration(
            config,
            host,
            client,
            self._node_informer,
            machine.runtime,
            self.relister,
            machine.facts,
            self._network_problem,
            self.recorder,
        )
        self.probes = Probes(host, machine.prober, self.recorder, self._wake)
        self.pods = Pods(self._parts, self._pod_informer, self.registration.node, lambda: self.registration.pressure)
        around = Surroundings(self.registration.reference(), machine.facts, self.registration.look_now)
        self.reclaimer = Reclaimer(config, self.pods.tools, around)
        self._pod_cidrs: list[str] = []
        self._network_error = ""
        self._routes_due = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        jobs: list[tuple[str, Coroutine[object, object, None]]] = [
            ("events", self.recorder.run()),
            ("own pods", self._once_registered(self._pod_informer)),
            ("nodes", self._once_registered(self._node_informer)),
            ("services", self._once_registered(self._service_informer)),
            ("node", self._run_node()),
            ("lease", self._run_lease()),
            ("network", self._run_network()),
            ("pods", self._run_pods()),
            ("upkeep", self._run_upkeep()),
            ("evictions", Evictor(self.pods.tools).run(self.pods.workers)),
            ("shortages", self.reclaimer.run(self.pods.workers)),
        ]
        if self.machine.local_path_dir:
            jobs.append(("local volumes", self._run_local_path()))
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(job, name=name) for name, job in jobs]
        self._pod_informer.add_handler(added=self.objects.hold, updated=lambda _old, new: self.objects.hold(new))
        self._node_informer.add_handler(
            added=self._node_changed, updated=lambda _old, new: self._node_changed(new), deleted=self._node_changed
        )
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in reversed(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.objects.close()
            await self.machine.network.close()

    # Parts

    def _parts(self, pods: Pods) -> Parts:
        machine, config = self.machine, self.config
        capacity = self.registration.capacity
        settings = PodSettings(
            node_name=config.node_name,
            host_ips=config.node_ips,
            cluster_dns=config.cluster_dns,
            cluster_domain=config.cluster_domain,
            memory_bytes=config.node_memory_bytes or machine.facts.capacity().memory_bytes,
            allocatable=capacity,
        )
        tools = Tools(
            host=self._host,
            settings=settings,
            runtime=machine.runtime,
            volumes=machine.volumes_of(self.objects),
            files=machine.files,
            cgroups=machine.cgroups,
            recorder=self.recorder,
            http=machine.http,
            lookup=self.objects.get,
            services=self._services,
        )
        images = Images(tools)
        return Parts(
            tools=tools,
            images=images,
            starter=Starter(tools, images),
            stopper=Stopper(tools),
            probes=self.probes,
            crashes=Backoff(),
            pods=self._client.resource("", "v1", "pods"),
            admit=pods.admit,
            judge_resize=pods.judge_resize,
            freed=pods.retry_resizes,
            network_ready=self._network_problem,
        )

    def _services(self) -> Sequence[JsonObject] | None:
        return self._service_informer.list() if self._service_informer.has_synced else None

    def _labels(self) -> Mapping[str, str]:
        node = self._node_informer.get(self.config.node_name)
        return meta.labels(node) if node is not None else {}

    def _wake(self, pod_uid: str) -> None:
        self.pods.wake(pod_uid)

    def _network_problem(self) -> str:
        if not self._pod_cidrs:
            return "container runtime network not ready: no pod CIDR was assigned to this node yet"
        return self._network_error

    # Jobs

    async def _once_registered(self, informer: Informer) -> None:
        """Lists before the API server answers would only make the informer wait longer for its next try."""
        await self.registration.registered.wait()
        await informer.run()

    async def _run_local_path(self) -> None:
        await self.registration.registered.wait()
        folder = LocalFolder(self.machine.local_path_dir)
        await LocalPath(self.config.node_name, folder, self._host, self._client).run()

    async def _run_node(self) -> None:
        await self.registration.register()
        await self._node_informer.wait_synced()
        await self.registration.run()

    async def _run_lease(self) -> None:
        await self.registration.registered.wait()
        await self.registration.run_lease()

    async def _run_pods(self) -> None:
        while True:
            try:
                await self._after_boot()
                break
            except (RuntimeFailure, OSError) as error:
                log.warning("the runtime is not ready yet", error=error)
                await asyncio.sleep(RETRY_S / 4)
        relisting = asyncio.get_running_loop().create_task(self.relister.run(), name="relist")
        try:
            await self._service_informer.wait_synced()
            await self.pods.run(self.relister)
        finally:
            relisting.cancel()
            await asyncio.gather(relisting, return_exceptions=True)

    async def _after_boot(self) -> None:
        """After a node crash nothing runs, though the runtime may believe it: end every sandbox of before."""
        runtime = self.machine.runtime
        if self.machine.boots.is_new():
            for sandbox in await runtime.list_sandboxes():
                await runtime.stop_sandbox(sandbox.id)
                log.info("stale sandbox ended", pod=f"{sandbox.namespace}/{sandbox.name}", id=sandbox.id[:12])
            self.machine.boots.remember()
        else:
            await runtime.version()
        self.machine.network.release([sandbox.id for sandbox in await runtime.list_sandboxes()])

    def _node_changed(self, node: JsonObject) -> None:
        if meta.name(node) == self.config.node_name:
            cidrs = pod_cidrs(node)
            if cidrs and cidrs != self._pod_cidrs:
                self._configure(cidrs)
            if not self.registration.ready:
                self.registration.look_now()
        self._routes_due.set()

    def _configure(self, cidrs: list[str]) -> None:
        try:
            self.machine.network.configure(cidrs)
        except OSError as error:
            self._network_error = f"container runtime network not ready: {error}"
            log.error("pod network cannot be configured", error=error)
            return
        self._pod_cidrs, self._network_error = cidrs, ""
        log.info("pod network configured", cidrs=",".join(cidrs))
        self.pods.wake_all()

    async def _run_network(self) -> None:
        await self._node_informer.wait_synced()
        while True:
            self._routes_due.clear()
            try:
                await self.machine.network.route(self._node_informer.list())
            except OSError as error:
                log.warning("routes to other nodes are not complete", error=error)
                await asyncio.sleep(RETRY_S)
                continue
            await self._routes_due.wait()

    async def _run_upkeep(self) -> None:
        """Weigh QoS classes, rotate logs, drop objects that nobody uses, free addresses that nobody holds."""
        released_at = self._host.clock.monotonic()
        while True:
            await asyncio.sleep(LOG_ROTATION_S)
            self.objects.keep_only([uid for uid, worker in self.pods.workers.items() if not worker.ended])
            try:
                self.machine.cgroups.weigh(self._burstable_milli())
                await self._rotate_logs()
                if self._host.clock.monotonic() - released_at > RELEASE_PERIOD_S and not self.relister.error:
                    released_at = self._host.clock.monotonic()
                    sandboxes = await self.machine.runtime.list_sandboxes()
                    self.machine.network.release([sandbox.id for sandbox in sandboxes])
            except (RuntimeFailure, OSError) as error:
                log.warning("upkeep failed, is tried again", error=error)

    def _burstable_milli(self) -> int:
        pods = [worker.pod for worker in self.pods.workers.values() if worker.is_active]
        return sum(pod_amount(pod, "cpu") for pod in pods if qos_class(pod) == BURSTABLE) // 10**6

    async def _rotate_logs(self) -> None:
        keeper = self.machine.logs
        if keeper is None:
            return
        for worker in list(self.pods.workers.values()):
            for status in worker.observer.last.containers:
                if status.state is State.RUNNING and keeper.oversized(status, status.log_path):
                    keeper.rotate(status.log_path)
                    await self.machine.runtime.reopen_log(status.id)
                    log.info("container log rotated", container=status.name, id=status.id[:12])


def _service(service: JsonObject) -> JsonObject:
    """What environment variables are made of."""
    spec = meta.spec(service)
    kept = {"name": meta.name(service), "namespace": meta.namespace(service), "uid": meta.uid(service)}
    kept["resourceVersion"] = meta.resource_version(service)
    return {"metadata": kept, "spec": {"clusterIP": spec.get("clusterIP"), "ports": spec.get("ports")}}
