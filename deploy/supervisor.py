"""`python -m deploy.supervisor --name NAME`: keeps what of a cluster is on this machine as its configuration says.

One per cluster and machine, detached from whoever started it. It makes the network that the parts are in (a LAN of
their own, or what a node needs of this machine's), starts every process in its namespace, hands over listening
sockets (it keeps them, so that an API server's restart refuses no connection), restarts with back-off, keeps routes
to the nodes' pods, and rotates logs of programs that do not. Its children live on when it is killed: a new one finds
them by pid and start time and takes their sockets back. SIGTERM stops everything in order and leaves its state.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from argosy import fault_controls, logs
from argosy.config import FAULT_CONTROLS, option, parse
from deploy import cgroups, children, cluster, control, disks, netns, node, processes
from deploy.children import Running
from deploy.cluster import ClusterConfig, NodeConfig
from deploy.departures import Departures
from deploy.layout import Layout
from deploy.network import network_of, place_of
from deploy.place import Member
from deploy.processes import Process
from deploy.unit import Hooks, Unit
from node_agent.init import rotate

if TYPE_CHECKING:
    from deploy.node_groups import LocalNodeGroups

STOP_S: Final = 5.0
REMOVE_GRACE_S: Final = 1.0
"""Before SIGKILL, when the state is to be removed anyway."""
NODE_STOP_S: Final = 8.0
HOUSEKEEPING_S: Final = 30.0
GROUP_EMPTY_S: Final = 5.0
NODE_STOP_ORDER: Final = 0
STAGE_S: Final = 10.0
STAGE_POLL_S: Final = 0.03

log = logs.get("deploy.supervisor")


@dataclass(frozen=True)
class Config:
    name: str = option(help="the cluster's name")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")


class AlreadyRunning(Exception):
    """Another supervisor keeps this cluster."""


class CannotListen(Exception):
    """A port of the cluster is in use; the message names it."""


class Supervisor:
    """Keeps one cluster; `run` ends after SIGTERM or a `stop` request."""

    def __init__(self, config: ClusterConfig, layout: Layout) -> None:
        self.config = config
        self.layout = layout
        self.place = place_of(layout, config)
        self.network = network_of(layout, config)
        self.units: dict[str, Unit] = {}
        self.specs: dict[str, Process] = {}
        self.sockets: dict[str, socket.socket] = {}
        self.steps: list[tuple[str, float]] = []
        self._stopping = asyncio.Event()
        self._removing = False
        self._reconciling = asyncio.Lock()
        self._begun_s = 0.0
        self._departures = Departures(layout, self._bring_about, self._clear_node)
        self._environment = {
            **children.inherited(("PATH", "HOME", "LANG", "PYTHONPATH")),
            **children.FRUGAL,
        }

    async def run(self) -> None:
        """Until stopped. Raises AlreadyRunning, CommandError, OSError."""
        loop = asyncio.get_running_loop()
        self._begun_s = loop.time()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        lock = self._lock()
        children.become_subreaper()
        server = await control.serve(
            self.layout, {"status": self._status, "reload": self._reload, "stop": self._stop, "ping": self._ping}
        )
        tasks = []
        groups: LocalNodeGroups | None = None
        try:
            adoptable = self._adoptable()
            groups = await self._serve_groups()
            await self._reconcile(adoptable)
            self._departures.attend(self.config)
            tasks.append(asyncio.create_task(self._housekeeping()))
            if self.config.has_control_plane:
                from deploy.routes import Routes

                tasks.append(asyncio.create_task(Routes(self.layout, self.network, self.config.apiservers).run()))
            await self._stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            if groups is not None:
                await groups.close()
            await self._departures.close()
            await self._shut_down()
            server.close()
            for path in (self.layout.control_socket, self.layout.children_file):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            os.close(lock)

    # ---- requests

    async def _ping(self, request: Mapping[str, Any]) -> control.Answer:
        return {"pid": os.getpid(), "steps": self.steps}

    async def _status(self, request: Mapping[str, Any]) -> control.Answer:
        from deploy.report import report

        return {**await report(self), "steps": self.steps}

    async def _reload(self, request: Mapping[str, Any]) -> control.Answer:
        await self._bring_about()
        return {}

    async def _bring_about(self) -> None:
        """Read the configuration anew and bring about what changed."""
        found = cluster.load(self.layout)
        if found is None:
            raise cluster.ConfigError("there is no configuration")
        self.config, self.place = found, place_of(self.layout, found)
        self._departures.attend(found)
        await self._reconcile({})

    async def _serve_groups(self) -> LocalNodeGroups | None:
        """Where the cluster has node groups, the autoscaler asks here for nodes."""
        if not self.config.node_groups:
            return None
        from deploy.node_groups import LocalNodeGroups

        groups = LocalNodeGroups(self.layout, self.units, self._bring_about)
        await groups.serve()
        return groups

    async def _stop(self, request: Mapping[str, Any]) -> control.Answer:
        self._removing = bool(request.get("remove"))
        self._stopping.set()
        return {"pid": os.getpid()}

    # ---- what there is to be

    async def _reconcile(self, adoptable: Mapping[str, Running]) -> None:
        """Bring the cluster to its configuration; `adoptable` already runs."""
        async with self._reconciling:
            nodes = {item.name: item for item in self.config.nodes if item.is_wanted}
            self.specs = {item.name: item for item in processes.control_plane(self.layout, self.config, self.place)}
            for name in [name for name in self.units if name not in nodes and name not in self.specs]:
                await self._remove(name)
            for name, running in adoptable.items():
                if name not in nodes and name not in self.specs:
                    running.kill(signal.SIGKILL)
            await asyncio.to_thread(self.network.ensure, self.place.members)
            await asyncio.to_thread(self._reassert_faults)
            self._step("network")
            self._open_sockets(adoptable)
            await self._start_staged(nodes, adoptable)

    async def _start_staged(self, nodes: Mapping[str, NodeConfig], adoptable: Mapping[str, Running]) -> None:
        """Start what does not run yet, in the order in which it is needed.

        Everything copes with any order; but a start is bound by loading Python modules on few processors, so what
        the others wait for goes first.
        """
        first = [spec for spec in self.specs.values() if spec.stage == 0]
        later = [spec for spec in self.specs.values() if spec.stage > 0]
        fresh = any(spec.name not in self.units and spec.name not in adoptable for spec in first)
        for spec in first:
            self._begin(spec.name, spec.stop_order, self._process_hooks(spec), adoptable)
        self._step("store and API server started")
        if fresh:
            await self._until(self._stores_answer)
        for item in nodes.values():
            self._begin(item.name, NODE_STOP_ORDER, self._node_hooks(item), adoptable)
        self._step("nodes started")
        if fresh and self.config.has_control_plane:
            await self._until(self._api_answers)
        for spec in later:
            self._begin(spec.name, spec.stop_order, self._process_hooks(spec), adoptable)
        self._step("control plane started")

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Poll for a short while: a stage that hangs must not keep the others from starting."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + STAGE_S
        while not await asyncio.to_thread(condition):
            if loop.time() >= deadline_s or self._stopping.is_set():
                return
            await asyncio.sleep(STAGE_POLL_S)

    def _stores_answer(self) -> bool:
        return all(
            netns.accepts(spec.namespace, spec.probe.host, spec.probe.port)
            for spec in self.specs.values()
            if spec.kind == "etcd" and spec.probe is not None
        )

    def _api_answers(self) -> bool:
        return netns.accepts_unix(self.layout.api_socket())

    def _begin(self, name: str, stop_order: int, hooks: Hooks, adoptable: Mapping[str, Running]) -> None:
        if name not in self.units:
            self.units[name] = Unit(name, stop_order, hooks, self._save_children)
            self.units[name].begin(adoptable.get(name))

    async def _remove(self, name: str) -> None:
        """A node that crashed by request dies at once; one that was removed, and a process, in order."""
        unit = self.units.pop(name)
        crashed = any(item.name == name and item.crashed for item in self.config.nodes)
        await unit.stop(signal.SIGKILL if crashed else signal.SIGTERM, STOP_S)
        self._save_children()

    def _open_sockets(self, adoptable: Mapping[str, Running]) -> None:
        """Listening sockets of the API servers: taken back from living ones, else made."""
        for name, listener in self.place.sockets.items():
            if name in self.sockets:
                continue
            for running in adoptable.values():
                if name in running.fds:
                    try:
                        self.sockets[name] = children.take_socket(running, name)
                        break
                    except OSError as error:
                        log.warning("cannot take a socket back", socket=name, pid=running.pid, error=error)
            else:
                try:
                    self.sockets[name] = netns.listening(listener.namespace, listener.ip, listener.port)
                except OSError as error:
                    where = f"{listener.ip}:{listener.port}"
                    raise CannotListen(f"cannot listen on {where}: {error.strerror}") from None

    # ---- how things start and end

    def _process_hooks(self, spec: Process) -> Hooks:
        async def start() -> Running:
            if spec.kind == "etcd" and self.config.store_disk_bytes:
                folder = disks.of_store(self.layout, spec.name)
                await asyncio.to_thread(disks.ensure, folder, self.config.store_disk_bytes)
            return children.spawn(
                (*spec.arguments, *self._controls(spec)),
                namespace=spec.namespace,
                log=self.error_log(spec),
                sockets={name: self.sockets[name] for name in spec.sockets},
                environment=self._environment,
            )

        async def ended() -> None:
            return None

        return Hooks(start, ended, lambda: self._is_held(spec.name))

    def _controls(self, spec: Process) -> tuple[str, ...]:
        """How faults of its clock and disk reach a process of ours."""
        if not processes.is_own(spec):
            return ()
        path = self.layout.controls(spec.name) + ".ctl"
        fault_controls.ensure(path)
        return (FAULT_CONTROLS, path)

    def _is_held(self, name: str) -> bool:
        """A fault may keep something down for a while."""
        return os.path.exists(self.layout.controls(name) + ".hold")

    def _reassert_faults(self) -> None:
        """A member that is plugged in anew gets the faults of its links again."""
        if not os.path.isdir(self.layout.chaos):
            return
        from deploy.chaos import fault, links

        try:
            links.reassert(self.layout, self.config)
        except (fault.FaultError, netns.CommandError, OSError) as error:
            log.error("faults of links are not in force", error=error)

    def error_log(self, spec: Process) -> str:
        """Where a process's own output goes; its log file apart from that rotates by itself."""
        path = self.layout.log(spec.name)
        return path.removesuffix(".log") + ".err" if spec.rotates else path

    def _node_hooks(self, item: NodeConfig) -> Hooks:
        place = self.place

        async def start() -> Running:
            await asyncio.to_thread(self.network.ensure, [Member(item.name, place.nodes[item.name].ip, is_node=True)])
            await asyncio.to_thread(self._reassert_faults)
            pid = await asyncio.to_thread(node.start, self.layout, self.config, place, item)
            running = children.watch(pid)
            if running is None:
                raise node.BootError(f"{item.name} ended at once; see {self.layout.log(item.name)}")
            return running

        async def ended() -> None:
            # What a machine loses with its power: its processes and its network.
            await asyncio.to_thread(self._clear_node, item.name)

        return Hooks(start, ended, lambda: self._is_held(item.name))

    def _clear_node(self, name: str) -> None:
        group = self.layout.node_cgroup(name)
        cgroups.kill(group)
        self.network.remove_member(name)

    # ---- living on

    def _lock(self) -> int:
        os.makedirs(self.layout.run, mode=0o700, exist_ok=True)
        fd = os.open(f"{self.layout.run}/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise AlreadyRunning(f"cluster {self.config.name!r} has a supervisor") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd

    def _save_children(self) -> None:
        found = {
            name: {"pid": unit.running.pid, "ticks": unit.running.ticks, "fds": dict(unit.running.fds)}
            for name, unit in self.units.items()
            if unit.running is not None
        }
        temporary = self.layout.children_file + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
        os.rename(temporary, self.layout.children_file)

    def _adoptable(self) -> dict[str, Running]:
        """Children of a supervisor before this one that still run."""
        try:
            with open(self.layout.children_file, encoding="utf-8") as file:
                read: dict[str, dict[str, Any]] = json.load(file)
        except (FileNotFoundError, ValueError):
            return {}
        result = {}
        for name, item in read.items():
            running = children.watch(int(item["pid"]), ticks=int(item["ticks"]), fds=item["fds"])
            if running is not None:
                log.info("adopted", process=name, pid=running.pid)
                result[name] = running
        return result

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            for spec in self.specs.values():
                rotate(self.error_log(spec))
            for item in self.config.nodes:
                rotate(self.layout.log(item.name))

    async def _shut_down(self) -> None:
        """Controllers, scheduler and nodes first, the store last; then the namespaces and groups."""
        log.info("stopping")
        for order in sorted({unit.stop_order for unit in self.units.values()}):
            group = [unit for unit in self.units.values() if unit.stop_order == order]
            node_names = {item.name for item in self.config.nodes}
            await asyncio.gather(
                *(unit.stop(signal.SIGTERM, self._grace_s(unit.name in node_names)) for unit in group)
            )
        for sock in self.sockets.values():
            sock.close()
        await asyncio.to_thread(self._clear_all)
        log.info("stopped")

    def _grace_s(self, is_node: bool) -> float:
        if self._removing:
            return REMOVE_GRACE_S
        return NODE_STOP_S if is_node else STOP_S

    def _clear_all(self) -> None:
        self.network.remove()
        for item in self.config.nodes:
            cgroups.kill(self.layout.node_cgroup(item.name))
        if not cgroups.remove(self.layout.cgroup):
            log.warning("some control groups are still in use", group=self.layout.cgroup)

    def _step(self, name: str) -> None:
        self.steps.append((name, round(asyncio.get_running_loop().time() - self._begun_s, 3)))


def main() -> None:
    flags = parse(Config, "deploy.supervisor", "Keeps a cluster running.")
    logs.setup(flags.log_level, flags.log_file)
    try:
        layout = Layout(flags.name)
        config = cluster.load(layout)
        if config is None:
            sys.exit(f"there is no cluster {flags.name!r}: {layout.config_file} is missing")
        asyncio.run(Supervisor(config, layout).run())
    except (AlreadyRunning, CannotListen, ValueError, cluster.ConfigError) as error:
        log.error("not started", error=error)
        sys.exit(str(error))


if __name__ == "__main__":
    main()
