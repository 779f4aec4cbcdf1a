"""Following and waiting: broken watches are resumed, what was missed is told, what no try mends is raised."""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest

from argosy.client import SERVICE, STATUS_KEY, Client, Event, EventType
from argosy.following import INITIAL_EVENTS_END, condition_met
from argosy.host import SeededRng
from argosy.objects import status
from argosy.objects.types import JsonObject
from argosy.rpc import Call, Code, Methods, RpcError
from argosy.rpc_memory import MemoryNetwork
from tests.sim import virtual
from tests.unit.controllers.memory_api import MemoryApi


def config_map(name: str, **data: str) -> JsonObject:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class World:
    """Two servers, `a` and `b`, on one state, and what was followed."""

    def __init__(self) -> None:
        self.api = MemoryApi(virtual.virtual_host(asyncio.get_running_loop(), 1))
        self.network = MemoryNetwork(SeededRng(1))
        self.client = Client(self.network.host("one"), ["a:6444", "b:6444"], patience_s=10.0)
        self.seen: list[tuple[str, str]] = []

    async def serve(self, *names: str) -> None:
        for name in names:
            await self.network.host(name).serve(f"{name}:6444", self.api.methods())

    def follow(self, bookmarks: bool = False) -> asyncio.Task[None]:
        async def body() -> None:
            async for event in self.client.configmaps.follow(namespace="default", bookmarks=bookmarks):
                self.seen.append(told(event))

        return asyncio.create_task(body())

    async def sees(self, *expected: tuple[str, str]) -> None:
        """Exactly this, from the last time on."""
        async with asyncio.timeout(30):
            while len(self.seen) < len(expected):
                await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        assert self.seen == list(expected)
        self.seen.clear()


def told(event: Event) -> tuple[str, str]:
    return event.type.name, event.object["metadata"].get("name", "")


