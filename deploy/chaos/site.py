"""What faults act on: the components of one cluster by the names that `argosy status` shows, and their processes.

Nothing here asks the supervisor, which may be the one that is paused or dead: it reads what is on disk.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Final

from deploy import cgroups, children, processes, report
from deploy.chaos.fault import FaultError
from deploy.cluster import ClusterConfig
from deploy.layout import Layout
from deploy.network import place_of

SUPERVISOR: Final = "supervisor"
SERVICES: Final = ("agent", "containerd", "proxy")
PROCESS, NODE, SERVICE = "process", "node", "service"
_ALIASES: Final = {"dns": "dns-1"}


@dataclass(frozen=True)
class Component:
    """A process, a node, or a process of a node."""

    name: str
    kind: str
    """What it is of: `etcd`, `apiserver`, …; `node`; `agent`, `containerd`, `proxy`."""
    make: str
    """PROCESS, NODE or SERVICE."""
    member: str = ""
    """What of the LAN it is in; empty: in the machine's own network."""
    own: bool = False
    """One of our own processes, with a clock and a disk that faults reach."""

    @property
    def node(self) -> str:
        """The node that it is, or that it is on; empty for others."""
        return self.name.partition("/")[0] if self.make in (NODE, SERVICE) else ""


@dataclass(frozen=True)
class Site:
    """One cluster, as far as it is on this machine."""

    layout: Layout
    config: ClusterConfig
    components: dict[str, Component]

    @staticmethod
    def of(layout: Layout, config: ClusterConfig) -> Site:
        return Site(layout, config, {item.name: item for item in _components(layout, config)})

    def component(self, name: str) -> Component:
        """Raises FaultError naming those that there are."""
        found = self.components.get(_ALIASES.get(name, name))
        if found is None:
            known = ", ".join(sorted(self.components))
            raise FaultError(
                f"cluster {self.config.name!r} has no component {name!r} on this machine; it has: {known}"
            )
        return found

    def members(self) -> list[str]:
        """What is on the LAN, in a fixed order: store members, control-plane groups, nodes."""
        return list(dict.fromkeys(item.member for item in self.components.values() if item.member))

    def member(self, name: str) -> str:
        """The LAN member that a component is in; its own name does too (`cp-1`). Raises FaultError."""
        if not self.config.is_on_lan:
            raise FaultError(
                f"the parts of cluster {self.config.name!r} are in this machine's own network (argosy server, argosy "
                "join), whose links Argosy does not touch; faults of links need a cluster of `argosy up`"
            )
        if name in self.members():
            return name
        found = self.component(name)
        if not found.member:
            raise FaultError(f"{name} is not on the cluster's LAN: it runs in the machine's own network")
        return found.member

    def in_member(self, member: str) -> list[str]:
        """The components that share a member's link."""
        return [item.name for item in self.components.values() if item.member == member and item.make != SERVICE]

    def process(self, name: str) -> tuple[int, int]:
        """Pid and start time of a component's own process, a node's PID 1. Raises FaultError when it is down."""
        found = self.component(name)
        if found.name == SUPERVISOR:
            pid = _supervisor(self.layout)
        elif found.make == SERVICE:
            init_pid, _ = self.process(found.node)
            inner = {item["name"]: item["pid"] for item in report.services(f"/proc/{init_pid}/root")}
            pid = report.host_pids(init_pid).get(inner.get(found.name.partition("/")[2], 0), 0)
        else:
            pid = _child(self.layout, found.name)
        ticks = children.start_ticks(pid) if pid else 0
        if not ticks:
            raise FaultError(f"{found.name} is not running")
        return pid, ticks

    def all_processes(self, name: str) -> list[tuple[int, int]]:
        """A process and its descendants; of a node everything in it."""
        found = self.component(name)
        pid, ticks = self.process(name)
        if found.make == NODE:
            pids = [*cgroups.pids(self.layout.node_cgroup(found.name)), pid]
        elif found.kind == "containerd" or found.name == SUPERVISOR:
            # What they started has a life of its own: containers, and the cluster.
            return [(pid, ticks)]
        else:
            pids = [pid, *descendants(pid)]
        seen = {item: children.start_ticks(item) for item in pids}
        return [(item, start) for item, start in sorted(seen.items()) if start]


def descendants(pid: int) -> list[int]:
    """Children of a process, theirs, and so on."""
    result: list[int] = []
    waiting = [pid]
    while waiting:
        above = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{above}/task"):
                with open(f"/proc/{above}/task/{thread}/children", encoding="ascii") as file:
                    below = [int(item) for item in file.read().split()]
                result += below
                waiting += below
        except OSError:
            continue
    return result


def _components(layout: Layout, config: ClusterConfig) -> list[Component]:
    place = place_of(layout, config)
    result = []
    for spec in processes.control_plane(layout, config, place):
        member = os.path.basename(spec.namespace).removeprefix(layout.prefix) if spec.namespace else ""
        own = processes.is_own(spec)
        result.append(Component(spec.name, spec.kind, PROCESS, member, own))
    for node in config.nodes:
        member = node.name if config.is_on_lan else ""
        result.append(Component(node.name, NODE, NODE, member))
        for service in SERVICES:
            result.append(Component(f"{node.name}/{service}", service, SERVICE, member, service != "containerd"))
    result.append(Component(SUPERVISOR, SUPERVISOR, PROCESS))
    return result


def _supervisor(layout: Layout) -> int:
    """The file outlives one that was killed, and its pid may be another's by now."""
    try:
        with open(f"{layout.run}/supervisor.lock", encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as command:
            line = command.read().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return 0
    return pid if "deploy.supervisor" in line and layout.name in line else 0


def _child(layout: Layout, name: str) -> int:
    try:
        with open(layout.children_file, encoding="utf-8") as file:
            item = json.load(file)[name]
        pid, ticks = int(item["pid"]), int(item["ticks"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return pid if children.start_ticks(pid) == ticks else 0
