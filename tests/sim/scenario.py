"""One seed: a cluster, clients that write and watch, a user who changes the Deployment, and faults all the while.

`play(seed)` runs it and says what was wrong, if anything. At least 10 virtual minutes, 5 faults and 1,000
acknowledged writes; afterwards everything heals, and has to become what was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from argosy.client import Client
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from tests.sim import checks, faults, prepared, remains, virtual
from tests.sim.crons import Crons
from tests.sim.elastic import Elastic
from tests.sim.faults import Fault
from tests.sim.patience import insist, until
from tests.sim.readers import Floor, MemberClient
from tests.sim.trace import Trace
from tests.sim.virtual import SimDisk
from tests.sim.watchers import ApiWatcher, EtcdWatcher
from tests.sim.workloads import Ordinals, Workloads
from tests.sim.world import IMAGE, NODES, STORES, World
from tests.sim.writers import Book, Writer, to_the_beat

WRITES = 1000
FAULTS = 6
DURATION_S = 600.0
WRITERS = 6
WRITE_PAUSE_S = 1.8
IDLE_PAUSE_S = 40.0
CENSUS_AFTER_S = 5.0
IN_THE_MIDST_S = 0.03
"""Writes that began together are on their way that long."""
FRESH_EVERY = 5
"""Seeds divisible by this begin with empty disks, the others with tests.sim.prepared's."""
WORKLOADS_EVERY = 13
"""Seeds divisible by this have workloads, crons and elastic load too; were it all, the suite would take too long."""
UNREADY = "fake.argosy.dev/ready"


@dataclass(frozen=True)
class Outcome:
    seed: int
    violations: tuple[str, ...]
    digest: str
    virtual_s: float
    faults: int
    acknowledged: int
    messages: int
    revision: int


def deployment(replicas: int, version: str) -> JsonObject:
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5}
    container = {
        "name": "c",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "1"}},
        "readinessProbe": probe,
    }
    labels = {"app": "web", "version": version}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def service() -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


class User:
    """Somebody at the keyboard: scales, rolls out, makes pods unready and ready again."""

    def __init__(self, world: World) -> None:
        self.desired: JsonObject = {"replicas": 4, "version": "1"}
        self._world = world
        self._client = world.client("user")
        self._deployments = self._client.resource("apps", "v1", "deployments")
        self._pods = self._client.resource("", "v1", "pods")

    async def begin(self) -> None:
        body = deployment(self.desired["replicas"], self.desired["version"])
        await insist(self._world, "create", lambda: self._deployments.create(body))
        services = self._client.resource("", "v1", "services")
        await insist(self._world, "create", lambda: services.create(service()))

    async def run(self) -> None:
        rng = self._world.rng
        while True:
            await asyncio.sleep(20 + 40 * rng.random())
            kind = rng.choice(("scale", "roll out", "unready"))
            if kind == "scale":
                self.desired["replicas"] = 2 + rng.randrange(6)
            elif kind == "roll out":
                self.desired["version"] = str(int(self.desired["version"]) + 1)
            else:
                await self._unready(3 + 20 * rng.random())
                continue
            await self.ask()

    async def ask(self) -> None:
        """The whole of what is wanted: what was interrupted before is made up for."""
        wanted = deployment(self.desired["replicas"], self.desired["version"])
        self._world.trace.line("wanted", **self.desired)
        patch = {"spec": {"replicas": wanted["spec"]["replicas"], "template": wanted["spec"]["template"]}}
        await insist(self._world, "patch", lambda: self._deployments.patch("web", patch, namespace="default"))

    async def _unready(self, for_s: float) -> None:
        try:
            found = (await self._pods.list(namespace="default")).items
        except ApiError:
            return
        if found:
            name = meta.name(self._world.rng.choice(found))
            await self._mark(name, "false")
            await asyncio.sleep(for_s)
            await self._mark(name, "true")

    async def _mark(self, name: str, ready: str) -> None:
        self._world.trace.line("mark", pod=name, ready=ready)
        patch = {"metadata": {"annotations": {UNREADY: ready}}}
        await insist(self._world, "mark", lambda: self._pods.patch(name, patch, namespace="default"))

    async def settle(self) -> None:
        """The last word."""
        await self.ask()
        found: list[JsonObject] = []

        async def look() -> None:
            found[:] = (await self._pods.list(namespace="default")).items

        await insist(self._world, "list", look)
        for pod in found:
            if meta.annotations(pod).get(UNREADY) == "false":
                await self._mark(meta.name(pod), "true")


