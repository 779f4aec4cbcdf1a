"""The nftables rules of services: pure, from `ServicePort`s to elements of flat maps.

One lookup finds a service among any number of them, and one change touches a handful of elements: `services` and
`nodeports` lead to a chain that all services with K endpoints share, which picks a number below K and looks the
endpoint up. Only what needs more (session affinity, the Local external policy) gets chains of its own. The packet's
mark carries the number picked, the connection's mark says to masquerade.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from node_agent.proxy.model import Endpoint, Family, NodeFacts, ServicePort
from node_agent.proxy.rules import service_hash

TABLE: Final = "kube-proxy"
MARK: Final = "ct mark set ct mark or 0x4000"
Elements = Mapping[str, Mapping[str, str]]
"""Of each map or set: key to value; a set's values are empty."""


@dataclass(frozen=True)
class Piece:
    """What one service adds."""

    elements: Elements = field(default_factory=dict)
    chains: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    """Sets of its own (affinity), with their definitions."""
    sizes: frozenset[tuple[str, int]] = frozenset()
    """The shared choosing chains that it uses: (`vip` or `port`, number of endpoints)."""


EMPTY: Final = Piece()


def size_chain(kind: str, size: int) -> str:
    return f"{kind}-{size}"


def frame(family: Family, node: NodeFacts) -> list[str]:
    """The statements that make the table anew, without any service."""
    ip = "ip" if family == "IPv4" else "ip6"
    address = "ipv4_addr" if family == "IPv4" else "ipv6_addr"
    table = f"{ip} {TABLE}"
    vip_key, port_key = f"{address} . inet_proto . inet_service", "inet_proto . inet_service"
    cidr = node.cluster_cidr(family)
    target = f"{ip} daddr . meta l4proto . th dport"
    lines = [f"add table {table}", f"delete table {table}", f"add table {table}"]
    for name, kind in (
        ("services", f"{vip_key} : verdict"),
        ("nodeports", f"{port_key} : verdict"),
        ("vip-endpoints", f"{vip_key} . mark : {address} . inet_service"),
        ("port-endpoints", f"{port_key} . mark : {address} . inet_service"),
        ("refused", f"{vip_key} : verdict"),
        ("refused-ports", f"{port_key} : verdict"),
        ("firewall", f"{vip_key} : verdict"),
    ):
        lines.append(f"add map {table} {name} {{ type {kind}; }}")
    for name, kind in (
        ("cluster-ips", vip_key),
        ("external-ips", vip_key),
        ("external-ports", port_key),
        ("local-ips", vip_key),
        ("local-ports", port_key),
        ("hairpin", f"{address} . {address}"),
    ):
        lines.append(f"add set {table} {name} {{ type {kind}; }}")
    chains: dict[str, list[str]] = {
        "find": [
            *([f"{ip} saddr != {cidr} {target} @cluster-ips {MARK}"] if cidr else []),
            f"{target} @external-ips {MARK}",
            f"{target} @local-ips fib saddr type local {MARK}",
            f"{target} vmap @services",
            "fib daddr type local jump find-port",
        ],
        "find-port": [
            f"meta l4proto . th dport @external-ports {MARK}",
            f"meta l4proto . th dport @local-ports fib saddr type local {MARK}",
            "meta l4proto . th dport vmap @nodeports",
        ],
        "refuse": ["reject"],
        "refusing": [
            f"ct state new {target} vmap @refused",
            "ct state new fib daddr type local meta l4proto . th dport vmap @refused-ports",
        ],
        "guard": [f"ct state new {target} vmap @firewall"],
    }
    hooked: dict[str, tuple[str, list[str]]] = {
        "nat-prerouting": ("type nat hook prerouting priority dstnat", ["jump find"]),
        "nat-output": ("type nat hook output priority -100", ["jump find"]),
        "nat-postrouting": (
            "type nat hook postrouting priority srcnat",
            [
                "ct status & dnat == 0 return",
                f"{ip} saddr . {ip} daddr @hairpin masquerade fully-random",
                "ct mark & 0x4000 != 0 masquerade fully-random",
            ],
        ),
        "filter-guard-in": ("type filter hook prerouting priority -110", ["jump guard"]),
        "filter-guard-out": ("type filter hook output priority -110", ["jump guard"]),
        "filter-input": ("type filter hook input priority filter", [*_martians(family), "jump refusing"]),
        "filter-forward": ("type filter hook forward priority filter", ["jump refusing"]),
        "filter-output": ("type filter hook output priority filter", ["jump refusing"]),
    }
    lines += [f"add chain {table} {name}" for name in chains]
    lines += [f"add chain {table} {name} {{ {hook}; }}" for name, (hook, _) in hooked.items()]
    bodies = [*chains.items(), *((name, rules) for name, (_, rules) in hooked.items())]
    lines += [f"add rule {table} {name} {rule}" for name, rules in bodies for rule in rules]
    return lines


def _martians(family: Family) -> list[str]:
    """See rules.py: what listens on localhost is not for the neighbours."""
    if family == "IPv6":
        return []
    return ["ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8 ct state new ct status & dnat == 0 drop"]


