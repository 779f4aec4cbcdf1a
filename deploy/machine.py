"""The network of this machine, for a control plane or a node in it (`argosy server`, `argosy join`).

Nothing of the machine's own is changed but a few settings that a node needs, which are noted first and put back; what
a node adds (bridge, links, routes, rules) is taken away by `node_agent.cleanup`. Marks below the cluster's run folder
say what was done: like what they speak of, they do not outlive a reboot.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from typing import Final

from deploy import children, netns
from deploy.layout import CLUSTER_CIDR, Layout
from deploy.place import LOOPBACK, Member, Surroundings
from node_agent.network.cni import BRIDGE

SETTINGS: Final = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/route_localnet": "1",
    "bridge/bridge-nf-call-iptables": "1",
    "bridge/bridge-nf-call-ip6tables": "1",
}
"""What a node needs, below /proc/sys/net."""
ROUTE_PROTOCOL: Final = 185
ROUTE_METRIC: Final = 4096
"""The control plane's routes to pods give way to those of a node on the same machine."""
TABLE: Final = "argosy"
_MASQUERADE: Final = """
add table ip {table}
flush table ip {table}
table ip {table} {{
  chain way-out {{
    type nat hook postrouting priority srcnat;
    ip saddr {pods} ip daddr != {pods} oifname != "{bridge}" masquerade
  }}
}}
"""
"""Only nodes and the control plane know the way to pods; the node's own processes see a pod's own address."""
RESOLVERS: Final = ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf")
"""The first is what stands behind systemd's stub on loopback."""


class NoAddress(Exception):
    """This machine's address is not to be found or not usable; the message says what to give."""


class MachineNetwork:
    """What one cluster does to the network that its processes are in. Runs in that network."""

    def __init__(self, layout: Layout, address: str = "", cluster_cidr: str = CLUSTER_CIDR) -> None:
        """`address` is this machine's own; removing needs none."""
        self._marks = f"{layout.run}/machine"
        self._address = address
        self._cluster_cidr = cluster_cidr

    def ensure(self, members: Sequence[Member]) -> None:
        """Make the machine fit for its nodes. Raises OSError."""
        os.makedirs(f"{self._marks}/nodes", mode=0o700, exist_ok=True)
        for member in members:
            if member.is_node:
                with open(f"{self._marks}/nodes/{member.name}", "w", encoding="ascii"):
                    pass
                self._set()
                self._open_way_out()

    def _open_way_out(self) -> None:
        """Let pods reach what is not of the cluster. Raises CommandError."""
        rules = _MASQUERADE.format(table=TABLE, pods=self._cluster_cidr, bridge=BRIDGE)
        netns.tool(["nft", "-f", "-"], stdin=rules)

    def remove_member(self, name: str) -> None:
        """Take away what a node put into the network. Raises CommandError."""
        if os.path.exists(f"{self._marks}/nodes/{name}"):
            environment = [f"{key}={value}" for key, value in children.inherited(("PYTHONPATH",)).items()]
            netns.tool(["env", *environment, sys.executable, "-m", "node_agent.cleanup"])
            netns.tool(["nft", "-f", "-"], stdin=f"add table ip {TABLE}\ndelete table ip {TABLE}\n")
            os.unlink(f"{self._marks}/nodes/{name}")

    def remove(self) -> None:
        """Take away everything, and put the settings back. Raises CommandError, OSError."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(f"{self._marks}/nodes"):
                self.remove_member(name)
        if os.path.exists(f"{self._marks}/routes"):
            self._delete_routes()
        for name, value in self._noted().items():
            _write(name, value)
        shutil.rmtree(self._marks, ignore_errors=True)

    def namespaces(self) -> list[str]:
        """None is the cluster's own."""
        return []

    def set_pod_routes(self, routes: dict[str, str]) -> None:
        """Pod CIDR → node address, for the API server; pods of a node on this machine are at hand."""
        with open(f"{self._marks}/routes", "w", encoding="ascii"):
            pass
        netns.batch(
            f"route replace {cidr} via {gateway} proto {ROUTE_PROTOCOL} metric {ROUTE_METRIC}"
            for cidr, gateway in sorted(routes.items())
            if gateway != self._address
        )

    def remove_pod_routes(self, cidrs: Sequence[str]) -> None:
        netns.batch([f"route del {cidr} proto {ROUTE_PROTOCOL} metric {ROUTE_METRIC}" for cidr in cidrs], force=True)

    def _delete_routes(self) -> None:
        shown = netns.tool(["ip", "-4", "route", "show", "root", self._cluster_cidr, "proto", str(ROUTE_PROTOCOL)])
        self.remove_pod_routes([line.split()[0] for line in shown.splitlines() if line.strip()])

    def _set(self) -> None:
        """Write the settings; what they were before the first time is noted before that."""
        if not os.path.exists(self._notes):
            found = {name: value for name in SETTINGS if (value := _read(name)) is not None}
            with open(self._notes + ".new", "w", encoding="ascii") as file:
                json.dump(found, file)
            os.rename(self._notes + ".new", self._notes)
        for name, value in SETTINGS.items():
            if _read(name) not in (None, value):
                _write(name, value)

    @property
    def _notes(self) -> str:
        return f"{self._marks}/settings.json"

    def _noted(self) -> dict[str, str]:
        try:
            with open(self._notes, encoding="ascii") as file:
                found: dict[str, str] = json.load(file)
        except (FileNotFoundError, ValueError):
            return {}
        return found


def _read(name: str) -> str | None:
    try:
        with open(f"/proc/sys/net/{name}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def _write(name: str, value: str) -> None:
    with contextlib.suppress(FileNotFoundError), open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
        file.write(value)


def surroundings() -> Surroundings:
    """What a node takes over from this machine."""
    found = [_nameservers(path) for path in RESOLVERS]
    every = next((servers for servers in reversed(found) if servers), ())
    reachable = next((servers for servers in found if any(not _is_loopback(item) for item in servers)), ())
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
            hosts = file.read()
    except FileNotFoundError:
        hosts = f"{LOOPBACK} localhost\n"
    return Surroundings(every, tuple(item for item in reachable if not _is_loopback(item)), hosts.rstrip("\n") + "\n")


def _nameservers(path: str) -> tuple[str, ...]:
    """Addresses of the `nameserver` lines, IPv4 only."""
    found = []
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            with contextlib.suppress(ValueError, IndexError):
                if words[0] == "nameserver":
                    found.append(str(ipaddress.IPv4Address(words[1])))
    return tuple(found)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def own_address(towards: str = "") -> str:
    """This machine's address on the way to a host; without one, on its default route. Raises NoAddress."""
    # TEST-NET-1: nothing is sent, the kernel only says which way it would go.
    target = towards or "192.0.2.1"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))
            found = str(sock.getsockname()[0])
    except OSError as error:
        where = f"to {towards}" if towards else "by default"
        raise NoAddress(f"this machine has no route {where} ({error.strerror or error})") from None
    return found


def check_address(address: str, flag: str) -> str:
    """An address by which other machines can reach this one. Raises NoAddress naming the flag."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        raise NoAddress(f"{flag} {address}: not an IPv4 address") from None
    if parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast:
        raise NoAddress(f"{flag} {address}: other machines cannot reach this one by it")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            raise NoAddress(f"{flag} {address}: this machine does not have that address") from None
    return address
