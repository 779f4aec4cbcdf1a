"""The service proxy of a node: watches services and endpoint slices, keeps the kernel's rules true.

Changes are gathered while a sync runs and for at least `min_sync_period_s` between two, so that a burst costs few
syncs and one change costs one change. Runs as `python -m node_agent.proxy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.config import option
from argosy.host import Host
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.proxy import conntrack, model
from node_agent.proxy.balancer import Addresses, Balancer
from node_agent.proxy.command import CommandError
from node_agent.proxy.conntrack import Conntrack, Deletion
from node_agent.proxy.health import HealthChecks
from node_agent.proxy.iptables import Applier
from node_agent.proxy.model import Family, NodeFacts, ServicePort

log = logs.get("node_agent.proxy")

GATHER_S: Final = 0.01
"""Changes that come together are written together."""
RETRY_MIN_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
FAMILIES: Final[tuple[Family, ...]] = ("IPv4", "IPv6")
BY_SERVICE: Final = "service"


@dataclass(frozen=True)
class Config:
    """Flags of the service proxy."""

    node_name: str = option(help="name of this node's Node object")
    node_ip: str = option(help="address of this node")
    api_servers: tuple[str, ...] = option(help="gRPC addresses of API servers, host:port or unix:PATH")
    ca: str = option("", help="PEM file of the cluster's authority")
    certificate: str = option("", help="PEM file of this client's certificate")
    key: str = option("", help="PEM file of its key")
    cluster_cidr: tuple[str, ...] = option((), help="pod ranges, one a family; other traffic to VIPs is masqueraded")
    proxy_mode: str = option("iptables", help="iptables or nftables")
    min_sync_period_s: float = option(0.1, help="least time between two syncs, seconds")
    sync_period_s: float = option(30.0, help="how often the rules are looked after, seconds")
    full_sync_period_s: float = option(3600.0, help="how often everything is written anew, seconds")
    load_balancer_lease_s: int = option(
        9, help="after this long without a sign of this node others take its addresses"
    )
    log_level: str = option("info", help="debug, info, warning or error")
    log_file: str = option("", help="file for logs instead of stderr")


class Proxy:
    """One node's proxy. `run` lasts until cancelled."""

    def __init__(
        self,
        config: Config,
        host: Host,
        client: Client,
        applier: Applier,
        tracker: Conntrack | None = None,
        health: HealthChecks | None = None,
        addresses: Addresses | None = None,
    ) -> None:
        """`addresses` are those of load balancers; without them this node answers for none."""
        self._config = config
        self._host = host
        self._applier = applier
        self._conntrack = tracker or Conntrack()
        self._health = health or HealthChecks()
        slim = _without_managed_fields
        self._services = Informer(client.resource("", "v1", "services"), host, transform=slim)
        self._slices = Informer(
            client.resource("discovery.k8s.io", "v1", "endpointslices"),
            host,
            labels=f"{model.SERVICE_NAME_LABEL},!{model.HEADLESS_LABEL}",
            indexes={BY_SERVICE: lambda obj: (model.key_of_slice(obj),)},
            transform=slim,
        )
        self._nodes = Informer(
            client.resource("", "v1", "nodes"), host, fields=f"metadata.name={config.node_name}", transform=slim
        )
        self._node = NodeFacts(config.node_name, config.cluster_cidr)
        self._dirty: dict[str, None] = {}
        self._everything = True
        self._wake = asyncio.Event()
        self._ports: dict[str, tuple[ServicePort, ...]] = {}
        self._balancer = None
        if addresses is not None:
            self._balancer = Balancer(
                *(config.node_name, config.load_balancer_lease_s, host, client),
                *(self._services, self._nodes, addresses),
            )
        self.syncs = 0
        """Successful ones, for tests and logs."""

    async def run(self) -> None:
        for informer, handler in ((self._services, meta.key), (self._slices, model.key_of_slice)):
            self._watch(informer, handler)
        self._nodes.add_handler(added=self._on_node, updated=lambda _, new: self._on_node(new))
        async with asyncio.TaskGroup() as group:
            for informer in (self._services, self._slices, self._nodes):
                group.create_task(informer.run())
            group.create_task(self._look_after())
            if self._balancer is not None:
                group.create_task(self._balancer.run())
            try:
                await self._services.wait_synced()
                await self._slices.wait_synced()
                await self._nodes.wait_synced()
                await self._loop()
            finally:
                await self._health.close()

    def _watch(self, informer: Informer, key_of: Callable[[JsonObject], str]) -> None:
        def touch(obj: JsonObject) -> None:
            self._touch(key_of(obj))

        def touch_both(old: JsonObject, new: JsonObject) -> None:
            touch(old)
            touch(new)

        informer.add_handler(added=touch, updated=touch_both, deleted=touch)

    def _touch(self, key: str) -> None:
        if key:
            self._dirty[key] = None
            self._wake.set()

    def _on_node(self, node: JsonObject) -> None:
        zone = meta.labels(node).get(model.ZONE_LABEL, "")
        spec = meta.spec(node)
        cidrs = tuple(
            str(cidr) for cidr in spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else ())
        )
        facts = NodeFacts(self._config.node_name, self._config.cluster_cidr, zone, cidrs)
        if facts != self._node:
            self._node = facts
            self._all_again()

    def _all_again(self) -> None:
        self._everything = True
        self._wake.set()

    async def _look_after(self) -> None:
        """Write everything again when somebody took our rules away, and once in a long while anyway."""
        last = self._host.clock.monotonic()
        while True:
            await asyncio.sleep(self._config.sync_period_s)
            now = self._host.clock.monotonic()
            due = now - last >= self._config.full_sync_period_s
            if due or (self.syncs and not await self._applier.intact()):
                log.info("writing all rules again", reason="period" if due else "rules were taken away")
                last = now
                self._all_again()

    async def _loop(self) -> None:
        pause_s = RETRY_MIN_S
        self._wake.set()
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            if not (self._everything or self._dirty):
                continue
            try:
                await self._sync()
            except CommandError as error:
                log.error("rules could not be written, trying again", error=error, pause_s=pause_s)
                self._all_again()
                await asyncio.sleep(pause_s)
                pause_s = min(RETRY_MAX_S, pause_s * 2)
            else:
                pause_s = RETRY_MIN_S
                await asyncio.sleep(self._config.min_sync_period_s)

    async def _sync(self) -> None:
        everything, self._everything = self._everything, False
        dirty, self._dirty = self._dirty, {}
        keys = self._services.keys() if everything else list(dirty)
        wanted = {key: self._resolve(key) for key in keys}
        known = self._ports
        if everything:
            await self._applier.sync_all(wanted, self._node)
            touched = {**known, **wanted}
        else:
            touched = {key: ports for key, ports in wanted.items() if ports != known.get(key, ())}
            if touched:
                await self._applier.sync(touched, self._node)
        stale: list[Deletion] = []
        for key in touched:
            ports = wanted.get(key, ())
            stale += conntrack.deletions(known.get(key, ()), ports)
            if ports:
                known[key] = ports
            else:
                known.pop(key, None)
        self.syncs += 1
        log.debug("rules written", everything=everything, services=len(touched))
        if stale:
            await self._conntrack.forget(stale)
        for key in touched:
            await self._check_health(key, known.get(key, ()))

    def _resolve(self, key: str) -> tuple[ServicePort, ...]:
        """Nothing that a service says may stop the others from being written."""
        service = self._services.get(key)
        if service is None:
            return ()
        slices = self._slices.by_index(BY_SERVICE, key)
        result: list[ServicePort] = []
        for family in FAMILIES:
            try:
                result += model.service_ports(service, slices, self._node, family)
            except (KeyError, TypeError, ValueError, AttributeError):
                log.exception("service left out: it cannot be understood", service=key)
        return tuple(result)

    async def _check_health(self, key: str, ports: Sequence[ServicePort]) -> None:
        service = self._services.get(key) if ports else None
        spec = service["spec"] if service else {}
        number = spec.get("healthCheckNodePort") if spec.get("externalTrafficPolicy") == "Local" else None
        local = len({ip for port in ports for ip in port.ready_here})
        await self._health.set(key, number if isinstance(number, int) else 0, local)


def _without_managed_fields(obj: JsonObject) -> JsonObject:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}
