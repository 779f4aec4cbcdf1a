"""A whole cluster in one process on virtual time: three stores, API servers, controllers, schedulers, hollow nodes.

`World` builds it from a seed and plays the supervisor: it boots processes, crashes them, and starts again what ends
by itself. Every process is a host of the memory network, so that a partition or a crash hits all that it does.
`tests/sim/faults.py` breaks it, `tests/sim/scenario.py` runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from argosy.client import Client
from argosy.host import Host, SeededRng
from argosy.rpc_memory import MemoryNetwork
from control_plane.apiserver.config import Config as ApiConfig
from control_plane.apiserver.request import User
from control_plane.apiserver.server import ApiServer
from control_plane.autoscaler.config import Config as AutoscalerConfig
from control_plane.autoscaler.manager import AutoscalerManager
from control_plane.controllers.config import Config as ControllersConfig
from control_plane.controllers.manager import ControllerManager
from control_plane.scheduler.config import Config as SchedulerConfig
from control_plane.scheduler.scheduler import Scheduler
from etcd import sim_member, sim_peers
from etcd.config import Config as StoreConfig
from etcd.member import Member
from etcd.wal import WalFailed
from node_agent.hollow import hollow_agent
from node_agent.runtime.fake import FakeRuntime
from tests.sim.ledger import Ledger
from tests.sim.trace import Trace
from tests.sim.virtual import SimDisk, VirtualClock

STORES = ("etcd-1", "etcd-2", "etcd-3")
NODES = ("node-1", "node-2", "node-3")
IMAGE = "example/web:1"
LATENCY_S = 0.001
JITTER_S = 0.004
GRAIN_S = 0.002
"""What comes together is worked on together: shared log entries, ticks and watch responses, and fewer of them."""
OBSERVE_S = 1.0
RESTART_S = 1.0
HEARTBEAT_S = 0.4
"""Slower than by default: most of what happens in an idle minute is heartbeats."""
ELECTION_RETRY_S = 4.0
"""Twice the default, to the same end."""
MAX_VIOLATIONS = 20
AUTOSCALING: dict[str, Any] = {
    "node_provider": "unix:/cloud",
    "scale_down_utilization_threshold": 1.0,
    "scale_down_unneeded_time": 30.0,
    "scale_down_unready_time": 60.0,
    "scale_down_delay_after_add": 30.0,
    "scale_down_delay_after_failure": 20.0,
    "max_node_provision_time": 120.0,
    "initial_node_group_backoff_duration": 30.0,
    "max_node_group_backoff_duration": 60.0,
}
"""Its waits are made for hours; nodes come and go several times in a seed's minutes."""


class _OfLeader(msgspec.Struct, tag_field="type", tag="append_entries"):
    """As little of an AppendEntries as shows who leads."""

    term: int


_OF_LEADER = msgspec.msgpack.Decoder(_OfLeader)


