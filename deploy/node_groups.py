"""Node groups of a cluster on one machine: real nodes that the autoscaler asks for and gives back.

They are nodes like any other of the cluster's configuration, with the name of their group; so they survive the
supervisor. One that is given back is stopped, its disk is removed and its Node object deleted, in this order; until
that is done the configuration says that it leaves, and whoever is supervisor then goes on with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from argosy import logs
from argosy.host import real_host
from argosy.objects import generate, quantity
from argosy.objects.status import ApiError
from argosy.rpc import GrpcNetwork, Server
from deploy import bring_up, cgroups, cluster, disks, launch, locks
from deploy.cluster import ClusterConfig, ConfigError, NodeConfig, NodeGroupConfig
from deploy.layout import MAX_MEMBERS, Layout
from deploy.node_groups_service import GroupsError, methods
from deploy.unit import State, Unit

if TYPE_CHECKING:
    from argosy.pb import node_groups_pb2 as pb

log = logs.get("deploy.node_groups")

LOCK_TIMEOUT_S: Final = 5.0
LOCK_POLL_S: Final = 0.05
RETRY_S: Final = 1.0
FAILED_STARTS: Final = 3
"""Attempts after which a node that cannot be started is said to have failed."""
MAX_PODS: Final = "110"
GROUP_LABEL: Final = "argosy.dev/node-group"


class LocalNodeGroups:
    """`deploy.node_groups_service.Groups` over a supervisor's nodes. `serve`, then `close`."""

    def __init__(
        self,
        layout: Layout,
        units: dict[str, Unit],
        reload: Callable[[], Awaitable[None]],
        clear: Callable[[str], None],
    ) -> None:
        """`units` by name as the supervisor has them; `reload` makes a changed configuration true; `clear` takes away
        what a stopped node had of the machine, its network and what may still run in its cgroup."""
        self._layout = layout
        self._units = units
        self._reload = reload
        self._clear = clear
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

    def resume(self) -> None:
        """Go on with removals that a supervisor before this one began. Raises GroupsError."""
        for item in self._config().nodes:
            if item.leaving:
                self._spawn(self._finish(item.name))

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
        for name in names:
            self._spawn(self._finish(name))

    async def decrease_target(self, group: str, count: int) -> None:
        self._group(self._config(), group)
        raise GroupsError(
            f"every node of group {group} that was asked for is there: none of {count} can be taken back"
        )

    # ---- how it is done

    def _config(self) -> ClusterConfig:
        try:
            found = cluster.load(self._layout)
        except ConfigError as error:
            raise GroupsError(str(error)) from None
        if found is None:
            raise GroupsError("the cluster is being removed", busy=True)
        return found

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
        """Change the configuration as `argosy` commands do, one at a time. Raises GroupsError, OSError."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + LOCK_TIMEOUT_S
        path = f"{os.path.dirname(self._layout.run)}/.{self._layout.name}.lock"
        while True:
            try:
                with locks.held(path, wait=False):
                    changed = edit(self._config())
                    await asyncio.to_thread(launch.prepare, changed, self._layout)
                return
            except BlockingIOError:
                if loop.time() >= deadline_s:
                    raise GroupsError("an argosy command is changing the cluster", busy=True) from None
                await asyncio.sleep(LOCK_POLL_S)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, names: Sequence[str]) -> None:
        try:
            await self._reload()
            archives = launch.known_archives(self._layout)
            await asyncio.to_thread(launch.load_images, self._layout, archives, names, self._closing.is_set)
        except Exception as error:
            # A node that does not come up shows as such; one without images pulls them.
            log.error("nodes were not made ready", nodes=",".join(names), error=error)

    async def _finish(self, name: str) -> None:
        """Stop a node that leaves and remove what is left of it; tries until it is done."""
        while True:
            try:
                await self._reload()
                await asyncio.to_thread(self._remove_traces, name)
                config = self._config()
                api = bring_up.client(self._layout, config)
                try:
                    await bring_up.delete_node(api, name)
                finally:
                    await api.close()
                await self._change(lambda config: config.without_node(name))
                await self._reload()
            except (ApiError, GroupsError, ConfigError, OSError) as error:
                log.warning("a node is not removed yet", node=name, error=error)
                await asyncio.sleep(RETRY_S)
            else:
                log.info("a node is removed", node=name)
                return

    def _remove_traces(self, name: str) -> None:
        # Again, for a node whose end the supervisor before this one did not live to see.
        self._clear(name)
        disks.release(disks.of_node(self._layout, name))
        shutil.rmtree(self._layout.node(name), ignore_errors=True)
        shutil.rmtree(self._layout.controls(name), ignore_errors=True)
        cgroups.remove(self._layout.node_cgroup(name))


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
