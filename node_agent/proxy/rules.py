"""The iptables rules of services: pure, from `ServicePort`s to chains.

The layout and the names are kube-proxy's (`pkg/proxy/iptables/proxier.go`), so that what people know of debugging
it holds here. What one service needs is a `Fragment`: chains of its own, and lines in chains that all services
share. The order of lines in a shared chain does not matter (they match different destinations), which is what makes
a change cost only itself: `restore.py` turns the difference of two fragments into `iptables-restore` input.

Traffic runs: KUBE-SERVICES (address and port) → KUBE-EXT (from outside: masquerade, traffic policy) →
KUBE-SVC or KUBE-SVL (choose an endpoint, anywhere or here) → KUBE-SEP (DNAT).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from node_agent.proxy.model import Endpoint, Family, NodeFacts, ServicePort

MASQUERADE_MARK: Final = "0x4000"
NAT_SERVICES: Final = ("nat", "KUBE-SERVICES")
NAT_NODE_PORTS: Final = ("nat", "KUBE-NODEPORTS")
FILTER_SERVICES: Final = ("filter", "KUBE-SERVICES")
FILTER_EXTERNAL: Final = ("filter", "KUBE-EXTERNAL-SERVICES")
FILTER_FIREWALL: Final = ("filter", "KUBE-PROXY-FIREWALL")
OWNED_PREFIXES: Final = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-")
"""Chains in nat whose names start so belong to a service; unknown ones are stale."""

Chain = tuple[str, str]
"""(table, name)."""
Lines = tuple[str, ...]
"""Rules without their `-A CHAIN`."""


@dataclass(frozen=True)
class Fragment:
    """What one service adds to the rules of a node."""

    chains: Mapping[str, Lines] = field(default_factory=dict)
    """Chains in nat that are its own."""
    lines: Mapping[Chain, Lines] = field(default_factory=dict)
    """Its lines in shared chains."""


EMPTY: Final = Fragment()


@dataclass(frozen=True)
class Jump:
    """A rule in a built-in chain that leads to ours."""

    table: str
    builtin: str
    rule: str


@dataclass(frozen=True)
class Frame:
    """What stands independently of services."""

    chains: Mapping[Chain, Lines]
    """Chains rewritten as a whole; shared chains start with these lines missing and end with them."""
    jumps: Sequence[Jump]


def _hash(*parts: str) -> str:
    return base64.b32encode(hashlib.sha256("".join(parts).encode()).digest()).decode()[:16]


def service_hash(port: ServicePort) -> str:
    return _hash(port.name, port.protocol)


def endpoint_chain(port: ServicePort, endpoint: Endpoint) -> str:
    return "KUBE-SEP-" + _hash(port.name, port.protocol, endpoint.address)


def frame(family: Family) -> Frame:
    """The chains and jumps that every node has."""
    mark = f"{MASQUERADE_MARK}/{MASQUERADE_MARK}"
    node_ports = (
        '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" '
    )
    chains: dict[Chain, Lines] = {
        NAT_SERVICES: (node_ports + "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",),
        NAT_NODE_PORTS: (),
        ("nat", "KUBE-MARK-MASQ"): (f"-j MARK --or-mark {MASQUERADE_MARK}",),
        ("nat", "KUBE-POSTROUTING"): (
            f"-m mark ! --mark {mark} -j RETURN",
            f"-j MARK --xor-mark {MASQUERADE_MARK}",
            '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
        ),
        ("nat", "KUBE-PROXY-CANARY"): (),
        FILTER_SERVICES: (),
        FILTER_EXTERNAL: (),
        FILTER_FIREWALL: (),
        ("filter", "KUBE-NODE-PORTS"): (),
        ("filter", "KUBE-FORWARD"): (
            "-m conntrack --ctstate INVALID -j DROP",
            f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {mark} -j ACCEPT',
            '-m comment --comment "kubernetes forwarding conntrack rule"'
            " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ),
        ("filter", "KUBE-FIREWALL"): _martians(family),
    }
    new = "-m conntrack --ctstate NEW "
    portals = '-m comment --comment "kubernetes service portals" '
    external = '-m comment --comment "kubernetes externally-visible service portals" '
    firewall = '-m comment --comment "kubernetes load balancer firewall" '
    jumps = [
        Jump("nat", "PREROUTING", portals + "-j KUBE-SERVICES"),
        Jump("nat", "OUTPUT", portals + "-j KUBE-SERVICES"),
        Jump("nat", "POSTROUTING", '-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'),
        Jump("filter", "FORWARD", '-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'),
        Jump("filter", "INPUT", '-m comment --comment "kubernetes health check service ports" -j KUBE-NODE-PORTS'),
        *(Jump("filter", builtin, new + portals + "-j KUBE-SERVICES") for builtin in ("FORWARD", "OUTPUT")),
        # OUTPUT, unlike upstream's iptables mode but as its nftables mode: what this node itself sends to an address
        # that is routed to this node would come back to it as a martian and be dropped, instead of being refused.
        *(
            Jump("filter", builtin, new + external + "-j KUBE-EXTERNAL-SERVICES")
            for builtin in ("INPUT", "FORWARD", "OUTPUT")
        ),
        *(
            Jump("filter", builtin, new + firewall + "-j KUBE-PROXY-FIREWALL")
            for builtin in ("INPUT", "OUTPUT", "FORWARD")
        ),
        *(Jump("filter", builtin, "-j KUBE-FIREWALL") for builtin in ("INPUT", "OUTPUT")),
    ]
    return Frame(chains, jumps)


def _martians(family: Family) -> Lines:
    """With route_localnet (NodePorts on 127.0.0.1) the neighbours must not reach what listens on localhost."""
    if family == "IPv6":
        return ()
    return (
        '-m comment --comment "block incoming localnet connections" ! -s 127.0.0.0/8 -d 127.0.0.0/8'
        " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
    )


def fragment(ports: Sequence[ServicePort], node: NodeFacts) -> Fragment:
    """The rules of one service (all its ports of one family)."""
    writer = _Writer(node)
    for port in ports:
        writer.add(port)
    return Fragment(
        {name: tuple(lines) for name, lines in writer.chains.items()},
        {chain: tuple(lines) for chain, lines in writer.lines.items()},
    )


class _Writer:
    def __init__(self, node: NodeFacts) -> None:
        self._node = node
        self.chains: dict[str, list[str]] = {}
        self.lines: dict[Chain, list[str]] = {}

    def add(self, port: ServicePort) -> None:
        name = service_hash(port)
        service_chain, local_chain = f"KUBE-SVC-{name}", f"KUBE-SVL-{name}"
        external_chain, firewall_chain = f"KUBE-EXT-{name}", f"KUBE-FW-{name}"
        self._refuse(port)
        if not port.has_endpoints:
            return
        cluster_used = bool(port.cluster_endpoints) and (
            not port.internal_local or (port.external and port.has_endpoints)
        )
        local_used = bool(port.local_endpoints) and (port.internal_local or port.external_local)
        internal_chain = local_chain if port.internal_local else service_chain
        if port.internal_endpoints:
            self._line(NAT_SERVICES, f"{_note(port, 'cluster IP')}{_to(port, port.cluster_ip)} -j {internal_chain}")
        if port.external:
            self._external(port, service_chain if cluster_used else "", local_chain if local_used else "")
            for ip in port.external_ips:
                self._line(NAT_SERVICES, f"{_note(port, 'external IP')}{_to(port, ip)} -j {external_chain}")
            target = firewall_chain if port.source_ranges else external_chain
            for ip in port.load_balancer_ips:
                self._line(NAT_SERVICES, f"{_note(port, 'loadbalancer IP')}{_to(port, ip)} -j {target}")
            if port.node_port:
                match = f"-p {port.protocol} -m {port.protocol} --dport {port.node_port}"
                self._line(NAT_NODE_PORTS, f"{_note(port)}{match} -j {external_chain}")
            if port.load_balancer_ips and port.source_ranges:
                self._source_ranges(port, firewall_chain, external_chain)
        if cluster_used:
            self._choose(port, service_chain, port.cluster_endpoints, masquerade=not port.internal_local)
        if local_used:
            self._choose(port, local_chain, port.local_endpoints, masquerade=port.internal_local)
        used = (port.cluster_endpoints if cluster_used else ()) + (port.local_endpoints if local_used else ())
        for endpoint in used:
            self._endpoint(port, endpoint)

    def _refuse(self, port: ServicePort) -> None:
        """REJECT where nobody could answer; DROP where only other nodes could (a load balancer tries them)."""
        if not port.has_endpoints:
            inner = outer = ("REJECT", "has no endpoints")
        else:
            inner = outer = ("DROP", "has no local endpoints")
        if not port.internal_endpoints:
            self._line(FILTER_SERVICES, f"{_note(port, inner[1])}{_to(port, port.cluster_ip)} -j {inner[0]}")
        if not port.external_endpoints:
            for ip in port.external_ips + port.load_balancer_ips:
                self._line(FILTER_EXTERNAL, f"{_note(port, outer[1])}{_to(port, ip)} -j {outer[0]}")
            if port.node_port:
                match = f"-m addrtype --dst-type LOCAL -p {port.protocol} -m {port.protocol} --dport {port.node_port}"
                self._line(FILTER_EXTERNAL, f"{_note(port, outer[1])}{match} -j {outer[0]}")

    def _external(self, port: ServicePort, service_chain: str, local_chain: str) -> None:
        lines = self.chains.setdefault(f"KUBE-EXT-{service_hash(port)}", [])
        if not port.external_local:
            lines.append(f"{_note(port, 'external destinations')}-j KUBE-MARK-MASQ")
            if service_chain:
                lines.append(f"-j {service_chain}")
            return
        cidr = self._node.local_cidr(port.family)
        if service_chain:
            if cidr:
                lines.append(f"{_note(port, 'pod traffic')}-s {cidr} -j {service_chain}")
            lines.append(f"{_note(port, 'LOCAL traffic')}-m addrtype --src-type LOCAL -j KUBE-MARK-MASQ")
            lines.append(f"{_note(port, 'LOCAL traffic')}-m addrtype --src-type LOCAL -j {service_chain}")
        if local_chain:
            lines.append(f"-j {local_chain}")

    def _source_ranges(self, port: ServicePort, firewall_chain: str, external_chain: str) -> None:
        lines = self.chains.setdefault(firewall_chain, [])
        lines.extend(f"{_note(port, 'loadbalancer IP')}-s {cidr} -j {external_chain}" for cidr in port.source_ranges)
        for ip in port.load_balancer_ips:
            note = _note(port, f"traffic not accepted by {firewall_chain}")
            self._line(FILTER_FIREWALL, f"{note}{_to(port, ip)} -j DROP")

    def _choose(self, port: ServicePort, chain: str, endpoints: Sequence[Endpoint], *, masquerade: bool) -> None:
        lines = self.chains.setdefault(chain, [])
        cidr = self._node.cluster_cidr(port.family)
        if masquerade and cidr:
            lines.append(f"{_note(port, 'cluster IP')}! -s {cidr} {_to(port, port.cluster_ip)} -j KUBE-MARK-MASQ")
        if port.affinity_s:
            for endpoint in endpoints:
                target = endpoint_chain(port, endpoint)
                recent = f"-m recent --name {target} --rcheck --seconds {port.affinity_s} --reap"
                lines.append(f"{_note(port)}{recent} -j {target}")
        for number, endpoint in enumerate(endpoints):
            left = len(endpoints) - number
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
            lines.append(f"{_note(port, '-> ' + endpoint.address)}{chance}-j {endpoint_chain(port, endpoint)}")

    def _endpoint(self, port: ServicePort, endpoint: Endpoint) -> None:
        chain = endpoint_chain(port, endpoint)
        recent = f"-m recent --name {chain} --set " if port.affinity_s else ""
        self.chains[chain] = [
            f"{_note(port)}-s {endpoint.ip} -j KUBE-MARK-MASQ",
            f"{_note(port)}{recent}-p {port.protocol} -m {port.protocol} -j DNAT --to-destination {endpoint.address}",
        ]

    def _line(self, chain: Chain, rule: str) -> None:
        self.lines.setdefault(chain, []).append(rule)


def _to(port: ServicePort, ip: str) -> str:
    return f"-d {ip} -p {port.protocol} -m {port.protocol} --dport {port.port}"


def _note(port: ServicePort, text: str = "") -> str:
    comment = f"{port.name} {text}" if text else port.name
    return f'-m comment --comment "{comment}" '
