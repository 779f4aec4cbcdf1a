"""Node groups of a cluster on one machine: real nodes that the autoscaler asks for and gives back.

They are nodes like any other of the cluster's configuration, with the name of their group; so they survive the
supervisor, and they leave like any other (deploy.departures).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from argosy import logs
from argosy.host import real_host
from argosy.objects import generate, quantity
from argosy.rpc import GrpcNetwork, Server
from deploy import amend, launch
from deploy.cluster import ClusterConfig, ConfigError, NodeConfig, NodeGroupConfig
from deploy.layout import MAX_MEMBERS, Layout
from deploy.node_groups_service import GroupsError, methods
from deploy.unit import FAILED_STARTS, State, Unit

if TYPE_CHECKING:
    from argosy.pb import node_groups_pb2 as pb

log = logs.get("deploy.node_groups")

MAX_PODS: Final = "110"
GROUP_LABEL: Final = "argosy.dev/node-group"


class LocalNodeGroups:
    """`deploy.node_groups_service.Groups` over a supervisor's nodes. `serve`, then `close`."""

    def __init__(
        self,
        layout: Layout,
        units: dict[str, Unit],
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        """`units` by name as the supervisor has them; `reload` makes a changed configuration true: nodes come, and
        those that leave go (deploy.departures)."""
        self._layout = layout
        self._units = units
        self._reload = reload
        self._host = real_host()
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = threading.Event()

    async def serve(self) -> None:
        """Listen. Raises OSError."""
        path = self._layout.node_groups_socket
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._server = await GrpcNetwork().serve(f"unix:{path}", methods(self))

    async def close(self) -> None:
        self._closing.set()
        if self._server is not None:
            await self._server.stop(0.0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- what is asked

    async def groups(self) -> Sequence[tuple[str, int, int, int, dict[str, Any]]]:
        config = self._config()
        return [
            (group.name, group.min_size, group.max_size, len(_staying(config, group.name)), template(group))
            for group in config.node_groups
        ]

    async def instances(self, group: str) -> Sequence[pb.Instance]:
        config = self._config()
        self._group(config, group)
        return [self._instance(item) for item in config.nodes if item.group == group]

    async def increase(self, group: str, count: int) -> None:
        def grown(config: ClusterConfig) -> ClusterConfig:
            found = self._group(config, group)
            there = len(_staying(config, group))
            if there + count > found.max_size:
                raise GroupsError(f"size increase too large, desired: {there + count} max: {found.max_size}")
            if len(config.nodes) + count > MAX_MEMBERS:
                raise GroupsError(f"a cluster on one machine has {MAX_MEMBERS} nodes at most")
            for _ in range(count):
                name = f"node-{group}-{generate.suffix(self._host.rng)}"
                made = config.next_node(name, cpus=found.cpus, memory_bytes=found.memory_bytes)
                labels = (*found.labels, f"{GROUP_LABEL}={group}")
                config = config.with_node(replace(made, group=group, labels=labels, taints=found.taints))
                new.append(name)
            return config

        new: list[str] = []
        await self._change(grown)
        log.info("nodes are started", group=group, nodes=",".join(new))
        self._spawn(self._start(new))

    async def delete_nodes(self, group: str, names: Sequence[str]) -> None:
        def shrunk(config: ClusterConfig) -> ClusterConfig:
            found = self._group(config, group)
            staying = {item.name: item for item in _staying(config, group)}
            for name in names:
                if name not in staying:
                    raise GroupsError(f"{name} is no node of group {group}")
            started = [name for name in names if self._has_started(name)]
            if started and len(staying) - len(names) < found.min_size:
                raise GroupsError(f"min size reached, nodes will not be deleted: {found.min_size}")
            for name in names:
                config = config.with_node(replace(staying[name], leaving=True))
            return config

        await self._change(shrunk)
        log.info("nodes are removed", group=group, nodes=",".join(names))
        self._spawn(self._take_effect())

    async def decrease_target(self, group: str, count: int) -> None:
        self._group(self._config(), group)
        raise GroupsError(
            f"every node of group {group} that was asked for is there: none of {count} can be taken back"
        )

    # ---- how it is done

    def _config(self) -> ClusterConfig:
        with _said():
            return amend.current(self._layout)

    def _group(self, config: ClusterConfig, name: str) -> NodeGroupConfig:
        for group in config.node_groups:
            if group.name == name:
                return group
        raise GroupsError(f"there is no node group {name!r}")

    def _has_started(self, name: str) -> bool:
        unit = self._units.get(name)
        return unit is not None and unit.state is State.RUNNING

    def _instance(self, item: NodeConfig) -> pb.Instance:
        from argosy.pb import node_groups_pb2 as pb

        if item.leaving:
            return pb.Instance(name=item.name, state=pb.Instance.DELETING)
        unit = self._units.get(item.name)
        if item.crashed or self._has_started(item.name):
            return pb.Instance(name=item.name, state=pb.Instance.RUNNING)
        made = pb.Instance(name=item.name, state=pb.Instance.CREATING)
        if unit is not None and unit.restarts >= FAILED_STARTS and unit.exit.startswith("not started"):
            made.error_class = pb.Instance.OTHER
            made.error_code = "NotStarted"
            made.error_message = unit.exit
        return made

    async def _change(self, edit: Callable[[ClusterConfig], ClusterConfig]) -> None:
        """Raises GroupsError, OSError."""
        with _said():
            await amend.amend(self._layout, edit)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_effect(self) -> None:
        try:
            await self._reload()
        except Exception as error:
            # The supervisor goes on with what it could not do when it next looks.
            log.error("a changed configuration is not in force", error=error)

    async def _start(self, names: Sequence[str]) -> None:
        try:
            await self._reload()
            archives = launch.known_archives(self._layout)
            await asyncio.to_thread(launch.load_images, self._layout, archives, names, self._closing.is_set)
        except Exception as error:
            # A node that does not come up shows as such; one without images pulls them.
            log.error("nodes were not made ready", nodes=",".join(names), error=error)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What keeps the configuration from being read or changed, as whoever asks for nodes is told."""
    try:
        yield
    except amend.BusyError as error:
        raise GroupsError(str(error), busy=True) from None
    except ConfigError as error:
        raise GroupsError(str(error)) from None


def _staying(config: ClusterConfig, group: str) -> list[NodeConfig]:
    return [item for item in config.nodes if item.group == group and not item.leaving]


def template(group: NodeGroupConfig) -> dict[str, Any]:
    """A new node of the group as its agent will register it."""
    from node_agent.node_status import architecture, taint

    disk = os.statvfs("/var/lib")
    capacity = {
        "cpu": quantity.of_milli(round(group.cpus * 1000)),
        "memory": quantity.of_bytes(group.memory_bytes),
        "pods": MAX_PODS,
        "ephemeral-storage": quantity.of_bytes(disk.f_blocks * disk.f_frsize // 1024 * 1024),
    }
    labels = {"kubernetes.io/os": "linux", "kubernetes.io/arch": architecture(), GROUP_LABEL: group.name}
    labels |= dict(label.split("=", 1) for label in group.labels)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{group.name}", "labels": labels},
        "spec": {"taints": [taint(text) for text in group.taints]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
