"""Load balancers: addresses from the pool, and one node that answers for each, never two, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from argosy.informer import Informer
from argosy.objects import load_balancer as lb
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.controllers.config import Config
from node_agent.proxy.balancer import Addresses, Balancer, announcement
from node_agent.proxy.command import CommandError
from tests.unit.controllers.world import World, run

NAME = "service-lb-controller"
POOL = ("10.77.200.0/30",)  # .1 and .2


class Kernel(Addresses):
    """Addresses with lives, as a kernel keeps them; they expire whatever the proxy does."""

    def __init__(self, world: World) -> None:
        super().__init__("10.77.3.1")
        self.clock = world.host.clock
        self.until: dict[str, float] = {}
        self.announced: list[str] = []
        self.hung = False

    def now_held(self) -> set[str]:
        return {ip for ip, until in self.until.items() if until > self.clock.monotonic()}

    async def hold(self, addresses: Sequence[str], life_s: int) -> None:
        if self.hung:
            raise CommandError("hung")
        self.until.update(dict.fromkeys(addresses, self.clock.monotonic() + life_s))

    async def drop(self, addresses: Sequence[str]) -> None:
        if self.hung:
            raise CommandError("hung")
        for address in addresses:
            self.until.pop(address, None)

    async def held(self) -> set[str]:
        if self.hung:
            raise CommandError("hung")
        return self.now_held()

    async def announce(self, addresses: Sequence[str]) -> None:
        self.announced += addresses


class Lan:
    """Nodes with a proxy each, and somebody who watches that no address is answered for by two."""

    def __init__(self, world: World, *names: str) -> None:
        self.world = world
        self.kernels: dict[str, Kernel] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        for name in names:
            world.api.put("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}})
            self.ready(name, "True")
            self.start(name)
        world.start(self._watch())

    def ready(self, name: str, status: str) -> None:
        self.world.api.change("nodes", name, {"status": {"conditions": [{"type": "Ready", "status": status}]}})

    def start(self, name: str) -> None:
        world = self.world
        kernel = self.kernels.setdefault(name, Kernel(world))
        services = Informer(world.client.resource("", "v1", "services"), world.host)
        nodes = Informer(world.client.resource("", "v1", "nodes"), world.host, fields=f"metadata.name={name}")
        balancer = Balancer(name, 9, world.host, world.client, services, nodes, kernel)

        async def proxy() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(services.run())
                group.create_task(nodes.run())
                group.create_task(balancer.run())

        self.tasks[name] = asyncio.get_running_loop().create_task(proxy())

    def hang(self, name: str) -> None:
        """The proxy does nothing any more; its kernel still answers."""
        self.kernels[name].hung = True

    def holders(self, address: str) -> list[str]:
        return [name for name, kernel in self.kernels.items() if address in kernel.now_held()]

    async def _watch(self) -> None:
        while True:
            for address in lb.Pool(POOL[0]):
                assert len(self.holders(address)) <= 1, address
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def service(name: str = "web", **spec: Any) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **spec},
        "status": {"loadBalancer": {}},
    }


def found(world: World, name: str = "web") -> JsonObject:
    obj = world.api.one("services", f"default/{name}")
    assert obj is not None
    return obj


def scene(body: Any, *nodes: str, pool: tuple[str, ...] = POOL) -> None:
    async def main(world: World) -> None:
        lan = Lan(world, *(nodes or ("node-1", "node-2", "node-3")))
        try:
            world.controllers(NAME, load_balancer_pool=pool)
            await world.settle(1.0)
            await body(world, lan)
        finally:
            await lan.stop()

    run(main)


def test_a_service_gets_an_address_and_one_node() -> None:
    async def body(world: World, lan: Lan) -> None:
        world.api.put("services", service())
        await world.settle(4.0)
        obj = found(world)
        assert obj["status"]["loadBalancer"]["ingress"] == [{"ip": "10.77.200.1", "ipMode": "VIP"}]
        assert meta.finalizers(obj) == [lb.FINALIZER]
        (holder,) = lan.holders("10.77.200.1")
        assert lb.node(obj) == (holder, False)
        assert lan.kernels[holder].announced == ["10.77.200.1"]
        assert world.events("EnsuringLoadBalancer") == ["Ensuring load balancer"]
        assert world.events("EnsuredLoadBalancer") == ["Ensured load balancer"]
        await world.settle(120.0)
        assert lan.holders("10.77.200.1") == [holder], "it stays where it is"

    scene(body)


@pytest.mark.parametrize("how", ["dies", "hangs", "not ready"])
def test_it_moves_when_its_node_fails_and_never_has_two(how: str) -> None:
    async def body(world: World, lan: Lan) -> None:
        world.api.put("services", service())
        await world.settle(4.0)
        (before,) = lan.holders("10.77.200.1")
        if how == "dies":
            lan.tasks[before].cancel()
            lan.kernels[before].until.clear()
        elif how == "hangs":
            lan.hang(before)
        else:
            lan.ready(before, "Unknown")
        await world.settle(12.0)
        (after,) = lan.holders("10.77.200.1")
        assert after != before

    scene(body)


def test_a_new_leader_knows_nothing_and_takes_nothing_away() -> None:
    async def body(world: World, lan: Lan) -> None:
        world.api.put("services", service())
        await world.settle(4.0)
        holders = lan.holders("10.77.200.1")
        world.tasks.pop().cancel()
        world.controllers(NAME, load_balancer_pool=POOL)
        await world.settle(30.0)
        assert lan.holders("10.77.200.1") == holders

    scene(body)


def test_the_pool_ends_and_goes_on() -> None:
    async def body(world: World, lan: Lan) -> None:
        for name in ("a", "b", "c"):
            world.api.put("services", service(name))
            await world.settle(3.0)
        assert {lb.address(found(world, name)) for name in "abc"} == {"10.77.200.1", "10.77.200.2", ""}
        assert "no address is free" in world.events("SyncLoadBalancerFailed")[0]
        world.api.change("services", "default/a", {"spec": {"type": "ClusterIP"}})
        await world.settle(40.0)
        assert lb.address(found(world, "a")) == "" and meta.finalizers(found(world, "a")) == []
        assert lb.address(found(world, "c")) == "10.77.200.1"
        assert len(lan.holders("10.77.200.1")) == 1

    scene(body)


def test_what_is_asked_for_is_given_or_refused() -> None:
    async def body(world: World, lan: Lan) -> None:
        world.api.put("services", service("asks", loadBalancerIP="10.77.200.2"))
        await world.settle(3.0)
        world.api.put("services", service("late", loadBalancerIP="10.77.200.2"))
        world.api.put("services", service("far", loadBalancerIP="192.0.2.1"))
        world.api.put("services", service("other", loadBalancerClass="example.com/else"))
        await world.settle(3.0)
        addresses = [lb.address(found(world, name)) for name in ("asks", "late", "far", "other")]
        assert addresses == ["10.77.200.2", "", "", ""]
        prefix = "Error syncing load balancer: failed to ensure load balancer: address "
        assert set(world.events("SyncLoadBalancerFailed")) == {
            f"{prefix}10.77.200.2 is already allocated",
            f"{prefix}192.0.2.1 is not in the load balancer pool",
        }
        assert meta.finalizers(found(world, "other")) == []

    scene(body)


def test_under_the_local_policy_only_nodes_with_endpoints_answer() -> None:
    async def body(world: World, lan: Lan) -> None:
        world.api.put("services", service(externalTrafficPolicy="Local"))
        await world.settle(3.0)
        assert lan.holders("10.77.200.1") == []
        piece: JsonObject = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.244.1.2"], "nodeName": "node-2", "conditions": {"ready": True}}],
        }
        world.api.put("endpointslices", piece)
        await world.settle(4.0)
        assert lan.holders("10.77.200.1") == ["node-2"]
        world.api.change(
            "endpointslices", "default/web-1", {"endpoints": [{**piece["endpoints"][0], "nodeName": "node-3"}]}
        )
        await world.settle(4.0)
        assert lan.holders("10.77.200.1") == ["node-3"]

    scene(body)


def test_without_a_pool_it_stays_pending() -> None:
    async def body(world: World, lan: Lan) -> None:
        world.api.put("services", service())
        await world.settle(5.0)
        assert found(world) == {**found(world), "status": {"loadBalancer": {}}}
        assert meta.finalizers(found(world)) == []

    scene(body, pool=())


def test_an_excluded_node_never_answers() -> None:
    async def body(world: World, lan: Lan) -> None:
        label = {"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}}}
        world.api.change("nodes", "node-1", label)
        world.api.put("services", service())
        await world.settle(5.0)
        assert lan.holders("10.77.200.1") == ["node-2"]

    scene(body, "node-1", "node-2")


@pytest.mark.parametrize(("text", "first", "count"), [("10.0.0.0/29", "10.0.0.1", 6), ("10.0.0.7/32", "10.0.0.7", 1)])
def test_pools(text: str, first: str, count: int) -> None:
    addresses = list(lb.Pool(text))
    assert (addresses[0], len(addresses)) == (first, count)
    assert first in lb.Pool(text) and "10.0.1.0" not in lb.Pool(text) and "rubbish" not in lb.Pool(text)


@pytest.mark.parametrize("text", ["", "10.0.0.9-10.0.0.1", "10.0.0.1/24", "fd00::/64", "10.0.0.0/8", "a-b"])
def test_pools_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match="load-balancer-pool"):
        Config(api_servers=("x",), load_balancer_pool=(text,)).validate()


def test_the_announcement_is_an_arp_request_for_itself() -> None:
    frame = announcement(bytes.fromhex("020000000001"), "10.77.200.1")
    assert frame.hex() == (
        "ffffffffffff0200000000010806" "0001080006040001" "020000000001" "0a4dc801" "000000000000" "0a4dc801"
    )  # fmt: skip