class Part(Protocol):
    """Somebody else who uses the cluster while it breaks."""

    async def begin(self) -> None: ...

    async def run(self) -> None:
        """Change things, for ever."""

    async def settle(self) -> None:
        """The last word."""

    async def at_rest(self) -> str:
        """What is still missing for everything to be as asked for; empty when it is."""

    def check(self) -> None:
        """Hold the ledger against what must never be."""


class Scenario:
    def __init__(
        self, seed: int, trace: Trace, kinds: tuple[Fault, ...], disks: Mapping[str, SimDisk] | None
    ) -> None:
        self._kinds = kinds
        elastic = seed % WORKLOADS_EVERY == 0
        self.world = World(seed, trace, twins=seed % 2 == 1, elastic=elastic, disks=disks)
        self.book = Book()
        self.faults = 0
        world = self.world
        self._client: Client = world.client("checker")
        self._user = User(world)
        self._more: tuple[Part, ...] = (Workloads(world), Crons(world), Elastic(world)) if elastic else ()
        self._ordinals = [Ordinals(world)] if elastic else []
        self._base: dict[str, int] = {}
        one = world.rng.choice(STORES)
        self._etcd_watchers = [EtcdWatcher(world, "watch-one", (one,)), EtcdWatcher(world, "watch-any", STORES)]
        self._api_watchers = [ApiWatcher(world, f"watch-{api}", (api,), "", "configmaps") for api in world.apis]
        self._api_watchers += [
            ApiWatcher(world, "watch-maps", (), "", "configmaps"),
            ApiWatcher(world, "watch-pods", (), "", "pods"),
            ApiWatcher(world, "watch-node-1", (), "", "pods", fields=f"spec.nodeName={NODES[0]}"),
            ApiWatcher(world, "watch-slices", (), "discovery.k8s.io", "endpointslices"),
        ]
        self._watchers: tuple[EtcdWatcher | ApiWatcher, ...] = (*self._etcd_watchers, *self._api_watchers)
        self._floor = Floor()
        self._readers = [MemberClient(world, member, self._floor) for member in STORES]
        self._writers = [Writer(world, f"writer-{number}", self.book) for number in range(WRITERS)]

    async def run(self) -> None:
        world, loop = self.world, asyncio.get_running_loop()
        await world.start()
        try:
            if not await until(world, "the cluster did not start", self._nodes_ready):
                return
            await self._user.begin()
            for part in self._more:
                await part.begin()
            busy = [loop.create_task(client.run()) for client in (*self._watchers, *self._readers, *self._ordinals)]
            writing = [loop.create_task(one.run(WRITES, WRITE_PAUSE_S, IDLE_PAUSE_S)) for one in self._writers]
            if await until(world, "the replicas did not come", self._at_rest):
                await asyncio.sleep(CENSUS_AFTER_S)
                self._base = remains.census(world)
                await self._break()
                await self._heal(writing)
            for task in (*busy, *writing):
                task.cancel()
                if task.done() and not task.cancelled() and task.exception() is not None:
                    world.violation(f"a client failed: {task.exception()!r}")
            await asyncio.gather(*busy, *writing, return_exceptions=True)
        finally:
            await world.close()

    async def warm_up(self) -> None:
        await self.world.start()
        try:
            await until(self.world, "the cluster did not start", self._nodes_ready)
        finally:
            await self.world.close()

    async def _break(self) -> None:
        """Faults, mostly one after the other, until there were enough of everything."""
        world, loop = self.world, asyncio.get_running_loop()
        using = [loop.create_task(user.run()) for user in (self._user, *self._more)]
        pending: list[asyncio.Future[None]] = []
        while self.faults < FAULTS or self.book.acknowledged < WRITES or loop.time() < DURATION_S - 150:
            await asyncio.sleep(5 + 25 * world.rng.random())
            if world.rng.random() < 0.5:
                await to_the_beat()
                await asyncio.sleep(IN_THE_MIDST_S * world.rng.random())
            if self.faults < FAULTS + 4:
                first = self.faults == 0 and self._kinds is faults.ALL
                fault = world.rng.choice(faults.STORE_FAULTS if first else self._kinds)
                self.faults += 1
                world.trace.line("fault", kind=fault.__name__)
                pending.append(asyncio.ensure_future(fault(world)))
                if world.rng.random() < 0.7:
                    await pending[-1]
            if not world.violations and loop.time() > 4 * DURATION_S:
                world.violation(f"only {self.book.acknowledged} writes were acknowledged")
            if world.violations:
                break
        for each in pending:
            await each
        for user in using:
            user.cancel()
        await asyncio.gather(*using, return_exceptions=True)

    async def _heal(self, writing: list[asyncio.Task[None]]) -> None:
        world = self.world
        if world.violations:
            return
        world.trace.line("heal")
        world.network.heal()
        for name in world.hosts:
            world.boot(name)
        await self._user.settle()
        for part in self._more:
            await part.settle()
        if not await until(world, "no convergence", self._at_rest):
            return
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await until(world, "the members did not converge", self._converged)
        left_s = DURATION_S - asyncio.get_running_loop().time()
        await asyncio.sleep(max(left_s, 0.0))
        if not await until(world, "no convergence in the end", self._at_rest):
            return
        await until(world, "something is left", self._nothing_left)
        await until(world, "watches are behind", self._watches_at_head)
        await self._check()

    async def _check(self) -> None:
        world = self.world
        checks.writes(world, self.book)
        checks.pods(world)
        for part in self._more:
            part.check()
        self._floor.check(world)
        for watcher in self._watchers:
            watcher.check(world.ledger)
        maps = {one.name: one.objects for one in self._api_watchers if "maps" in one.name or "api" in one.name}
        await checks.caches(self._client, world, maps, "configmaps")

    async def _nodes_ready(self) -> str:
        found = (await self._client.resource("", "v1", "nodes").list()).items
        return "" if len(found) == len(NODES) else f"{len(found)} nodes"

    async def _at_rest(self) -> str:
        said = await checks.at_rest(self._client, self.world, self._user.desired)
        for part in self._more:
            said = said or await part.at_rest()
        return said

    async def _nothing_left(self) -> str:
        return remains.orphans(self.world) or remains.grown(self._base, remains.census(self.world))

    async def _converged(self) -> str:
        return "" if checks.members(self.world) else "not as far"

    async def _watches_at_head(self) -> str:
        self.world.observe()
        return " ".join(one.name for one in self._watchers if one.behind(self.world.ledger))


def warm_up() -> None:
    """Run a cluster up to its nodes' registration: what is loaded, compiled and made once per process, is then."""
    disks = prepared.disks()

    async def main() -> None:
        trace = Trace()
        trace.begin()
        await Scenario(0, trace, faults.ALL, disks).warm_up()

    virtual.run(main())


def play(seed: int, trace: Trace | None = None, kinds: tuple[Fault, ...] = faults.ALL) -> Outcome:
    """Run one seed to its end, or to where something is known to be wrong."""
    trace = trace or Trace()
    disks = prepared.disks() if seed % FRESH_EVERY else None

    async def main() -> tuple[Scenario, float]:
        trace.begin()
        scenario = Scenario(seed, trace, kinds, disks)
        await scenario.run()
        return scenario, asyncio.get_running_loop().time()

    scenario, virtual_s = virtual.run(main())
    world = scenario.world
    return Outcome(
        seed,
        tuple(world.violations),
        trace.digest(),
        virtual_s,
        scenario.faults,
        scenario.book.acknowledged,
        trace.messages,
        world.ledger.revision,
    )
