"""Load balancers: an address from the cluster's pool for each Service that asks for one, and a node that answers.

Upstream's service controller (`staging/src/k8s.io/cloud-provider/controllers/service/controller.go`) with the LAN as
its cloud: finalizer, status, events and node exclusion are its. An address is one node's at a time, as with MetalLB's
layer 2 mode. A node that stops renewing its lease (`argosy.objects.load_balancer`) loses its addresses; another is
named when the lease is over, or at once when the node says that it has let go.
"""

from __future__ import annotations

import hashlib
from typing import Final

from argosy.objects import load_balancer as lb
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import ENDPOINT_SLICES, LEASES, NODES, SERVICES, Context, Controller

EXCLUDE_LABEL: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
SERVICE_LABEL: Final = "kubernetes.io/service-name"
ADDRESS_INDEX: Final = "balancer-address"
BALANCER_INDEX: Final = "balancer-node"
LOCAL_INDEX: Final = "slices-of-service"
ALL_KEY: Final = "all"
WAITING_KEY: Final = "waiting"
AGAIN_S: Final = 1.0
EXHAUSTED_AGAIN_S: Final = 30.0


class ServiceLbController(Controller):
    """Keys are Services."""

    name = "service-lb-controller"
    watches = (SERVICES, NODES, ENDPOINT_SLICES, LEASES)
    writes = (SERVICES,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pools = [lb.Pool(text) for text in self.config.load_balancer_pool]
        self._services = self.informer(SERVICES)
        self._nodes = self.informer(NODES)
        self._slices = self.informer(ENDPOINT_SLICES)
        self._leases = self.informer(LEASES)
        self._given: dict[str, str] = {}
        """Address to Service, until the cache shows it."""
        self._renewed: dict[str, tuple[object, float]] = {}
        """Node to its lease's renewTime and when that was first seen, by this process's clock."""
        self._services.add_index(ADDRESS_INDEX, lambda service: (lb.address(service),) if lb.address(service) else ())
        self._services.add_index(BALANCER_INDEX, _balancers)
        self._slices.add_index(LOCAL_INDEX, _service_of)
        self._services.add_handler(
            added=self._touched, updated=lambda _old, new: self._touched(new), deleted=self._service_gone
        )
        self._nodes.add_handler(
            added=lambda _node: self._all(), updated=self._node_changed, deleted=lambda _node: self._all()
        )
        self._slices.add_handler(
            added=self._slice_changed, updated=lambda _old, new: self._slice_changed(new), deleted=self._slice_changed
        )
        self._leases.add_handler(added=self._lease_changed, updated=lambda _old, new: self._lease_changed(new))

    def _touched(self, service: JsonObject) -> None:
        address = lb.address(service)
        if address and self._given.get(address) == meta.key(service):
            del self._given[address]
        if meta.spec(service).get("type") == "LoadBalancer" or lb.FINALIZER in meta.finalizers(service):
            self.enqueue(service)

    def _service_gone(self, service: JsonObject) -> None:
        if meta.spec(service).get("type") != "LoadBalancer":
            return
        self._given = {address: key for address, key in self._given.items() if key != meta.key(service)}
        # Whoever found the pool empty may have its address.
        self._all()

    def _all(self) -> None:
        for service in self._services.by_index(BALANCER_INDEX, ALL_KEY):
            self.enqueue(service)

    def _node_changed(self, old: JsonObject, new: JsonObject) -> None:
        if _usable(old) != _usable(new):
            self._all()

    def _slice_changed(self, piece: JsonObject) -> None:
        for key in _service_of(piece):
            service = self._services.get(key)
            if service is not None and meta.spec(service).get("externalTrafficPolicy") == "Local":
                self._touched(service)

    def _lease_changed(self, lease: JsonObject) -> None:
        node = lb.node_of_lease(meta.name(lease))
        if not node:
            return
        known = self._renewed.get(node)
        time = meta.spec(lease).get("renewTime")
        if known is None or known[0] != time:
            self._renewed[node] = (time, self.host.clock.monotonic())
        if known is None:
            self._all()
            return
        # Addresses that a node let go of may go to another.
        for service in self._services.by_index(BALANCER_INDEX, WAITING_KEY):
            self.enqueue(service)

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None or self.is_behind(key):
            return None
        if not lb.wanted(service):
            return await self._release(service)
        if not self._pools:
            # Nobody here gives addresses out: the Service stays pending, as upstream without a cloud.
            return None
        if lb.FINALIZER not in meta.finalizers(service) or lb.NODE_ANNOTATION not in meta.annotations(service):
            self.events.event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
            finalizers = list(dict.fromkeys([*meta.finalizers(service), lb.FINALIZER]))
            annotations = {lb.NODE_ANNOTATION: meta.annotations(service).get(lb.NODE_ANNOTATION, "")}
            await self._patch(service, {"metadata": {"finalizers": finalizers, "annotations": annotations}})
            return None
        address = self._address_for(service)
        if not address:
            return EXHAUSTED_AGAIN_S
        if address != lb.address(service):
            if not await self._has_let_go(service):
                return AGAIN_S
            self._given[address] = key
            ingress = [{"ip": address, "ipMode": "VIP"}]
            annotations = {lb.NODE_ANNOTATION: ""}
            change = {"metadata": {"annotations": annotations}, "status": {"loadBalancer": {"ingress": ingress}}}
            await self._patch(service, change)
            self.events.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
            return None
        return await self._elect(service, address)

    # ---- addresses

    def _address_for(self, service: JsonObject) -> str:
        """The one it has, the one it asks for, or a free one; empty, with an event, when there is none."""
        key, asked, present = (
            meta.key(service),
            str(meta.spec(service).get("loadBalancerIP") or ""),
            lb.address(service),
        )
        if asked:
            if not any(asked in pool for pool in self._pools):
                self._failed(service, f"address {asked} is not in the load balancer pool")
            elif not self._is_free(asked, key):
                self._failed(service, f"address {asked} is already allocated")
            else:
                return asked
            return ""
        if present and any(present in pool for pool in self._pools) and self._is_free(present, key):
            return present
        for pool in self._pools:
            for address in pool:
                if self._is_free(address, key):
                    return address
        self._failed(service, "no address is free in the load balancer pool")
        return ""

    def _is_free(self, address: str, key: str) -> bool:
        if self._given.get(address, key) != key:
            return False
        return all(meta.key(other) == key for other in self._services.by_index(ADDRESS_INDEX, address))

    def _failed(self, service: JsonObject, text: str) -> None:
        message = f"Error syncing load balancer: failed to ensure load balancer: {text}"
        self.events.event(service, "Warning", "SyncLoadBalancerFailed", message)

    async def _release(self, service: JsonObject) -> float | None:
        if lb.FINALIZER not in meta.finalizers(service):
            return None
        if not lb.node(service)[1]:
            self.events.event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        if not await self._has_let_go(service):
            return AGAIN_S
        finalizers = [each for each in meta.finalizers(service) if each != lb.FINALIZER]
        change: JsonObject = {
            "metadata": {"finalizers": finalizers, "annotations": {lb.NODE_ANNOTATION: None}},
            "status": {"loadBalancer": {"ingress": None}},
        }
        await self._patch(service, change)
        self.events.event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")
        return None

    # ---- who answers

    async def _elect(self, service: JsonObject, address: str) -> float | None:
        """Name a node when there is none, or when the one there is can no longer answer."""
        present, leaving = lb.node(service)
        eligible = self._eligible(service)
        if present and not leaving and present in eligible:
            return max(AGAIN_S, self._left_s(present))
        if not await self._has_let_go(service) or self._holders(address) or not eligible:
            return AGAIN_S
        chosen = max(eligible, key=lambda node: hashlib.sha256(f"{address} {node}".encode()).digest())
        await self._patch(service, {"metadata": {"annotations": {lb.NODE_ANNOTATION: chosen}}})
        self.events.event(service, "Normal", "NodeAssigned", f"Node {chosen} answers for {address}")
        return None

    async def _has_let_go(self, service: JsonObject) -> bool:
        """Whether no node answers for the Service any more; one that may still do is told, and waited for.

        A node has let go when its lease, renewed knowing of that, does not list the address; or when it is over.
        """
        node, leaving = lb.node(service)
        if not node:
            return True
        if not leaving:
            await self._patch(service, {"metadata": {"annotations": {lb.NODE_ANNOTATION: f"-{node}"}}})
            return False
        lease = self._leases.get(f"{lb.LEASE_NAMESPACE}/{lb.lease_name(node)}")
        if lease is None or self._left_s(node) <= 0:
            return True
        return lb.seen(lease) >= int(meta.resource_version(service)) and lb.address(service) not in lb.held(lease)

    def _eligible(self, service: JsonObject) -> list[str]:
        local = meta.spec(service).get("externalTrafficPolicy") == "Local"
        near = self._nodes_with_endpoints(service) if local else None
        result = []
        for node in self._nodes.list():
            name = meta.name(node)
            if _usable(node) and self._left_s(name) > 0 and (near is None or name in near):
                result.append(name)
        return result

    def _nodes_with_endpoints(self, service: JsonObject) -> set[str]:
        return {
            str(item.get("nodeName"))
            for piece in self._slices.by_index(LOCAL_INDEX, meta.key(service))
            for item in piece.get("endpoints") or ()
            if (item.get("conditions") or {}).get("ready") is not False
        }

    def _holders(self, address: str) -> list[str]:
        """Nodes that may still answer for it, whatever Service they had it from."""
        result = []
        for node in self._renewed:
            lease = self._leases.get(f"{lb.LEASE_NAMESPACE}/{lb.lease_name(node)}")
            if lease is not None and address in lb.held(lease) and self._left_s(node) > 0:
                result.append(node)
        return result

    def _left_s(self, node: str) -> float:
        """How long the node may still hold addresses, counted from when its last sign was seen here."""
        lease = self._leases.get(f"{lb.LEASE_NAMESPACE}/{lb.lease_name(node)}")
        known = self._renewed.get(node)
        if lease is None or known is None:
            return 0.0
        duration = meta.spec(lease).get("leaseDurationSeconds")
        duration_s = float(duration) if isinstance(duration, int) and duration > 0 else 0.0
        return max(0.0, known[1] + duration_s - self.host.clock.monotonic())

    async def _patch(self, service: JsonObject, change: JsonObject) -> None:
        """Finalizer and annotation go with the status, as upstream's do: that is all that the role may write."""
        metadata = {**change.get("metadata", {}), "resourceVersion": meta.resource_version(service)}
        try:
            written = await self.writer(SERVICES).patch(
                meta.name(service),
                {**change, "metadata": metadata},
                namespace=meta.namespace(service),
                subresource="status",
            )
        except ApiError as error:
            if error.code != 404:
                raise
            return
        self.wrote(meta.key(service), SERVICES, written)


def _service_of(piece: JsonObject) -> tuple[str, ...]:
    name = meta.labels(piece).get(SERVICE_LABEL)
    return (f"{meta.namespace(piece)}/{name}",) if name else ()


def _balancers(service: JsonObject) -> tuple[str, ...]:
    """Every one that asks for an address, and those that no node answers for."""
    if meta.spec(service).get("type") != "LoadBalancer":
        return ()
    node, leaving = lb.node(service)
    return (ALL_KEY, WAITING_KEY) if leaving or not node else (ALL_KEY,)


def _usable(node: JsonObject) -> bool:
    """As upstream's node predicates: not excluded by label, not about to be deleted by the node autoscaler."""
    if EXCLUDE_LABEL in meta.labels(node) or meta.is_deleting(node):
        return False
    taints = meta.spec(node).get("taints") or ()
    if any(taint.get("key") == "ToBeDeletedByClusterAutoscaler" for taint in taints):
        return False
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in meta.status(node).get("conditions") or ()
    )
