"""The LAN of a cluster on one machine: a bridge in a namespace of its own, and a namespace with a cable per member.

Members are store members, control-plane groups and nodes. Nothing is added to the host's own network; removing the
namespaces removes everything. All of it is idempotent: what exists is kept (running processes live in it), what is
half there is made anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence

from deploy import netns
from deploy.layout import CLUSTER_CIDR, GATEWAY, LAN_PREFIX_BITS, Layout
from deploy.place import Member

_ROUTER = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}
_NODE = {
    **_ROUTER,
    "ipv4/conf/all/route_localnet": "1",
    "ipv4/conf/all/accept_redirects": "0",
    "bridge/bridge-nf-call-iptables": "1",
    "bridge/bridge-nf-call-ip6tables": "1",
}
_READY_DIRECTORY = "lan"
BRIDGE = "br0"
BRIDGE_ADDRESS = "02:00:0a:4d:00:01"
UPLINK = "tap0"
_MASQUERADE = f"""
table ip argosy {{
  chain way-out {{
    type nat hook postrouting priority srcnat;
    oifname {UPLINK} masquerade
  }}
}}
"""
"""What answers on the uplink knows its own network only, not the nodes' and pods' addresses."""


class Lan:
    """The namespaces of one cluster."""

    def __init__(self, layout: Layout, *, uplink: bool = False) -> None:
        """With `uplink`, nodes and pods may leave by the link `UPLINK`."""
        self._layout = layout
        self._uplink = uplink
        self._marks = f"{layout.run}/{_READY_DIRECTORY}"

    def ensure(self, members: Sequence[Member]) -> None:
        """Make the bridge and every member that is not whole. Raises CommandError, OSError."""
        os.makedirs(self._marks, mode=0o700, exist_ok=True)
        if not self._is_whole("lan"):
            self.remove()
            os.makedirs(self._marks, mode=0o700, exist_ok=True)
            self._make_bridge()
        missing = [member for member in members if not self._is_whole(member.name)]
        if missing:
            self._make_members(missing)

    def remove_member(self, name: str) -> None:
        """Unplug a member and remove its namespace; whatever it held goes with it."""
        self._unmark(name)
        if self._layout.namespace("lan") in netns.names():
            netns.batch([f"link del {cable(name)}"], self._layout.namespace("lan"), force=True)
        self._delete([name])

    def remove(self) -> None:
        """Remove every namespace of the cluster, also those that nothing remembers."""
        shutil.rmtree(self._marks, ignore_errors=True)
        prefix = self._layout.prefix
        self._delete([name.removeprefix(prefix) for name in self._existing()])

    def namespaces(self) -> list[str]:
        """Paths of the cluster's namespaces that exist."""
        return [f"{netns.FOLDER}/{name}" for name in self._existing()]

    def set_pod_routes(self, routes: dict[str, str]) -> None:
        """Pod CIDR → node address, in the LAN's namespace, where control plane and uplink reach pods from."""
        commands = [f"route replace {cidr} via {gateway}" for cidr, gateway in sorted(routes.items())]
        netns.batch(commands, self._layout.namespace("lan"))

    def remove_pod_routes(self, cidrs: Sequence[str]) -> None:
        netns.batch([f"route del {cidr}" for cidr in cidrs], self._layout.namespace("lan"), force=True)

    def _existing(self) -> list[str]:
        from deploy.layout import member_of

        found = []
        for name in netns.names():
            with contextlib.suppress(ValueError):
                if name.startswith(self._layout.prefix) and member_of(name)[0] == self._layout.name:
                    found.append(name)
        return found

    def _make_bridge(self) -> None:
        lan = self._layout.namespace("lan")
        netns.batch([f"netns add {lan}"])
        netns.set_sysctls(self._layout.namespace_path("lan"), _ROUTER)
        netns.batch(
            [
                "link set lo up",
                # Its own address: without one it takes a port's, and another one whenever ports come and go.
                f"link add {BRIDGE} address {BRIDGE_ADDRESS} type bridge",
                f"addr add {GATEWAY}/{LAN_PREFIX_BITS} dev {BRIDGE}",
                f"link set {BRIDGE} up",
                f"route add unreachable {CLUSTER_CIDR}",
            ],
            lan,
        )
        if self._uplink:
            netns.tool(
                ["nsenter", f"--net={self._layout.namespace_path('lan')}", "--", "nft", "-f", "-"], stdin=_MASQUERADE
            )
        self._mark("lan")

    def _make_members(self, members: Sequence[Member]) -> None:
        layout = self._layout
        lan = layout.namespace("lan")
        existing = set(netns.names())
        stale = [member.name for member in members if layout.namespace(member.name) in existing]
        netns.batch([f"link del {cable(member.name)}" for member in members], lan, force=True)
        self._delete(stale)
        netns.batch([f"netns add {layout.namespace(member.name)}" for member in members])
        cables = []
        for member in members:
            device = cable(member.name)
            cables.append(f"link add {device} type veth peer name eth0 netns {layout.namespace(member.name)}")
            cables.append(f"link set {device} master {BRIDGE} up")
        netns.batch(cables, lan)
        for member in members:
            path = layout.namespace_path(member.name)
            netns.set_sysctls(path, _NODE if member.is_node else {})
            netns.batch(
                [
                    "link set lo up",
                    f"addr add {member.ip}/{LAN_PREFIX_BITS} dev eth0",
                    "link set eth0 up",
                    f"route add default via {GATEWAY}",
                ],
                layout.namespace(member.name),
            )
            self._mark(member.name)

    def _delete(self, members: Sequence[str]) -> None:
        existing = set(netns.names())
        wanted = [self._layout.namespace(name) for name in members]
        netns.batch([f"netns del {name}" for name in wanted if name in existing], force=True)

    def _is_whole(self, member: str) -> bool:
        """Made to the end, and by a kernel that still runs: the mark names the namespace's inode."""
        with contextlib.suppress(OSError), open(f"{self._marks}/{member}", encoding="ascii") as file:
            return file.read() == str(os.stat(self._layout.namespace_path(member)).st_ino)
        return False

    def _mark(self, member: str) -> None:
        inode = os.stat(self._layout.namespace_path(member)).st_ino
        with open(f"{self._marks}/{member}", "w", encoding="ascii") as file:
            file.write(str(inode))

    def _unmark(self, member: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._marks}/{member}")


def cable(member: str) -> str:
    """The bridge's end of a member's cable; interface names have 15 characters at most."""
    if len(member) <= 13:
        return f"v-{member}"
    import hashlib

    return "v-" + hashlib.sha256(member.encode()).hexdigest()[:12]