def choosing(family: Family, kind: str, size: int) -> list[str]:
    """The rules of the chain that picks one of `size` endpoints."""
    ip = "ip" if family == "IPv4" else "ip6"
    key = f"{ip} daddr . meta l4proto . th dport" if kind == "vip" else "meta l4proto . th dport"
    rules = [f"meta mark set numgen random mod {size}"]
    for protocol in ("tcp", "udp", "sctp"):
        rules.append(f"meta l4proto {protocol} dnat {ip} to {key} . meta mark map @{kind}-endpoints")
    return rules


def piece(ports: Sequence[ServicePort], node: NodeFacts) -> Piece:
    """What one service (all its ports of one family) adds."""
    writer = _Writer(node)
    for port in ports:
        writer.add(port)
    return Piece(writer.elements, writer.chains, writer.sets, frozenset(writer.sizes))


class _Writer:
    def __init__(self, node: NodeFacts) -> None:
        self._node = node
        self.elements: dict[str, dict[str, str]] = {}
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, str] = {}
        self.sizes: set[tuple[str, int]] = set()

    def add(self, port: ServicePort) -> None:
        vip = f"{port.cluster_ip} . {port.protocol} . {port.port}"
        outside = [f"{ip} . {port.protocol} . {port.port}" for ip in port.external_ips + port.load_balancer_ips]
        number = f"{port.protocol} . {port.node_port}" if port.node_port else ""
        refusal = "drop" if port.has_endpoints else "goto refuse"
        self._put("cluster-ips", vip)
        if port.internal_endpoints:
            self._lead(port, "vip", vip, port.internal_endpoints)
        else:
            self._put("refused", vip, refusal)
        if not port.external_endpoints:
            for key in outside:
                self._put("refused", key, refusal)
            if number:
                self._put("refused-ports", number, refusal)
        self._firewall(port)
        if not port.has_endpoints:
            return
        for endpoint in port.cluster_endpoints + port.local_endpoints:
            self._put("hairpin", f"{endpoint.ip} . {endpoint.ip}")
        for key in outside:
            self._outside(port, "vip", key)
        if number:
            self._outside(port, "port", number)

    def _outside(self, port: ServicePort, kind: str, key: str) -> None:
        suffix = "ips" if kind == "vip" else "ports"
        self._put(("local-" if port.external_local else "external-") + suffix, key)
        if not port.external_local:
            if port.cluster_endpoints:
                self._lead(port, kind, key, port.cluster_endpoints)
            return
        chain = f"external-{service_hash(port)}"
        if chain not in self.chains:
            rules: list[str] = []
            cidr = self._node.local_cidr(port.family)
            ip = "ip" if port.family == "IPv4" else "ip6"
            if port.cluster_endpoints:
                everywhere = self._own_chain(port, "cluster", port.cluster_endpoints)
                rules += [f"{ip} saddr {cidr} goto {everywhere}"] if cidr else []
                rules.append(f"fib saddr type local goto {everywhere}")
            if port.local_endpoints:
                rules.append(f"goto {self._own_chain(port, 'local', port.local_endpoints)}")
            self.chains[chain] = rules
        self._put("services" if kind == "vip" else "nodeports", key, f"goto {chain}")

    def _lead(self, port: ServicePort, kind: str, key: str, endpoints: Sequence[Endpoint]) -> None:
        """From an address or a node port to its endpoints, by the shared chains where they suffice."""
        first = "services" if kind == "vip" else "nodeports"
        if port.affinity_s:
            which = "local" if endpoints is port.local_endpoints else "cluster"
            self._put(first, key, f"goto {self._own_chain(port, which, endpoints)}")
            return
        self.sizes.add((kind, len(endpoints)))
        self._put(first, key, f"goto {size_chain(kind, len(endpoints))}")
        for index, endpoint in enumerate(endpoints):
            self._put(f"{kind}-endpoints", f"{key} . {index}", f"{endpoint.ip} . {endpoint.port}")

    def _own_chain(self, port: ServicePort, which: str, endpoints: Sequence[Endpoint]) -> str:
        """A chain that picks among these endpoints, remembering clients where affinity asks for it."""
        name = f"{which}-{service_hash(port)}"
        if name in self.chains:
            return name
        ip = "ip" if port.family == "IPv4" else "ip6"
        address = "ipv4_addr" if port.family == "IPv4" else "ipv6_addr"
        rules: list[str] = []
        choices: list[str] = []
        self.chains[name] = rules
        for index, endpoint in enumerate(endpoints):
            label = f"{service_hash(port)}-{endpoint.ip.replace('.', '-').replace(':', '-')}-{endpoint.port}"
            target = f"endpoint-{label}"
            body = [f"meta l4proto {port.protocol} dnat {ip} to {endpoint.address}"]
            if port.affinity_s:
                # The time is part of the name: a set that is there keeps its own.
                known = f"affinity-{port.affinity_s}-{label}"
                timing = f"flags dynamic,timeout; timeout {port.affinity_s}s;"
                self.sets[known] = f"type {address}; {timing}"
                rules.append(f"{ip} saddr @{known} goto {target}")
                body.insert(0, f"update @{known} {{ {ip} saddr }}")
            self.chains[target] = body
            choices.append(f"{index} : goto {target}")
        rules.append(f"numgen random mod {len(endpoints)} vmap {{ {', '.join(choices)} }}")
        return name

    def _firewall(self, port: ServicePort) -> None:
        if not (port.source_ranges and port.load_balancer_ips):
            return
        ip = "ip" if port.family == "IPv4" else "ip6"
        chain = f"firewall-{service_hash(port)}"
        self.chains[chain] = [f"{ip} saddr {cidr} return" for cidr in port.source_ranges] + ["drop"]
        for address in port.load_balancer_ips:
            self._put("firewall", f"{address} . {port.protocol} . {port.port}", f"goto {chain}")

    def _put(self, name: str, key: str, value: str = "") -> None:
        self.elements.setdefault(name, {})[key] = value


