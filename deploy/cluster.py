"""What a cluster is to be: the configuration that `argosy up` writes and the supervisor keeps true.

It is a file in the cluster's state folder, so that a new supervisor, after a crash or a reboot, starts the same
cluster, and `argosy up` without flags means the one that is there.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from argosy.places import RUN_ROOT, STATE_ROOT
from deploy.layout import CLUSTER_CIDR, CLUSTER_DOMAIN, DNS_SERVICE_IP, Layout, check_name

DEFAULT_NODE_MEMORY_BYTES: Final = 4 << 30


class ConfigError(Exception):
    """A configuration that cannot be; the message says why."""


@dataclass(frozen=True)
class NodeConfig:
    """One node: its number gives its address and stays its own while the node exists."""

    name: str
    number: int
    cpus: float
    memory_bytes: int
    disk_bytes: int = 0
    """Of a file system of its own; 0: its data is in a folder of the machine's disk."""
    crashed: bool = False
    """Taken down by `argosy node crash`: not started until `argosy node start`."""
    group: str = ""
    """Of nodes that come and go by need, the group that it is one of."""
    labels: tuple[str, ...] = ()
    """Further ones of its Node: KEY=VALUE."""
    taints: tuple[str, ...] = ()
    """That its Node registers with: KEY=VALUE:EFFECT."""
    leaving: bool = False
    """It is being removed: stopped, and forgotten once nothing is left of it."""

    @property
    def is_wanted(self) -> bool:
        """Whether it is to run."""
        return not self.crashed and not self.leaving


@dataclass(frozen=True)
class NodeGroupConfig:
    """Nodes that the autoscaler starts and removes, all alike."""

    name: str
    min_size: int
    max_size: int
    cpus: float
    memory_bytes: int
    labels: tuple[str, ...] = ()
    taints: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClusterConfig:
    """What of a cluster is on this machine: all of it (`argosy up`), its control plane (`argosy server`) or a node
    (`argosy join`)."""

    name: str
    stores: int = 3
    apiservers: int = 1
    nodes: tuple[NodeConfig, ...] = ()
    node_groups: tuple[NodeGroupConfig, ...] = ()
    store_disk_bytes: int = 0
    """Of each store member's own file system; 0: a folder of the machine's disk."""
    port: int = 6443
    """REST on 127.0.0.1 of the host."""
    proxy_mode: str = "iptables"
    uplink: bool = False
    ingress: bool = False
    """An ingress controller with its nginx beside each API server."""
    ingress_port: int = 0
    """HTTP of the ingress on 127.0.0.1 of the host; 0: not there."""
    etcd_servers: tuple[str, ...] = ()
    """URLs of an external store; then `stores` is 0."""
    etcd_identity: bool = False
    """The external store asks for a client's certificate."""
    registries: tuple[str, ...] = ()
    """`HOST=URL`: where images of HOST come from."""
    api_servers: tuple[str, ...] = ()
    """gRPC addresses of a control plane elsewhere; then there is none here, `stores` and `apiservers` are 0."""
    address: str = ""
    """This machine's address, where the parts are in its own network; empty: on a LAN of their own."""
    cluster_cidr: str = CLUSTER_CIDR
    """Addresses of pods."""
    cluster_dns: str = DNS_SERVICE_IP
    """The DNS service's address."""
    cluster_domain: str = CLUSTER_DOMAIN
    flags: dict[str, list[str]] = field(default_factory=dict)
    """Further flags by process kind (`apiserver`, `controllers`, …) or by one process's name (`etcd-1`)."""

    @property
    def has_control_plane(self) -> bool:
        """Whether the control plane is here; otherwise this machine is a node of one elsewhere."""
        return self.apiservers > 0

    @property
    def is_on_lan(self) -> bool:
        """Whether everything is in namespaces of its own, rather than in this machine's network."""
        return not self.address

    def node(self, name: str) -> NodeConfig:
        """Raises ConfigError when there is no such node."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes) or "none"
        raise ConfigError(f"cluster {self.name!r} has no node {name!r}; its nodes: {known}")

    def with_node(self, node: NodeConfig) -> ClusterConfig:
        """The same with `node` added or in the place of the one with its name."""
        if any(other.name == node.name for other in self.nodes):
            return replace(self, nodes=tuple(node if other.name == node.name else other for other in self.nodes))
        return replace(self, nodes=(*self.nodes, node))

    def without_node(self, name: str) -> ClusterConfig:
        self.node(name)
        return replace(self, nodes=tuple(node for node in self.nodes if node.name != name))

    def next_node(self, name: str = "", *, cpus: float, memory_bytes: int, disk_bytes: int = 0) -> NodeConfig:
        """A further node with the lowest free number. Raises ConfigError, ValueError."""
        taken = {node.number for node in self.nodes}
        number = next(candidate for candidate in range(1, 255) if candidate not in taken)
        name = check_name(name or f"node-{number}")
        if any(node.name == name for node in self.nodes):
            raise ConfigError(f"cluster {self.name!r} already has a node {name!r}")
        return NodeConfig(name, number, cpus, memory_bytes, disk_bytes)


def save(config: ClusterConfig, layout: Layout) -> None:
    """Write it, whole or not at all."""
    os.makedirs(layout.state, mode=0o700, exist_ok=True)
    temporary = layout.config_file + ".new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(asdict(config), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, layout.config_file)


def load(layout: Layout) -> ClusterConfig | None:
    """What `save` wrote; None when there is none. Raises ConfigError when it cannot be read."""
    try:
        with open(layout.config_file, encoding="utf-8") as file:
            read: dict[str, Any] = json.load(file)
        read["nodes"] = tuple(NodeConfig(**_with_tuples(node)) for node in read["nodes"])
        read["node_groups"] = tuple(NodeGroupConfig(**_with_tuples(group)) for group in read.get("node_groups", ()))
        for key in ("etcd_servers", "registries", "api_servers"):
            read[key] = tuple(read[key])
        return ClusterConfig(**read)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{layout.config_file} cannot be read ({error}); `argosy down` removes it") from None


def _with_tuples(read: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in read.items()}


def clusters() -> list[str]:
    """Names of the clusters on this machine that have state or something running."""
    found: set[str] = set()
    for folder in (STATE_ROOT, RUN_ROOT):
        with contextlib.suppress(FileNotFoundError):
            found.update(entry.name for entry in os.scandir(folder) if entry.is_dir())
    return sorted(found)
