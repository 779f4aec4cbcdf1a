"""What must be there before a cluster can start; said with how to get it, before anything is changed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from typing import Final

from deploy import containerd
from deploy.builtin_images import BUSYBOX

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


class NotReady(Exception):
    """Something is missing on this machine; each line says what and how to get it."""


def check(*, uplink: bool) -> None:
    """Raises NotReady."""
    problems = []
    if os.geteuid() != 0:
        problems.append("a cluster needs root (namespaces, mounts, control groups): run it with sudo")
    packages = missing_packages(uplink=uplink)
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


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(asked: int, default: int) -> int:
    """The port that was asked for, which must be free; else the first free one from `default`. Raises NotReady."""
    if asked:
        if not port_is_free(asked):
            raise NotReady(f"port {asked} on 127.0.0.1 is in use; choose another with --port, or leave it out")
        return asked
    for port in range(default, default + PORTS_TRIED):
        if port_is_free(port):
            return port
    raise NotReady(f"no port from {default} to {default + PORTS_TRIED - 1} is free; choose one with --port")


def has_default_route() -> bool:
    """Whether this machine reaches further networks: an uplink makes sense then."""
    try:
        with open("/proc/net/route", encoding="ascii") as file:
            return any(line.split()[1] == "00000000" for line in file.readlines()[1:])
    except OSError:
        return False