class Held:
    """What is in the table, counting owners: two services may have an endpoint in common."""

    def __init__(self, family: Family) -> None:
        self._family: Final = family
        self._table = f"{'ip' if family == 'IPv4' else 'ip6'} {TABLE}"
        self._pieces: dict[str, Piece] = {}
        self._shared: dict[tuple[str, str], int] = {}
        self._sizes: set[tuple[str, int]] = set()

    def change(self, wanted: Mapping[str, Piece]) -> list[str]:
        """The statements that turn what is held into `wanted` for these services, and hold that from now on."""
        before = {key: self._pieces.get(key, EMPTY) for key in wanted}
        removed: dict[str, dict[str, str]] = {}
        added: dict[str, dict[str, str]] = {}
        for key, new in wanted.items():
            self._elements(before[key].elements, new.elements, removed, added)
        lines = self._sizes_for(wanted.values())
        gone_chains: dict[str, None] = {}
        gone_sets: dict[str, None] = {}
        bodies: list[str] = []
        for key, new in wanted.items():
            old = before[key]
            lines += [f"add set {self._table} {name} {{ {kind} }}" for name, kind in _fresh(old.sets, new.sets)]
            changed = [name for name, rules in new.chains.items() if old.chains.get(name) != rules]
            lines += [f"add chain {self._table} {name}" for name in changed]
            bodies += [f"flush chain {self._table} {name}" for name in changed if name in old.chains]
            bodies += [f"add rule {self._table} {name} {rule}" for name in changed for rule in new.chains[name]]
            gone_chains.update(dict.fromkeys(name for name in old.chains if name not in new.chains))
            gone_sets.update(dict.fromkeys(name for name in old.sets if name not in new.sets))
        lines += bodies
        lines += [self._statement("delete", name, keys, with_values=True) for name, keys in removed.items() if keys]
        lines += [self._statement("add", name, keys, with_values=True) for name, keys in added.items() if keys]
        lines += [f"flush chain {self._table} {name}" for name in gone_chains]
        lines += [f"delete chain {self._table} {name}" for name in gone_chains]
        lines += [f"delete set {self._table} {name}" for name in gone_sets]
        for key, new in wanted.items():
            if new == EMPTY:
                self._pieces.pop(key, None)
            else:
                self._pieces[key] = new
        return lines

    def _sizes_for(self, pieces: Iterable[Piece]) -> list[str]:
        lines: list[str] = []
        for kind, size in sorted({item for found in pieces for item in found.sizes} - self._sizes):
            self._sizes.add((kind, size))
            chain = size_chain(kind, size)
            lines.append(f"add chain {self._table} {chain}")
            lines += [f"add rule {self._table} {chain} {rule}" for rule in choosing(self._family, kind, size)]
        return lines

    def _elements(
        self, old: Elements, new: Elements, removed: dict[str, dict[str, str]], added: dict[str, dict[str, str]]
    ) -> None:
        """Counts owners of each key; a key's value comes from the last that wrote it."""
        for name in {**old, **new}:
            before, after = old.get(name, {}), new.get(name, {})
            taken, put = removed.setdefault(name, {}), added.setdefault(name, {})
            for key, value in after.items():
                if key in before:
                    if before[key] != value:
                        taken.setdefault(key, before[key])
                        put[key] = value
                    continue
                count = self._shared.get((name, key), 0)
                self._shared[name, key] = count + 1
                if count == 0 or key in taken:
                    put[key] = value
            for key, value in before.items():
                if key not in after:
                    count = self._shared[name, key] - 1
                    self._shared[name, key] = count
                    if count == 0:
                        del self._shared[name, key]
                        if put.pop(key, None) is None:
                            taken[key] = value

    def _statement(self, verb: str, name: str, keys: Mapping[str, str], *, with_values: bool) -> str:
        texts = [f"{key} : {value}" if value and with_values else key for key, value in keys.items()]
        return f"{verb} element {self._table} {name} {{ {', '.join(texts)} }}"


def _fresh(old: Mapping[str, str], new: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind in new.items() if name not in old]
