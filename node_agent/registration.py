"""Keeps this node's Node object and its lease: registers, renews, and tells how the node is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from argosy import logs
from argosy.client import Client
from argosy.host import Host, rfc3339_micro
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent import pressure
from node_agent.config import Config
from node_agent.node_status import (
    Facts,
    Lasting,
    Present,
    Pressure,
    capacity_list,
    new_node,
    node_labels,
    node_status,
    same_but_heartbeats,
)
from node_agent.relisting import Relister
from node_agent.runtime.runtime import Image, Runtime, RuntimeFailure
from node_agent.seams import Recorder

log = logs.get("node_agent.node")

LEASE_NAMESPACE = "kube-node-lease"
RUNTIME_GRACE_S = 30.0
"""A runtime that has not answered for so long makes the node NotReady."""
NOT_READY_POLL_S = 0.2
RETRY_MIN_S = 0.1
RETRY_MAX_S = 7.0
REGISTER_RETRY_MAX_S = 1.0
"""Short: a node that starts together with its API server shall not wait longer than that."""
IMAGES_PERIOD_S = 300.0


class Registration:
    """`run()` keeps the status, `run_lease()` the lease; both until cancelled."""

    def __init__(
        self,
        config: Config,
        host: Host,
        client: Client,
        informer: Informer,
        runtime: Runtime,
        relister: Relister,
        facts: Facts,
        network_problem: Callable[[], str],
        recorder: Recorder,
    ) -> None:
        """`informer` is of this Node alone; `network_problem` says why pods cannot have addresses, or nothing."""
        self._config = config
        self._host = host
        self._nodes = client.resource("", "v1", "nodes")
        self._leases = client.resource("coordination.k8s.io", "v1", "leases")
        self._informer = informer
        self._runtime = runtime
        self._relister = relister
        self._facts = facts
        self._thresholds = pressure.thresholds(
            config.eviction_hard, config.eviction_soft, config.eviction_soft_grace_period
        )
        self._lasting = Lasting(config.pressure_transition_s)
        self.pressure = Pressure()
        """What the node says that it runs short of."""
        self._network_problem = network_problem
        self._recorder = recorder
        self.capacity = capacity_list(config, facts.capacity())
        self.ready = False
        self.registered = asyncio.Event()
        self._images: Sequence[Image] = ()
        self._images_at: float | None = None
        self._version = ""
        self._written: JsonObject = {}
        self._written_at: float | None = None
        self._poke = asyncio.Event()

    def node(self) -> JsonObject | None:
        return self._informer.get(self._config.node_name)

    def reference(self) -> JsonObject:
        """As upstream's node events have it: the node's name is its uid."""
        name = self._config.node_name
        return {"apiVersion": "v1", "kind": "Node", "name": name, "uid": name}

    def look_now(self) -> None:
        """Something changed that the status tells of."""
        self._poke.set()

    async def register(self) -> JsonObject:
        """Create the Node, or bring labels of an older one up to date; tries until it succeeds."""
        node = await self._register()
        self.registered.set()
        return node

    async def _register(self) -> JsonObject:
        wanted = new_node(self._config, self._facts.system().architecture)
        present = await self._present()
        wanted["status"] = node_status(self._config, {}, self.capacity, self._facts.system(), present)
        pause_s = RETRY_MIN_S
        while True:
            try:
                try:
                    node = await self._nodes.create(wanted)
                    log.info("node registered", node=self._config.node_name)
                    self._recorder.event(self.reference(), "Normal", "Starting", "Starting kubelet.")
                    return node
                except ApiError as error:
                    if error.reason != "AlreadyExists":
                        raise
                return await self._reconcile_labels()
            except ApiError as error:
                log.warning("node is not registered yet", code=error.code, error=error.message)
                await asyncio.sleep(pause_s * (0.5 + self._host.rng.random()))
                pause_s = min(REGISTER_RETRY_MAX_S, pause_s * 2)

    async def _reconcile_labels(self) -> JsonObject:
        node = await self._nodes.get(self._config.node_name)
        labels = node_labels(self._config, self._facts.system().architecture)
        changed = {key: value for key, value in labels.items() if meta.labels(node).get(key) != value}
        if not changed:
            return node
        return await self._nodes.patch(self._config.node_name, {"metadata": {"labels": changed}})

    async def run(self) -> None:
        """Write the status when it changed, and now and then though it did not."""
        pause_s = RETRY_MIN_S
        while True:
            self._poke.clear()
            wait_s = self._config.node_status_update_s
            try:
                await self._update()
                pause_s = RETRY_MIN_S
                if not self.ready:
                    wait_s = min(wait_s, NOT_READY_POLL_S)
            except ApiError as error:
                log.warning("node status was not written", code=error.code, error=error.message)
                if error.code == 404:
                    await self.register()
                wait_s = pause_s * (0.5 + self._host.rng.random())
                pause_s = min(RETRY_MAX_S, pause_s * 2)
            try:
                async with asyncio.timeout(wait_s):
                    await self._poke.wait()
            except TimeoutError:
                pass

    async def _update(self) -> None:
        present = await self._present()
        if present.ready != self.ready:
            log.info("node readiness changed", ready=present.ready, why=present.not_ready_message)
            reason = "NodeReady" if present.ready else "NodeNotReady"
            message = f"Node {self._config.node_name} status is now: {reason}"
            self._recorder.event(self.reference(), "Normal", reason, message)
        self.ready = present.ready
        node = self.node()
        old = meta.status(node) if node else self._written
        status = node_status(self._config, old, self.capacity, self._facts.system(), present)
        now = self._host.clock.monotonic()
        fresh = self._written_at is not None and now - self._written_at < self._config.node_status_report_s
        if fresh and same_but_heartbeats(status, self._written) and (node is None or self._kept(old, status)):
            return
        gone = {name: None for name in old.get("allocatable") or {} if name not in status["allocatable"]}
        change = {**status, "allocatable": {**gone, **status["allocatable"]}}
        await self._nodes.patch(self._config.node_name, {"status": change}, subresource="status")
        self._written, self._written_at = status, now

    def _kept(self, old: JsonObject, status: JsonObject) -> bool:
        """Whether the server still says of our conditions what we say (the node controller may set them Unknown)."""
        theirs = {item.get("type"): item.get("status") for item in old.get("conditions") or []}
        return all(theirs.get(item["type"]) == item["status"] for item in status["conditions"])

    async def _present(self) -> Present:
        ready, message = await self._health()
        now_s = self._host.clock.monotonic()
        try:
            short = pressure.met(self._thresholds, self._facts.signals())
            self.pressure = self._lasting(pressure.pressure(short), now_s)
        except OSError as error:
            log.warning("shortages cannot be told", error=error)
        return Present(self._host.clock.now(), ready, message, self.pressure, self._version, self._images)

    async def _health(self) -> tuple[bool, str]:
        try:
            if not self._version:
                name, version = await self._runtime.version()
                self._version = f"{name}://{version}"
            health = await self._runtime.health()
            now = self._host.clock.monotonic()
            if self._images_at is None or now - self._images_at > IMAGES_PERIOD_S:
                self._images, self._images_at = await self._runtime.list_images(), now
        except RuntimeFailure as failure:
            last = self._relister.healthy_at
            if self.ready and last is not None and self._host.clock.monotonic() - last < RUNTIME_GRACE_S:
                return True, ""
            return False, f"container runtime is down: {failure.message}"
        if not health.runtime_ready:
            return False, f"container runtime status check may not have completed yet: {health.message}"
        if not health.network_ready:
            return False, f"container runtime network not ready: {health.message}"
        problem = self._network_problem()
        return not problem, problem

    async def run_lease(self) -> None:
        """Renew the lease a quarter into its duration; a failed renewal is tried again at once, then slower."""
        lease: JsonObject | None = None
        period_s = self._config.node_lease_duration_s / 4
        pause_s = RETRY_MIN_S
        while True:
            try:
                lease = await self._renew(lease)
                pause_s = RETRY_MIN_S
                await asyncio.sleep(period_s * (1 + 0.04 * self._host.rng.random()))
            except ApiError as error:
                log.warning("lease was not renewed", code=error.code, error=error.message)
                lease = None
                await asyncio.sleep(pause_s * (0.5 + self._host.rng.random()))
                pause_s = min(RETRY_MAX_S, pause_s * 2)

    async def _renew(self, lease: JsonObject | None) -> JsonObject:
        name = self._config.node_name
        renewal = {
            "holderIdentity": name,
            "leaseDurationSeconds": self._config.node_lease_duration_s,
            "renewTime": rfc3339_micro(self._host.clock.now()),
        }
        if lease is None:
            try:
                lease = await self._leases.get(name, namespace=LEASE_NAMESPACE)
            except ApiError as error:
                if error.code != 404:
                    raise
                metadata = {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [await self._owner()]}
                made = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": metadata,
                    "spec": renewal,
                }
                return await self._leases.create(made)
        lease = {**lease, "spec": {**meta.spec(lease), **renewal}}
        if not meta.metadata(lease).get("ownerReferences"):
            lease["metadata"] = {**meta.metadata(lease), "ownerReferences": [await self._owner()]}
        return await self._leases.update(lease)

    async def _owner(self) -> JsonObject:
        """Of the lease: without one it would outlive its Node for ever. Raises ApiError, NotFound without a Node."""
        node = await self._nodes.get(self._config.node_name)
        return {"apiVersion": "v1", "kind": "Node", "name": meta.name(node), "uid": meta.uid(node)}
