"""Leader election: one leader at a time, also when it is cut off, and a quick hand-over when it ends."""

import asyncio

import pytest

from argosy.client import Client
from argosy.election import LeaderElector, LeaseConfig
from argosy.host import SeededRng
from argosy.objects import status
from argosy.rpc_memory import MemoryNetwork
from tests.sim import virtual
from tests.unit.controllers.memory_api import MemoryApi


class World:
    def __init__(self) -> None:
        self.host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        self.api = MemoryApi(self.host)
        self.network = MemoryNetwork(SeededRng(1), latency_s=0.001)
        self.leading: list[str] = []
        self.most = 0
        self.electors: dict[str, LeaderElector] = {}

    async def start(self) -> None:
        await self.network.host("server").serve("api:6444", self.api.methods())

    def candidate(self, name: str) -> asyncio.Task[None]:
        client = Client(self.network.host(name), ["api:6444"])
        elector = self.electors[name] = LeaderElector(client, self.host, LeaseConfig("test", name))

        async def lead() -> None:
            self.leading.append(name)
            self.most = max(self.most, len(self.leading))
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.leading.remove(name)

        return asyncio.get_running_loop().create_task(elector.run(lead))


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_one_leads_and_hands_over_when_it_ends() -> None:
    async def main() -> None:
        world = World()
        await world.start()
        first, second = world.candidate("a"), world.candidate("b")
        await asyncio.sleep(60)
        assert world.leading == ["a"]
        assert world.electors["b"].leader == "a"
        await stop(first)
        await asyncio.sleep(4)
        assert world.leading == ["b"]
        lease = world.api.one("leases", "kube-system/test")
        assert lease is not None and lease["spec"]["leaseTransitions"] == 1
        await stop(second)

    virtual.run(main())


def test_a_leader_cut_off_stops_before_another_begins() -> None:
    async def main() -> None:
        world = World()
        await world.start()
        first = world.candidate("a")
        await asyncio.sleep(1)
        second = world.candidate("b")
        await asyncio.sleep(10)
        world.network.partition("a", "server")
        await asyncio.sleep(11)
        assert world.leading == []
        await asyncio.sleep(20)
        assert world.leading == ["b"]
        world.network.heal()
        await asyncio.sleep(60)
        assert world.leading == ["b"]
        assert world.most == 1
        await stop(first, second)

    virtual.run(main())


def test_an_api_away_for_less_than_the_renew_deadline_changes_nothing() -> None:
    async def main() -> None:
        world = World()
        await world.start()
        first = world.candidate("a")
        await asyncio.sleep(10)
        world.api.fail = lambda _verb, _resource, _obj: status.unavailable("away")
        await asyncio.sleep(7)
        world.api.fail = lambda _verb, _resource, _obj: None
        await asyncio.sleep(30)
        assert world.leading == ["a"]
        world.api.fail = lambda _verb, _resource, _obj: status.unavailable("away")
        await asyncio.sleep(13)
        assert world.leading == []
        assert not world.electors["a"].is_leader
        await stop(first)

    virtual.run(main())


def test_what_it_runs_may_end_or_fail() -> None:
    async def main() -> None:
        world = World()
        await world.start()
        client = Client(world.network.host("a"), ["api:6444"])

        async def fail() -> None:
            raise RuntimeError("lead failed")

        with pytest.raises(RuntimeError, match="lead failed"):
            await LeaderElector(client, world.host, LeaseConfig("test", "a")).run(fail)
        lease = world.api.one("leases", "kube-system/test")
        assert lease is not None and lease["spec"]["holderIdentity"] == ""

    virtual.run(main())


def test_a_lease_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="renew deadline"):
        LeaseConfig("test", "a", lease_s=10, renew_s=10)


def test_a_leader_renews_as_it_knows_the_lease_and_reads_it_only_when_somebody_else_wrote() -> None:
    async def main() -> None:
        world = World()
        await world.start()
        first = world.candidate("a")
        await asyncio.sleep(1)
        reads = 0

        def count(source: str, _target: str, method: str, _message: bytes) -> None:
            nonlocal reads
            reads += source == "a" and method.endswith("/Get")

        world.network.observer = count
        await asyncio.sleep(30)
        assert (world.leading, reads) == (["a"], 0)
        leases = Client(world.network.host("b"), ["api:6444"]).resource("coordination.k8s.io", "v1", "leases")
        await leases.patch("test", {"metadata": {"labels": {"by": "b"}}}, namespace="kube-system")
        await asyncio.sleep(30)
        assert (world.leading, reads) == (["a"], 1)  # answered once
        lease = world.api.one("leases", "kube-system/test")
        assert lease is not None and lease["metadata"]["labels"] == {"by": "b"}
        await stop(first)

    virtual.run(main())
