"""Where the parts of a cluster are: addresses, ports and network namespaces, as data. Pure.

`argosy up` puts them on a LAN of their own (`deploy.lan`), each in a namespace. `argosy server` and `argosy join` put
theirs into the network of this machine (`deploy.machine`), where an empty namespace stands for the machine's own and
store members differ by port. What starts processes reads a `Place` and does not know which of the two it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from deploy import external_store
from deploy.cluster import ClusterConfig
from deploy.layout import (
    API_GRPC_PORT,
    API_PORT,
    DNS_PORT,
    ETCD_CLIENT_PORT,
    ETCD_PEER_PORT,
    UPLINK_DNS,
    Layout,
    control_ip,
    node_ip,
    store_ip,
    store_name,
)

HOST_SOCKET: Final = "host"
RELAY_SOCKET: Final = "relay-"
"""Begins the names of those in which `deploy.relay` listens, group by group."""
INGRESS_SOCKET: Final = "ingress"
"""On the host, for what `deploy.relay` carries to the ingress of the first group."""
LOOPBACK: Final = "127.0.0.1"
MACHINE_DNS_PORT: Final = 10053
"""Not 53: a machine may have a resolver of its own."""
STORE_PORT_STEP: Final = 10
"""Between the ports of two store members on one address."""


@dataclass(frozen=True)
class Member:
    """One namespace on the LAN, or a node in the machine's own network."""

    name: str
    ip: str
    is_node: bool = False


@dataclass(frozen=True)
class StorePlace:
    """A store member."""

    name: str
    ip: str
    client_port: int
    peer_port: int
    namespace: str


@dataclass(frozen=True)
class ControlPlace:
    """An API server with its controllers and scheduler."""

    name: str
    ip: str
    port: int
    grpc_port: int
    namespace: str


@dataclass(frozen=True)
class Listener:
    """A listening socket that the supervisor makes and hands over."""

    namespace: str
    ip: str
    port: int


@dataclass(frozen=True)
class DnsPlace:
    """The cluster's DNS server; `upstream` are the resolvers of other names."""

    ip: str
    port: int
    namespace: str
    upstream: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodePlace:
    """A node."""

    ip: str
    namespace: str
    nameservers: tuple[str, ...]
    """Of the node's resolv.conf."""
    hosts: str = ""
    """The text of its /etc/hosts."""


@dataclass(frozen=True)
class Place:
    """Everything of one cluster that is on this machine."""

    stores: tuple[StorePlace, ...] = ()
    control: tuple[ControlPlace, ...] = ()
    sockets: dict[str, Listener] = field(default_factory=dict)
    dns: DnsPlace | None = None
    nodes: dict[str, NodePlace] = field(default_factory=dict)
    servers: tuple[str, ...] = ()
    """gRPC addresses of the API servers, as nodes dial them."""
    members: tuple[Member, ...] = ()
    """What the network is to hold before processes start; crashed nodes have no network."""


@dataclass(frozen=True)
class Surroundings:
    """What the machine says of itself, read once by `deploy.machine.surroundings`."""

    nameservers: tuple[str, ...] = ()
    """Of programs on the machine."""
    reachable_nameservers: tuple[str, ...] = ()
    """The same without a stub on loopback, which pods could not ask."""
    hosts: str = f"{LOOPBACK} localhost\n"


def on_lan(layout: Layout, config: ClusterConfig) -> Place:
    """The parts of `argosy up`."""
    control = tuple(
        ControlPlace(f"cp-{number}", ip, API_PORT, API_GRPC_PORT, layout.namespace_path(f"cp-{number}"))
        for number, ip in ((number, control_ip(number)) for number in range(1, config.apiservers + 1))
    )
    stores = tuple(
        StorePlace(name, ip, ETCD_CLIENT_PORT, ETCD_PEER_PORT, layout.namespace_path(name))
        for name, ip in ((store_name(number), store_ip(number)) for number in range(1, config.stores + 1))
    )
    upstream = (UPLINK_DNS,) if config.uplink else ()
    # Without an uplink a look-up must fail at once, not wait for a server that is not there.
    nameservers = upstream or (LOOPBACK,)
    sockets = {HOST_SOCKET: Listener("", LOOPBACK, config.port)} if control else {}
    sockets |= {item.name: Listener(item.namespace, item.ip, item.port) for item in control}
    for item in control:
        for _, port in external_store.on_loopback(config.etcd_servers):
            sockets[f"{RELAY_SOCKET}{item.name}-{port}"] = Listener(item.namespace, LOOPBACK, port)
    if control and config.ingress and config.ingress_port:
        sockets[INGRESS_SOCKET] = Listener("", LOOPBACK, config.ingress_port)
    nodes = {
        item.name: NodePlace(
            node_ip(item.number),
            layout.namespace_path(item.name),
            nameservers,
            f"{LOOPBACK} localhost\n{node_ip(item.number)} {item.name}\n",
        )
        for item in config.nodes
    }
    members = [Member(item.name, item.ip) for item in stores] + [Member(item.name, item.ip) for item in control]
    members += [Member(item.name, nodes[item.name].ip, is_node=True) for item in config.nodes if item.is_wanted]
    return Place(
        stores,
        control,
        sockets,
        DnsPlace(control[0].ip, DNS_PORT, control[0].namespace, upstream) if control else None,
        nodes,
        tuple(f"{item.ip}:{item.grpc_port}" for item in control),
        tuple(members),
    )


def on_machine(config: ClusterConfig, around: Surroundings) -> Place:
    """The parts of `argosy server` or `argosy join`, in this machine's own network at `config.address`."""
    stores = tuple(
        StorePlace(
            store_name(number),
            LOOPBACK,
            ETCD_CLIENT_PORT + STORE_PORT_STEP * (number - 1),
            ETCD_PEER_PORT + STORE_PORT_STEP * (number - 1),
            "",
        )
        for number in range(1, config.stores + 1)
    )
    address, port = config.address, config.port
    control = (ControlPlace("cp-1", address, port, port + 1, ""),) if config.apiservers else ()
    sockets = {HOST_SOCKET: Listener("", LOOPBACK, port), "cp-1": Listener("", address, port)} if control else {}
    nodes = {
        item.name: NodePlace(
            address, "", around.reachable_nameservers or (LOOPBACK,), f"{around.hosts}{address} {item.name}\n"
        )
        for item in config.nodes
    }
    return Place(
        stores,
        control,
        sockets,
        DnsPlace(address, MACHINE_DNS_PORT, "", around.nameservers) if control else None,
        nodes,
        config.api_servers or tuple(f"{item.ip}:{item.grpc_port}" for item in control),
        tuple(Member(item.name, address, is_node=True) for item in config.nodes if item.is_wanted),
    )
