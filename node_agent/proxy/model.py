"""What the Service objects mean on one node: which addresses lead to which endpoints.

Pure: services, endpoint slices and facts about the node in, `ServicePort`s out. Both rule writers (`rules.py` for
iptables, `nft_rules.py` for nftables) and the conntrack cleaner work from the same `ServicePort`s, so that the
modes cannot disagree. Which endpoints count follows kube-proxy (`pkg/proxy/topology.go`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from argosy.objects.types import JsonObject

Family = Literal["IPv4", "IPv6"]

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
PROXY_NAME_LABEL: Final = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL: Final = "service.kubernetes.io/headless"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
AFFINITY_DEFAULT_S: Final = 10_800


@dataclass(frozen=True)
class NodeFacts:
    """The node whose rules are made."""

    name: str
    cluster_cidrs: tuple[str, ...] = ()
    """Pod ranges, at most one a family; traffic to a VIP from elsewhere is masqueraded."""
    zone: str = ""
    pod_cidrs: tuple[str, ...] = ()
    """This node's part of them, once it is known."""

    def cluster_cidr(self, family: Family) -> str:
        return next((cidr for cidr in self.cluster_cidrs if family_of(cidr) == family), "")

    def local_cidr(self, family: Family) -> str:
        """Where this node's own pods come from. Pods of other nodes are outsiders here: an answer from a third node
        would not pass by this one, so they must not be sent on to there."""
        own = next((cidr for cidr in self.pod_cidrs if family_of(cidr) == family), "")
        return own or self.cluster_cidr(family)


