"""Node IPAM: each node's share of the pod networks, as spec.podCIDR and spec.podCIDRs.

Upstream: `pkg/controller/nodeipam/ipam/range_allocator.go`. No two nodes may ever get the same share: what is handed
out is held in memory from before the write until the node shows it, and a new term first reads all nodes live, since
a cache may be older than the last leader's writes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from argosy import logs
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import NODES, Context, Controller

log = logs.get("controllers.ipam")

Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network


class CidrSet:
    """The equal shares of one network: who holds which. Pure."""

    def __init__(self, network: str, mask_bits: int, taken: Sequence[str] = ()) -> None:
        """`taken` are other networks, whose overlap is handed to nobody. Raises ValueError."""
        self.network: Cidr = ipaddress.ip_network(network)
        if not self.network.prefixlen <= mask_bits <= self.network.max_prefixlen:
            raise ValueError(f"a node's share /{mask_bits} does not fit into {network}")
        self._mask_bits = mask_bits
        self._size = 1 << (self.network.max_prefixlen - mask_bits)
        self._count = 1 << (mask_bits - self.network.prefixlen)
        self._holders: dict[int, str] = {}
        self._held: dict[str, dict[int, None]] = {}
        self._reserved = [other for text in taken if (other := ipaddress.ip_network(text)).version == self.version]
        self._next = 0

    @property
    def version(self) -> int:
        return self.network.version

    def occupy(self, cidr: Cidr, holder: str) -> str:
        """Note that `holder` has what `cidr` covers; gives another one that has part of it already, if any."""
        other = ""
        for number in self._numbers(cidr):
            before = self._holders.setdefault(number, holder)
            if before != holder:
                other = before
            else:
                self._held.setdefault(holder, {})[number] = None
        return other

    def allocate(self, holder: str) -> Cidr | None:
        """The next free share after the one given last; None when all are taken."""
        for step in range(self._count):
            number = (self._next + step) % self._count
            if number not in self._holders:
                share = self._share(number)
                if any(share.overlaps(other) for other in self._reserved):
                    continue
                self._holders[number] = holder
                self._held.setdefault(holder, {})[number] = None
                self._next = (number + 1) % self._count
                return share
        return None

    def release(self, holder: str) -> None:
        """Everything that `holder` has."""
        for number in self._held.pop(holder, ()):
            del self._holders[number]

    def _share(self, number: int) -> Cidr:
        base = int(self.network.network_address) + number * self._size
        return (
            ipaddress.ip_network((base, self._mask_bits))
            if self.version == 6
            else ipaddress.IPv4Network((base, self._mask_bits))
        )

    def _numbers(self, cidr: Cidr) -> range:
        if cidr.version != self.version or not self.network.overlaps(cidr):
            return range(0)
        base = int(self.network.network_address)
        first = max(0, (int(cidr.network_address) - base) // self._size)
        last = min(self._count - 1, (int(cidr.broadcast_address) - base) // self._size)
        return range(first, last + 1)


class NodeIpamController(Controller):
    name = "node-ipam-controller"
    watches = (NODES,)
    writes = (NODES,)

    def __init__(self, context: Context) -> None:
        """Raises ValueError for networks that cannot be shared out."""
        super().__init__(context)
        config = self.config
        self._sets = [
            CidrSet(
                text,
                config.node_cidr_mask_size_ipv6 if ":" in text else config.node_cidr_mask_size_ipv4,
                config.service_cluster_ip_range,
            )
            for text in config.cluster_cidr
        ]
        self._wanting: dict[str, None] = {}
        """Nodes that got none, as all were taken."""
        self._nodes = self.informer(NODES)
        self._nodes.add_handler(added=self._seen, updated=lambda _old, new: self._seen(new), deleted=self._gone)

    def _seen(self, node: JsonObject) -> None:
        if not self._sets:
            return
        if cidrs(node):
            self._occupy(node)
        elif not meta.is_deleting(node):
            self.enqueue(node)

    def _gone(self, node: JsonObject) -> None:
        """What it had goes to those that wait, without the pause of their failures."""
        self._release(node)
        self._wanting.pop(meta.name(node), None)
        for name in self._wanting:
            self.queue.add(name)

    def _release(self, node: JsonObject) -> None:
        for each in self._sets:
            each.release(_holder(node))

    def _occupy(self, node: JsonObject) -> None:
        for text in cidrs(node):
            try:
                cidr = ipaddress.ip_network(text)
            except ValueError:
                continue
            for each in self._sets:
                other = each.occupy(cidr, _holder(node))
                if other:
                    log.error("two nodes have the same podCIDR", cidr=text, node=meta.name(node), other=other)

    async def run(self) -> None:
        if self._sets:
            nodes = await self._all_nodes()
            for node in nodes:
                self._occupy(node)
        await super().run()

    async def _all_nodes(self) -> list[JsonObject]:
        """The newest state there is, in pages. Raises ApiError."""
        nodes: list[JsonObject] = []
        await self._nodes.wait_synced()
        page = await self.reader(NODES).list(limit=500)
        nodes += page.items
        while page.continue_:
            page = await self.reader(NODES).list(limit=500, continue_=page.continue_)
            nodes += page.items
        return nodes

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None or cidrs(node) or meta.is_deleting(node):
            return None
        live = await self.reader(NODES).get(key)
        if meta.uid(live) != meta.uid(node) or cidrs(live):
            self._seen(live)
            return None
        holder = _holder(node)
        self._release(node)
        shares = [each.allocate(holder) for each in self._sets]
        if None in shares:
            self._release(node)
            self._wanting[key] = None
            message = f"Node {key} status is now: CIDRNotAvailable"
            self.events.event(node, "Normal", "CIDRNotAvailable", message)
            raise RuntimeError(f"no pod network is left for node {key}")
        texts = [str(share) for share in shares]
        metadata = {"uid": meta.uid(live), "resourceVersion": meta.resource_version(live)}
        try:
            await self.writer(NODES).patch(
                key, {"metadata": metadata, "spec": {"podCIDR": texts[0], "podCIDRs": texts}}
            )
        except ApiError as error:
            if error.code in (404, 409, 422):
                self._release(node)
            raise
        self._wanting.pop(key, None)
        log.info("node got its pod networks", node=key, cidrs=",".join(texts))
        return None


def cidrs(node: JsonObject) -> list[str]:
    spec = meta.spec(node)
    single = spec.get("podCIDR")
    return list(spec.get("podCIDRs") or ([single] if single else []))


def _holder(node: JsonObject) -> str:
    return f"{meta.name(node)}/{meta.uid(node)}"
