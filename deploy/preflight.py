"""What must be there before a cluster, a control plane or a node can start; said with how to get it, before anything
is changed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from collections.abc import Collection
from typing import Final

from deploy import containerd
from deploy.builtin_images import BUSYBOX
from deploy.cluster import ClusterConfig
from deploy.layout import AGENT_PORT
from deploy.place import MACHINE_DNS_PORT, Surroundings, on_machine
from node_agent.network.cni import BRIDGE

_PROGRAMS: Final = {
    "containerd": "containerd",
    "ctr": "containerd",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables-restore": "iptables",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
}
_PYTHON: Final = ("pysyncobj", "aiohttp", "kubernetes_validate", "jsonpatch", "jwt", "numpy", "dnslib")
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"
PORTS_TRIED: Final = 100
_ROOT: Final = "a cluster needs root (namespaces, mounts, control groups): run it with sudo"


class NotReady(Exception):
    """Something is missing on this machine; each line says what and how to get it."""


def check(*, uplink: bool) -> None:
    """For nodes, with or without a control plane. Raises NotReady."""
    _check(missing_packages(uplink=uplink))


def check_server() -> None:
    """For a control plane without nodes. Raises NotReady."""
    path = f"{os.environ.get('PATH', '')}:{_SBIN}"
    _check([] if shutil.which("ip", path=path) else [_PROGRAMS["ip"]])


def check_root() -> None:
    """Raises NotReady."""
    if os.geteuid() != 0:
        raise NotReady(_ROOT)


def _check(packages: list[str]) -> None:
    problems = []
    if os.geteuid() != 0:
        problems.append(_ROOT)
    if packages:
        problems.append(f"missing programs; install them with: apt-get install {' '.join(packages)}")
    modules = [name for name in _PYTHON if importlib.util.find_spec(name) is None]
    if modules:
        problems.append(
            f"missing Python packages ({', '.join(modules)}); install them with: pip install argosy[cluster]"
        )
    if not os.path.isdir("/sys/fs/cgroup") or not os.listdir("/sys/fs/cgroup"):
        problems.append("no control groups are mounted on /sys/fs/cgroup")
    if problems:
        raise NotReady("\n".join(problems))


def missing_packages(*, uplink: bool) -> list[str]:
    """Debian packages whose programs are not here."""
    path = f"{os.environ.get('PATH', '')}:{_SBIN}"
    wanted = {**_PROGRAMS, **({"slirp4netns": "slirp4netns"} if uplink else {})}
    result = {package for program, package in wanted.items() if shutil.which(program, path=path) is None}
    if not any(shutil.which(name, path=path) for name in ("crun", "runc")):
        result.add("crun")
    if not any(os.path.exists(f"{folder}/bridge") for folder in containerd.CNI_BIN):
        result.add("containernetworking-plugins")
    if not any(os.path.exists(name) for name in BUSYBOX):
        result.add("busybox-static")
    return sorted(result)


def port_is_free(port: int, host: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True


def check_server_ports(config: ClusterConfig) -> None:
    """What a control plane in this machine's network listens on must be free. Raises NotReady."""
    place = on_machine(config, Surroundings())
    wanted = [(item.ip, item.port, "the API") for item in place.sockets.values()]
    wanted += [(item.ip, item.grpc_port, "the API's gRPC") for item in place.control]
    wanted += [(item.ip, port, item.name) for item in place.stores for port in (item.client_port, item.peer_port)]
    wanted += [(config.address, MACHINE_DNS_PORT, "DNS")]
    taken = [f"port {port} on {ip} ({what})" for ip, port, what in wanted if not port_is_free(port, ip)]
    if not port_is_free(MACHINE_DNS_PORT, config.address, socket.SOCK_DGRAM):
        taken.append(f"port {MACHINE_DNS_PORT}/udp on {config.address} (DNS)")
    if taken:
        raise NotReady(f"in use on this machine: {', '.join(taken)}; --port moves the API's")


def check_node_network(ip: str) -> None:
    """A node in this machine's network must not meet another one's. Raises NotReady."""
    if any(name == BRIDGE for _, name in socket.if_nameindex()):
        raise NotReady(f"this machine has a network device {BRIDGE}: it is, or was, a node of another cluster")
    if not port_is_free(AGENT_PORT, ip):
        raise NotReady(f"port {AGENT_PORT} on {ip} is in use: this machine is a node of another cluster")


def choose_port(asked: int, default: int, taken: Collection[int] = ()) -> int:
    """The port that was asked for, which must be free; else the first free one from `default`. Raises NotReady.

    `taken` are other clusters'.
    """
    if asked in taken:
        raise NotReady(f"port {asked} on 127.0.0.1 is another cluster's; choose another with --port, or leave it out")
    if asked:
        if not port_is_free(asked):
            raise NotReady(f"port {asked} on 127.0.0.1 is in use; choose another with --port, or leave it out")
        return asked
    for port in range(default, default + PORTS_TRIED):
        if port not in taken and port_is_free(port):
            return port
    raise NotReady(f"no port from {default} to {default + PORTS_TRIED - 1} is free; choose one with --port")


def has_default_route() -> bool:
    """Whether this machine reaches further networks: an uplink makes sense then."""
    try:
        with open("/proc/net/route", encoding="ascii") as file:
            return any(line.split()[1] == "00000000" for line in file.readlines()[1:])
    except OSError:
        return False
