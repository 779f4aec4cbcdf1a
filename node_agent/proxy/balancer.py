"""Answering for load balancer addresses: the node that the controller named takes the address on its LAN.

A taken address has a life of its own in the kernel, which each renewal of this node's lease extends: when the proxy
hangs, dies, or is cut off from the API server, the kernel drops the address before the lease is over and the
controller names another node (`argosy.objects.load_balancer`). A lease is kept only while there are load balancers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.host import Host, rfc3339_micro
from argosy.informer import Informer
from argosy.objects import load_balancer as lb
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent.proxy import command

log = logs.get("node_agent.proxy.balancer")

BALANCER_INDEX: Final = "balancer"
ANY: Final = "*"
"""Every Service that has to do with load balancers of ours is under this."""
LABEL: Final = "lb"
"""Of addresses, so that those of a proxy before this one are found: `ip` shows it as DEVICE:lb."""
LABEL_CHARS: Final = 15
RENEWALS: Final = 4
"""In the time of one lease."""
ETHER_ARP: Final = 0x0806
ARP_ANNOUNCE: Final = bytes.fromhex("0001080006040001")

Run = Callable[[Sequence[str], str], Awaitable[str]]


def by_balancer(service: JsonObject) -> Iterable[str]:
    if lb.NODE_ANNOTATION not in meta.annotations(service):
        return ()
    node, leaving = lb.node(service)
    return (ANY,) if leaving or not node else (ANY, node)


def wanted(services: Iterable[JsonObject]) -> list[str]:
    """Addresses of Services that name this node."""
    return sorted({address for address in map(lb.address, services) if address})


class Addresses:
    """The addresses of this node's LAN device that are load balancers'."""

    def __init__(self, node_ip: str, run: Run = command.run) -> None:
        self._node_ip = node_ip
        self._run = run
        self._device = ""

    async def hold(self, addresses: Sequence[str], life_s: int) -> None:
        """Take or keep them for `life_s`. Raises CommandError."""
        device = await self._find()
        life = f"valid_lft {life_s} preferred_lft {life_s}"
        lines = [f"addr replace {ip}/32 dev {device} label {device}:{LABEL} {life}" for ip in addresses]
        if lines:
            await self._run(["ip", "-batch", "-"], "\n".join(lines) + "\n")

    async def drop(self, addresses: Sequence[str]) -> None:
        """Raises CommandError."""
        device = await self._find()
        lines = [f"addr del {ip}/32 dev {device}" for ip in addresses]
        if not lines:
            return
        try:
            await self._run(["ip", "-force", "-batch", "-"], "\n".join(lines) + "\n")
        except command.CommandError:
            # Those whose life ended a moment ago are not there any more: all that counts is that none is.
            if await self.held() & set(addresses):
                raise

    async def held(self) -> set[str]:
        """Raises CommandError."""
        device = await self._find()
        found = json.loads(await self._run(["ip", "-json", "-4", "addr", "show", "dev", device], "") or "[]")
        label = f"{device}:{LABEL}"
        return {str(item["local"]) for link in found for item in link["addr_info"] if item.get("label") == label}

    async def announce(self, addresses: Sequence[str]) -> None:
        """Gratuitous ARP: neighbours and switches learn at once who answers now. Best effort."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.setblocking(False)
            sock.bind((await self._find(), ETHER_ARP))
            hardware = sock.getsockname()[4]
            for address in addresses:
                sock.send(announcement(hardware, address))

    async def _find(self) -> str:
        """The device that has the node's own address."""
        if not self._device:
            found = json.loads(await self._run(["ip", "-json", "-4", "addr", "show"], "") or "[]")
            for link in found:
                if any(item.get("local") == self._node_ip for item in link["addr_info"]):
                    name = str(link["ifname"])
                    if len(name) + 1 + len(LABEL) > LABEL_CHARS:
                        raise command.CommandError(f"device {name}: its name is too long for a label of addresses")
                    self._device = name
                    break
            else:
                raise command.CommandError(f"no device has the node's address {self._node_ip}")
        return self._device