class Tracebacks(logging.Handler):
    """An unexpected exception that some part caught and logged is a bug all the same."""

    def __init__(self, violation: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._violation = violation

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            text = logging.Formatter().formatException(record.exc_info)
            self._violation(f"{record.name}: {record.getMessage()}\n{text}")


class World:
    def __init__(
        self,
        seed: int,
        trace: Trace,
        *,
        twins: bool = False,
        elastic: bool = False,
        disks: Mapping[str, SimDisk] | None = None,
    ) -> None:
        """With `twins` there are two of each control plane process, with `elastic` autoscalers, too.

        The stores begin with copies of `disks`.
        """
        count = 2 if twins else 1
        self.seed = seed
        self.trace = trace
        self.rng = SeededRng(seed)
        self.network = MemoryNetwork(SeededRng(f"net{seed}"), latency_s=LATENCY_S, jitter_s=JITTER_S, grain_s=GRAIN_S)
        self.network.observer = self._observe_message
        self.apis = tuple(f"api-{number}" for number in range(1, count + 1))
        self.controllers = tuple(f"controllers-{number}" for number in range(1, count + 1))
        self.schedulers = tuple(f"scheduler-{number}" for number in range(1, count + 1))
        self.autoscalers = tuple(f"autoscaler-{number}" for number in range(1, count + 1)) if elastic else ()
        self.hosts = (*STORES, *self.apis, *self.controllers, *self.schedulers, *self.autoscalers, *NODES)
        self._addresses = {name: f"10.77.3.{number}" for number, name in enumerate(NODES, 1)}
        self.disks = {name: disks[name].copy() if disks else SimDisk() for name in STORES}
        self.disk_s = dict.fromkeys(STORES, sim_member.DISK_S)
        """How long a write to a store's disk takes."""
        self.clocks: dict[str, VirtualClock] = {}
        self.skews_s: dict[str, float] = {}
        self.members: dict[str, Member] = {}
        self.servers: dict[str, ApiServer] = {}
        """The API servers that run."""
        self.runtimes: dict[str, FakeRuntime] = {}
        self.violations: list[str] = []
        self.ledger = Ledger(self.violation)
        self.leaders: dict[int, str] = {}
        """Who led in each Raft term."""
        self.boots = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._observer: asyncio.Task[None] | None = None
        self._tracebacks = Tracebacks(self.violation)

    def violation(self, text: str) -> None:
        if len(self.violations) < MAX_VIOLATIONS:
            self.trace.line(f"VIOLATION {text}")
            self.violations.append(text)

    def client(self, name: str, apis: tuple[str, ...] = ()) -> Client:
        """Of some API servers, all by default, in an order that depends on the name."""
        addresses = [f"{api}:6444" for api in apis or self.apis]
        turn = sum(name.encode()) % len(addresses)
        return Client(self.network.host(name), addresses[turn:] + addresses[:turn], field_manager=name)

    # Processes

    async def start(self, *names: str) -> None:
        """Boot the hosts of these names, all by default."""
        logging.getLogger().addHandler(self._tracebacks)
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        for name in names or self.hosts:
            self.boot(name)
        self._observer = asyncio.get_running_loop().create_task(self._observe())

    async def close(self) -> None:
        logging.getLogger().removeHandler(self._tracebacks)
        if self._observer is not None:
            self._observer.cancel()
        for name in list(self._tasks):
            await self.crash(name)

    def runs(self, name: str) -> bool:
        return name in self._tasks

    def boot(self, name: str) -> None:
        """Start the process of that name, and again whenever it ends, until `crash`."""
        if name not in self._tasks:
            self.trace.line("boot", name=name)
            self._tasks[name] = asyncio.get_running_loop().create_task(self._keep(name), name=name)

    def join(self, name: str) -> None:
        """One more node, beside those of `hosts`."""
        self._addresses[name] = f"10.77.4.{len(self._addresses)}"
        self.boot(name)

    async def leave(self, name: str) -> None:
        await self.crash(name, power=True)

    async def crash(self, *names: str, power: bool = False, silent: bool = False) -> None:
        """End processes at the same moment.

        With `power` their disks keep only what was synced; with `silent` nobody is told.
        """
        self.trace.line("crash", names=",".join(names), power=power, silent=silent)
        dead = {name: task for name in names if (task := self._tasks.pop(name, None)) is not None}
        for name, task in dead.items():
            self.network.crash(name, silent=silent)
            self._forget(name)
            task.cancel()
            self._cut(name, power)
        for name, task in dead.items():
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._cut(name, power)

    def _forget(self, name: str) -> None:
        self.members.pop(name, None)
        self.servers.pop(name, None)

    def _cut(self, name: str, power: bool) -> None:
        if power and name in self.disks:
            self.disks[name].power_cut()
        if power and name in self.runtimes:
            self.runtimes[name].crash()

    async def _keep(self, name: str) -> None:
        while True:
            self.boots += 1
            try:
                await self._process(name)()
                self.violation(f"{name} ended")
            except (WalFailed, OSError) as error:
                if name not in self.disks:
                    raise
                self.trace.line("ended", name=name, error=error)
                if "inconsistent" in str(error):
                    self.violation(f"{name} ended: {error}")
            except Exception as error:
                self.violation(f"{name} ended: {error!r}")
            self._forget(name)
            self.network.crash(name)
            await asyncio.sleep(RESTART_S)

    def _host(self, name: str) -> Host:
        clock = self.clocks[name] = VirtualClock(asyncio.get_running_loop())
        clock.skew_s = self.skews_s.get(name, 0.0)
        return Host(clock, SeededRng(f"{name}/{self.boots}/{self.seed}"), self.disks.get(name) or SimDisk())

    def _process(self, name: str) -> Callable[[], Awaitable[None]]:
        host, network, identity = self._host(name), self.network.host(name), f"{name}-{self.boots}"
        addresses = tuple(f"{api}:6444" for api in self.apis)
        if name in STORES:
            store = StoreConfig(
                name=name,
                data_dir=f"/{name}",
                listen_client=f"{name}:2379",
                listen_peer=f"{name}:2380",
                initial_cluster=tuple(f"{other}={other}:2380" for other in STORES),
                segment_bytes=256 << 10,
                snapshot_bytes=512 << 10,
                retain_bytes=64 << 10,
                heartbeat_interval_s=HEARTBEAT_S,
            )
            member = self.members[name] = sim_member.sim_member(store, host, network, lambda: self.disk_s[name])
            return member.run
        if name in self.apis:
            api = ApiConfig(
                etcd_servers=tuple(f"{store}:2379" for store in STORES),
                listen_grpc=(f"{name}:6444",),
                advertise_address=f"10.77.2.{self.apis.index(name) + 1}",
                default_not_ready_toleration_seconds=10,
                default_unreachable_toleration_seconds=10,
            )
            trusted = User("kubernetes-admin", ("system:masters",))
            server = self.servers[name] = ApiServer(api, host, network, trusted=trusted)
            return server.run
        if name in self.controllers:
            manager = ControllersConfig(
                addresses,
                cluster_cidr=("10.244.0.0/16",),
                identity=identity,
                leader_elect_retry_period=ELECTION_RETRY_S,
            )
            return ControllerManager(manager, host, self.client(name)).run
        if name in self.schedulers:
            scheduler = SchedulerConfig(addresses, identity=identity, leader_elect_retry_period_s=ELECTION_RETRY_S)
            return Scheduler(scheduler, host, self.client(name)).run
        if name in self.autoscalers:
            autoscaler = AutoscalerConfig(
                addresses, identity=identity, leader_elect_retry_period=ELECTION_RETRY_S, **AUTOSCALING
            )
            return AutoscalerManager(autoscaler, host, self.client(name)).run
        runtime = self.runtimes.setdefault(name, FakeRuntime(host, images=[IMAGE]))
        return hollow_agent(name, self._addresses[name], host, self.client(name), runtime).run

    # What is seen of it

    def leader(self) -> str:
        """A store member that believes to lead, or any that runs."""
        running = [name for name in STORES if name in self.members]
        return next((one for one in running if self._leads(one)), running[0] if running else STORES[0])

    def _leads(self, name: str) -> bool:
        member = self.members[name]
        return hasattr(member, "raft") and member.raft.is_leader

    async def _observe(self) -> None:
        while True:
            self.observe()
            await asyncio.sleep(OBSERVE_S)

    def observe(self) -> None:
        """Bring the ledger up to date. Compaction leaves minutes for it."""
        for name, member in self.members.items():
            self.ledger.read(name, member.machine.history)

    def _observe_message(self, source: str, target: str, method: str, data: bytes) -> None:
        self.trace.message(source, target, method, data)
        if method == sim_peers.METHOD and b"append_entries" in data[:24]:
            with contextlib.suppress(msgspec.DecodeError):
                term = _OF_LEADER.decode(data).term
                leader = self.leaders.setdefault(term, source)
                if leader != source:
                    self.violation(f"{leader} and {source} both lead in term {term}")

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if not isinstance(error, asyncio.CancelledError):
            self.violation(f"unhandled: {context.get('message')}: {error!r}")