def run(body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await world.serve("a", "b")
        await body(world)

    virtual.run(main())


def test_a_broken_watch_is_resumed_on_another_server_and_nothing_comes_twice() -> None:
    async def body(world: World) -> None:
        world.api.put("configmaps", config_map("x"))
        following = world.follow()
        await world.sees(("ADDED", "x"))
        lists = world.api.lists
        world.network.crash("a")
        world.api.change("configmaps", "default/x", {"data": {"k": "1"}})
        world.api.put("configmaps", config_map("y"))
        await world.sees(("MODIFIED", "x"), ("ADDED", "y"))
        world.api.break_watches()
        world.api.remove("configmaps", "default/y")
        await world.sees(("DELETED", "y"))
        assert world.api.lists == lists, "it resumed, and listed nothing anew"
        following.cancel()

    run(body)


def test_what_was_missed_is_told_from_a_new_list() -> None:
    async def body(world: World) -> None:
        for name in ("gone", "changed", "kept", "replaced"):
            world.api.put("configmaps", config_map(name))
        following = world.follow()
        await world.sees(("ADDED", "changed"), ("ADDED", "gone"), ("ADDED", "kept"), ("ADDED", "replaced"))
        world.network.crash("a")
        world.network.crash("b")
        world.api.remove("configmaps", "default/gone")
        world.api.change("configmaps", "default/changed", {"data": {"k": "1"}})
        world.api.remove("configmaps", "default/replaced")
        world.api.put("configmaps", config_map("replaced"))
        world.api.put("configmaps", config_map("added"))
        world.api.compact()
        await world.serve("b")
        await world.sees(
            ("DELETED", "gone"),
            ("ADDED", "added"),
            ("MODIFIED", "changed"),
            ("DELETED", "replaced"),
            ("ADDED", "replaced"),
        )
        following.cancel()

    run(body)


def test_a_bookmark_says_that_the_state_is_complete() -> None:
    async def body(world: World) -> None:
        world.api.put("configmaps", config_map("x"))
        events = world.client.configmaps.follow(bookmarks=True)
        assert told(await anext(events)) == ("ADDED", "x")
        mark = await anext(events)
        assert mark.type is EventType.BOOKMARK
        assert mark.object["metadata"]["annotations"] == {INITIAL_EVENTS_END: "true"}
        assert mark.object["metadata"]["resourceVersion"] == str(world.api.revision)

    run(body)


def test_it_gives_up_when_patience_is_over() -> None:
    async def body(world: World) -> None:
        following = world.follow()
        await asyncio.sleep(1)
        world.network.crash("a")
        world.network.crash("b")
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(status.ApiError) as away:
            await following
        assert away.value.code == 503
        assert 5 < asyncio.get_running_loop().time() - began_s < 30

    run(body)


def test_a_server_that_always_says_expired_is_not_asked_in_a_loop() -> None:
    async def body(world: World) -> None:
        async def expired(_requests: object, _call: Call):  # type: ignore[no-untyped-def]
            raise RpcError(Code.OUT_OF_RANGE, "", {STATUS_KEY: orjson.dumps(status.expired("too old").status)})
            yield b""

        methods = Methods(world.api.methods().unary, {SERVICE + "Watch": expired})
        for name in ("a", "b"):
            world.network.crash(name)
            await world.network.host(name).serve(f"{name}:6444", methods)
        with pytest.raises(status.ApiError) as caught:
            await world.follow()
        assert caught.value.code == 410
        assert world.api.lists < 15

    run(body)


def test_what_no_try_would_mend_is_raised_at_once() -> None:
    async def body(world: World) -> None:
        async def refuse(_body: bytes, _call: Call) -> bytes:
            refused = status.forbidden("", "configmaps", "", "no")
            raise RpcError(Code.PERMISSION_DENIED, "", {STATUS_KEY: orjson.dumps(refused.status)})

        world.network.crash("a")
        await world.network.host("a").serve("a:6444", Methods({SERVICE + "List": refuse}, {}))
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(status.ApiError) as caught:
            await world.follow()
        assert caught.value.code == 403
        assert asyncio.get_running_loop().time() - began_s < 1

    run(body)


def test_closing_ends_it() -> None:
    async def body(world: World) -> None:
        async with world.client:
            following = world.follow()
            await asyncio.sleep(1)
        with pytest.raises(status.ApiError) as caught:
            async with asyncio.timeout(10):
                await following
        assert caught.value.code == 503

    run(body)


def test_waiting_for_a_condition_that_comes_later() -> None:
    async def body(world: World) -> None:
        async def ready() -> None:
            await asyncio.sleep(2)
            world.api.put("pods", pod())
            await asyncio.sleep(2)
            world.network.crash("a")
            world.api.put("pods", pod("True"))

        becoming = asyncio.create_task(ready())
        found = await world.client.pods.wait("p", namespace="default", condition="ready", timeout_s=30)
        assert found["status"]["conditions"][0]["status"] == "True"
        found = await world.client.pods.wait("p", namespace="default", until=lambda obj: obj["spec"]["nodeName"])
        assert found["spec"]["nodeName"] == "n"
        await becoming

    run(body)


def pod(ready: str = "False", uid: str = "") -> JsonObject:
    condition = {"type": "Ready", "status": ready, "reason": "ContainersNotReady", "message": "c"}
    metadata = {"name": "p", "namespace": "default", **({"uid": uid} if uid else {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "conditions": [condition]},
    }


def test_a_wait_that_ends_in_vain_says_what_was_seen() -> None:
    async def body(world: World) -> None:
        pods = world.client.pods
        with pytest.raises(status.ApiError) as caught:
            await pods.wait("p", namespace="default", condition="Ready", timeout_s=3)
        assert (caught.value.code, caught.value.message) == (504, 'pods "p" not Ready after 3 s: it does not exist')
        world.api.put("pods", pod())
        with pytest.raises(status.ApiError, match="phase Running, Ready=False \\(ContainersNotReady: c\\)"):
            await pods.wait("p", namespace="default", condition="Ready", timeout_s=3)
        assert await pods.wait("p", namespace="default", condition="Ready=false", timeout_s=3)
        for wrong in ({}, {"condition": "Ready", "deleted": True}):
            with pytest.raises(ValueError, match="one of"):
                await pods.wait("p", **wrong)

    run(body)


def test_waiting_for_the_end_of_an_object() -> None:
    async def body(world: World) -> None:
        pods = world.client.pods
        assert await pods.wait("p", namespace="default", deleted=True) == {}
        first = world.api.put("pods", pod())

        async def replace() -> None:
            await asyncio.sleep(1)
            world.api.remove("pods", "default/p")
            world.api.put("pods", pod("True", uid="another"))

        replacing = asyncio.create_task(replace())
        gone = await pods.wait("p", namespace="default", deleted=True)
        assert gone["metadata"]["uid"] == first["metadata"]["uid"]
        await replacing

    run(body)


def test_a_condition_of_an_older_generation_does_not_count() -> None:
    condition = {"type": "Available", "status": "True"}
    obj: JsonObject = {"metadata": {"generation": 2}, "status": {"conditions": [condition]}}
    assert condition_met(obj, "available", "true")
    assert not condition_met(obj, "Available", "False")
    assert not condition_met(obj, "Progressing", "True")
    obj["status"]["observedGeneration"] = 1
    assert not condition_met(obj, "Available", "True")
    obj["status"]["conditions"] = [{**condition, "observedGeneration": 2}]
    assert condition_met(obj, "Available", "True")