def announcement(hardware: bytes, address: str) -> bytes:
    """An Ethernet frame with an ARP request of the address for itself (RFC 5227, section 3)."""
    ip = socket.inet_aton(address)
    frame = b"\xff" * 6 + hardware + ETHER_ARP.to_bytes(2, "big")
    return frame + ARP_ANNOUNCE + hardware + ip + bytes(6) + ip


class Balancer:
    """Keeps this node's addresses and its lease. `run` lasts until cancelled and leaves no address behind."""

    def __init__(
        self,
        node: str,
        lease_s: int,
        host: Host,
        client: Client,
        services: Informer,
        nodes: Informer,
        addresses: Addresses,
    ) -> None:
        """`services` gets an index; `nodes` holds this node."""
        self._node = node
        self._lease_s = lease_s
        self._host = host
        self._leases = client.resource("coordination.k8s.io", "v1", "leases")
        self._services = services
        self._nodes = nodes
        self._addresses = addresses
        self._held: set[str] = set()
        self._wake = asyncio.Event()
        services.add_index(BALANCER_INDEX, by_balancer)
        services.add_handler(added=self._changed, updated=self._updated, deleted=self._changed)

    async def run(self) -> None:
        await self._services.wait_synced()
        await self._nodes.wait_synced()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._lease_s / RENEWALS if self._is_needed() else None):
                        await self._wake.wait()
                self._wake.clear()
                try:
                    async with asyncio.timeout(1.0):
                        await self._step()
                except (ApiError, TimeoutError, command.CommandError) as error:
                    log.warning("load balancer addresses could not be renewed", error=error)
        finally:
            with contextlib.suppress(command.CommandError):
                await self._addresses.drop(sorted(self._held))

    def _is_needed(self) -> bool:
        return bool(self._held or self._services.by_index(BALANCER_INDEX, ANY))

    def _changed(self, service: JsonObject) -> None:
        if lb.NODE_ANNOTATION in meta.annotations(service):
            self._wake.set()

    def _updated(self, old: JsonObject, new: JsonObject) -> None:
        if (lb.node(old), lb.address(old)) != (lb.node(new), lb.address(new)) or not self._held:
            self._changed(new)

    async def _step(self) -> None:
        """Let go first; then the lease, which tells what is held; then take."""
        if not self._is_needed():
            return
        names = wanted(self._services.by_index(BALANCER_INDEX, self._node))
        seen = self._services.resource_version
        present = await self._addresses.held()
        await self._addresses.drop(sorted(present - set(names)))
        self._held = set(names)
        begun_s = self._host.clock.monotonic()
        await self._renew(names, seen)
        # Whole seconds, counted from before the renewal: over before the lease is, however long this took.
        life_s = int(begun_s + self._lease_s - lb.FENCE_S - self._host.clock.monotonic())
        if life_s < 1:
            return
        await self._addresses.hold(names, life_s)
        fresh = [name for name in names if name not in present]
        if fresh:
            log.info("answering for load balancer addresses", addresses=",".join(fresh))
            await self._addresses.announce(fresh)

    async def _renew(self, names: Sequence[str], seen: str) -> None:
        name = lb.lease_name(self._node)
        now = rfc3339_micro(self._host.clock.now())
        spec = {"holderIdentity": self._node, "leaseDurationSeconds": self._lease_s, "renewTime": now}
        metadata: JsonObject = {
            "name": name,
            "namespace": lb.LEASE_NAMESPACE,
            "annotations": {lb.HELD_ANNOTATION: ",".join(names), lb.SEEN_ANNOTATION: seen},
        }
        node = self._nodes.get(self._node)
        if node is not None:
            metadata["ownerReferences"] = [meta.owner_reference(node, controller=False, block=False)]
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        try:
            await self._leases.patch(name, lease, namespace=lb.LEASE_NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
            await self._leases.create(lease)
