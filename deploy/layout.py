"""Where everything of a cluster is, and what it is called: folders, namespaces, addresses. Pure.

One place says it, so that making, finding after a crash and removing agree. Used by everything in `deploy` and by the
command line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from argosy.places import DEFAULT_NAME as DEFAULT_NAME
from argosy.places import LOGS_ROOT, RUN_ROOT, STATE_ROOT

NAME_PATTERN: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")

LAN_CIDR: Final = "10.77.0.0/16"
LAN_PREFIX_BITS: Final = 16
GATEWAY: Final = "10.77.0.1"
CLUSTER_CIDR: Final = "10.244.0.0/16"
SERVICE_CIDR: Final = "10.96.0.0/16"
API_SERVICE_IP: Final = "10.96.0.1"
DNS_SERVICE_IP: Final = "10.96.0.10"
LOAD_BALANCER_POOL: Final = "10.77.200.0/24"
"""Of the LAN's addresses."""
CLUSTER_DOMAIN: Final = "cluster.local"
UPLINK_DNS: Final = "10.0.2.3"

ETCD_CLIENT_PORT: Final = 2379
ETCD_PEER_PORT: Final = 2380
API_PORT: Final = 6443
API_GRPC_PORT: Final = 6444
AGENT_PORT: Final = 10250
DNS_PORT: Final = 53

MAX_MEMBERS: Final = 250
"""Stores, API servers or nodes of one cluster: the last byte of an address counts them."""


def check_name(name: str) -> str:
    """The name of a cluster or node. Raises ValueError when it could not be part of a path or host name."""
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(f"{name!r}: a name has 1 to 32 lower-case letters, digits and dashes, no dash at its ends")
    return name


def store_ip(number: int) -> str:
    return f"10.77.1.{number}"


def control_ip(number: int) -> str:
    return f"10.77.2.{number}"


def node_ip(number: int) -> str:
    return f"10.77.3.{number}"


def store_name(number: int) -> str:
    return f"etcd-{number}"


@dataclass(frozen=True)
class Layout:
    """The paths and names of one cluster."""

    name: str

    def __post_init__(self) -> None:
        check_name(self.name)

    # ---- files

    @property
    def state(self) -> str:
        return f"{STATE_ROOT}/{self.name}"

    @property
    def run(self) -> str:
        return f"{RUN_ROOT}/{self.name}"

    @property
    def logs(self) -> str:
        return f"{LOGS_ROOT}/{self.name}"

    @property
    def pki(self) -> str:
        return f"{self.state}/pki"

    @property
    def config_file(self) -> str:
        """What the cluster is to be: `deploy.cluster.ClusterConfig` as JSON."""
        return f"{self.state}/cluster.json"

    @property
    def children_file(self) -> str:
        """What runs: pid and start time of every child, for the supervisor that adopts them."""
        return f"{self.run}/children.json"

    @property
    def control_socket(self) -> str:
        return f"{self.run}/control.sock"

    @property
    def node_groups_socket(self) -> str:
        """Where the autoscaler asks for nodes."""
        return f"{self.run}/node-groups.sock"

    @property
    def chaos(self) -> str:
        """Which faults are in force, for whoever is to heal them."""
        return f"{self.run}/chaos"

    def controls(self, process: str) -> str:
        """Begins the names of the files by which faults reach a process: `.ctl` for its clock and disk
        (argosy.fault_controls), `.hold` while it is not to be started."""
        return f"{self.run}/controls/{process}"

    @property
    def images(self) -> str:
        return f"{self.state}/images"

    def api_socket(self, number: int = 1) -> str:
        return f"{self.run}/api.sock" if number == 1 else f"{self.run}/api-{number}.sock"

    def api_sockets(self, apiservers: int) -> list[str]:
        return [self.api_socket(number) for number in range(1, apiservers + 1)]

    def store(self, name: str) -> str:
        return f"{self.state}/stores/{name}"

    def node(self, node: str) -> str:
        return f"{self.state}/nodes/{node}"

    def node_pki(self, node: str) -> str:
        """Keys and certificates of a node that joined; inside of it `deploy.node.OWN_PKI`."""
        return f"{self.node(node)}/var/lib/kubelet/pki"

    def ingress(self, number: int) -> str:
        """Configuration and certificates of the nginx of one control-plane group."""
        return f"{self.run}/ingress-{number}"

    def log(self, process: str) -> str:
        """The log of a process by its name in `argosy status`, such as `etcd-1` or `node-1/agent`."""
        return f"{self.logs}/{process}.log"

    # ---- namespaces and control groups

    @property
    def prefix(self) -> str:
        """What the names of this cluster's network namespaces begin with."""
        return f"argosy-{self.name}-"

    def namespace(self, member: str) -> str:
        """The network namespace of `lan`, `etcd-1`, `cp-1`, `node-1`."""
        return self.prefix + member

    def namespace_path(self, member: str) -> str:
        return f"/run/netns/{self.namespace(member)}"

    @property
    def cgroup(self) -> str:
        """The cluster's control group, below the root of every hierarchy."""
        return f"argosy/{self.name}"

    def node_cgroup(self, node: str) -> str:
        return f"{self.cgroup}/{node}"


def member_of(namespace: str) -> tuple[str, str]:
    """Cluster and member of a namespace's name. Raises ValueError for one that is not ours.

    Names may hold dashes, so the member is what ends in a known way.
    """
    match = re.fullmatch(r"argosy-(?P<name>.+?)-(?P<member>lan|etcd-\d+|cp-\d+|node-.+)", namespace)
    if match is None:
        raise ValueError(f"{namespace!r} is no namespace of a cluster")
    return match["name"], match["member"]