@dataclass(frozen=True, order=True)
class Endpoint:
    ip: str
    port: int
    local: bool = False
    """On this node."""

    @property
    def address(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


@dataclass(frozen=True)
class ServicePort:
    """One port of one service in one family, with the endpoints that this node may use for it."""

    name: str
    """`namespace/service:port`, without the colon when the port has no name."""
    family: Family
    protocol: str
    """`tcp`, `udp` or `sctp`."""
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    """Who may reach the load balancer addresses; empty: everybody."""
    affinity_s: int = 0
    """Seconds that a client stays with its endpoint; 0: no affinity."""
    internal_local: bool = False
    external_local: bool = False
    cluster_endpoints: tuple[Endpoint, ...] = ()
    local_endpoints: tuple[Endpoint, ...] = ()
    """The ones on this node, when a Local traffic policy asks for them."""
    ready_here: tuple[str, ...] = ()
    """Addresses of ready endpoints on this node, for the health check port: draining ones do not count there."""

    @property
    def has_endpoints(self) -> bool:
        return bool(self.cluster_endpoints or self.local_endpoints)

    @property
    def internal_endpoints(self) -> tuple[Endpoint, ...]:
        return self.local_endpoints if self.internal_local else self.cluster_endpoints

    @property
    def external_endpoints(self) -> tuple[Endpoint, ...]:
        return self.local_endpoints if self.external_local else self.cluster_endpoints

    @property
    def external(self) -> bool:
        """Reachable from outside of the cluster."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)


def family_of(address: str) -> Family | None:
    """Of an address or a CIDR; None for what is neither."""
    try:
        version = ipaddress.ip_network(address, strict=False).version
    except ValueError:
        return None
    return "IPv4" if version == 4 else "IPv6"


def key_of_slice(endpoint_slice: JsonObject) -> str:
    """`namespace/service` that an EndpointSlice belongs to; empty for none."""
    metadata = endpoint_slice["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL, "")
    return f"{metadata.get('namespace', '')}/{name}" if name else ""


def ignored(service: JsonObject) -> bool:
    """Headless, ExternalName, or left to another proxy."""
    spec = service.get("spec") or {}
    labels = service["metadata"].get("labels") or {}
    return (
        spec.get("type") == "ExternalName"
        or spec.get("clusterIP") in (None, "", "None")
        or PROXY_NAME_LABEL in labels
        or HEADLESS_LABEL in labels
    )


def service_ports(
    service: JsonObject, slices: Iterable[JsonObject], node: NodeFacts, family: Family
) -> tuple[ServicePort, ...]:
    """The ports of a service in one family; none when it has no address of that family."""
    if ignored(service):
        return ()
    spec = service["spec"]
    cluster_ip = next((ip for ip in _cluster_ips(spec) if family_of(ip) == family), "")
    if not cluster_ip:
        return ()
    own = [piece for piece in slices if piece.get("addressType") == family]
    metadata = service["metadata"]
    result = []
    for port in spec.get("ports") or ():
        protocol = str(port.get("protocol") or "TCP")
        number = _port(port.get("port"))
        if protocol not in PROTOCOLS or not number:
            continue
        port_name = str(port.get("name") or "")
        name = f"{metadata.get('namespace', '')}/{metadata['name']}" + (f":{port_name}" if port_name else "")
        result.append(_service_port(spec, service, name, protocol, port, cluster_ip, own, node, family))
    return tuple(result)


def _service_port(
    spec: JsonObject,
    service: JsonObject,
    name: str,
    protocol: str,
    port: JsonObject,
    cluster_ip: str,
    slices: Sequence[JsonObject],
    node: NodeFacts,
    family: Family,
) -> ServicePort:
    external_ips = tuple(ip for ip in spec.get("externalIPs") or () if family_of(ip) == family)
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    balancer_ips = tuple(
        str(item["ip"])
        for item in ingress
        if item.get("ip") and item.get("ipMode") != "Proxy" and family_of(str(item["ip"])) == family
    )
    ranges = tuple(
        text.strip() for text in spec.get("loadBalancerSourceRanges") or () if family_of(text.strip()) == family
    )
    node_port = _port(port.get("nodePort"))
    external = bool(node_port or external_ips or balancer_ips)
    internal_local = spec.get("internalTrafficPolicy") == "Local"
    external_local = external and spec.get("externalTrafficPolicy") == "Local"
    everyone = endpoints(slices, str(port.get("name") or ""), protocol, node)
    local: tuple[Endpoint, ...] = ()
    if internal_local or external_local:
        local = usable([item for item in everyone if item.endpoint.local])
    return ServicePort(
        name=name,
        family=family,
        protocol=protocol.lower(),
        cluster_ip=cluster_ip,
        port=_port(port.get("port")),
        node_port=node_port,
        external_ips=external_ips,
        load_balancer_ips=balancer_ips,
        source_ranges=ranges,
        affinity_s=_affinity_s(spec),
        internal_local=internal_local,
        external_local=external_local,
        cluster_endpoints=usable(everyone, node),
        local_endpoints=local,
        ready_here=tuple(item.endpoint.ip for item in everyone if item.ready and item.endpoint.local)
        if external_local
        else (),
    )


@dataclass(frozen=True)
class Candidate:
    """An endpoint with what a slice says of its state."""

    endpoint: Endpoint
    ready: bool
    draining: bool
    """Terminating but still serving."""
    zones: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    """Hints: where it is meant to be used."""


def endpoints(slices: Iterable[JsonObject], port_name: str, protocol: str, node: NodeFacts) -> list[Candidate]:
    """Every endpoint of one port, each address once, in a stable order."""
    found: dict[tuple[str, int], Candidate] = {}
    for piece in slices:
        for port in piece.get("ports") or ():
            number = _port(port.get("port"))
            same_name = str(port.get("name") or "") == port_name
            if not number or not same_name or str(port.get("protocol") or "TCP") != protocol:
                continue
            for item in piece.get("endpoints") or ():
                candidate = _candidate(item, number, node)
                if candidate is None:
                    continue
                key = (candidate.endpoint.ip, number)
                known = found.get(key)
                if known is None or (candidate.ready and not known.ready):
                    found[key] = candidate
    return [found[key] for key in sorted(found)]


def _candidate(item: JsonObject, port: int, node: NodeFacts) -> Candidate | None:
    addresses = item.get("addresses") or ()
    if not addresses or family_of(str(addresses[0])) is None:
        return None
    conditions = item.get("conditions") or {}
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    serving = ready if serving is None else bool(serving)
    hints = item.get("hints") or {}
    return Candidate(
        Endpoint(str(addresses[0]), port, bool(node.name) and item.get("nodeName") == node.name),
        ready,
        serving and bool(conditions.get("terminating")),
        tuple(str(zone.get("name")) for zone in hints.get("forZones") or ()),
        tuple(str(hint.get("name")) for hint in hints.get("forNodes") or ()),
    )


def usable(candidates: Sequence[Candidate], node: NodeFacts | None = None) -> tuple[Endpoint, ...]:
    """Those that get traffic: the ready ones, near ones first by hint, or else the draining ones (KEP-1669)."""
    ready = [item for item in candidates if item.ready]
    if not ready:
        return tuple(item.endpoint for item in candidates if item.draining)
    if node is not None:
        ready = _hinted(ready, node)
    return tuple(item.endpoint for item in ready)


def _hinted(ready: list[Candidate], node: NodeFacts) -> list[Candidate]:
    """Hints count only when every endpoint has one and at least one is meant for here."""
    if all(item.nodes for item in ready):
        near = [item for item in ready if node.name in item.nodes]
        if near:
            return near
    if node.zone and all(item.zones for item in ready):
        near = [item for item in ready if node.zone in item.zones]
        if near:
            return near
    return ready


def _affinity_s(spec: JsonObject) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    seconds = config.get("timeoutSeconds")
    return seconds if isinstance(seconds, int) and seconds > 0 else AFFINITY_DEFAULT_S


def _cluster_ips(spec: JsonObject) -> list[str]:
    ips = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [str(ip) for ip in ips if ip]


def _port(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 65_536 else 0
