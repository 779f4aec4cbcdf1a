"""What survives the agent, the runtime, the API server and the node, on a hollow node."""

import asyncio

from argosy.objects import conditions, status
from node_agent.runtime.runtime import State
from tests.unit.node_agent.node_world import NODE, World, make_pod, play

READY = {"name": "main", "image": "busybox:1", "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5}}


def test_a_new_agent_adopts_what_runs() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(containers=[READY]))
        await world.running("default/web")
        before = world.status("default/web")
        await world.stop()
        written = len(world.api.calls)
        world.start()
        await asyncio.sleep(30)
        assert world.status("default/web") == before
        assert [call for call in world.api.calls[written:] if call[1] == "pods"] == []
        assert len(await world.runtime.list_containers()) == 1

    play(scene)


def test_a_container_that_died_while_the_agent_was_away_starts_again() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        (container,) = await world.runtime.list_containers()
        await world.stop()
        world.runtime.kill(container.id, 137, "OOMKilled")
        world.start()
        await world.until(lambda: world.container("default/web")["restartCount"] == 1)
        assert world.container("default/web")["lastState"]["terminated"]["reason"] == "OOMKilled"

    play(scene)


def test_pods_deleted_while_the_agent_was_away_are_ended() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod("gone"))
        world.api.put("pods", make_pod("going"))
        await world.running("default/gone")
        await world.running("default/going")
        await world.stop()
        world.api.remove("pods", "default/gone")
        await world.delete("going")
        world.start()
        await world.until(lambda: world.pod("default/going") is None)
        await asyncio.sleep(5)
        assert await world.runtime.list_sandboxes() == []

    play(scene)


def test_a_lagging_api_server_ends_no_pod() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        before = world.container("default/web")
        await world.stop()
        world.api.lagging = True
        world.start()
        await asyncio.sleep(90)
        assert world.container("default/web") == before
        assert len(await world.runtime.list_containers()) == 1
        await world.delete("web")
        await world.until(lambda: world.pod("default/web") is None)

    play(scene)


def test_a_force_deleted_pod_makes_room_for_its_namesake() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(annotations={"fake.argosy.dev/stop-after-s": "5"}))
        await world.running("default/web")
        world.api.remove("pods", "default/web")
        world.api.put("pods", make_pod())
        await world.running("default/web")
        await asyncio.sleep(10)
        assert world.status("default/web")["phase"] == "Running"
        assert len(await world.runtime.list_sandboxes()) == 1

    play(scene)


def test_after_a_node_crash_pods_start_again() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        await world.stop()
        world.runtime.crash()
        world.start()
        await world.until(lambda: world.container("default/web")["restartCount"] == 1)
        await world.running("default/web")
        assert len(await world.runtime.list_sandboxes()) == 1

    play(scene)


def test_a_pod_that_never_restarts_is_lost_with_its_node() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod(restartPolicy="Never"))
        await world.running("default/web")
        (sandbox,) = await world.runtime.list_sandboxes()
        world.runtime.kill_sandbox(sandbox.id)
        await world.until(lambda: world.status("default/web")["phase"] == "Failed")

    play(scene)


def test_a_dead_runtime_makes_the_node_not_ready_and_loses_no_pod() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        before = world.container("default/web")
        world.runtime.is_up = False
        await world.until(lambda: not conditions.is_true(world.api.one("nodes", NODE) or {}, "Ready"))
        ready = conditions.get(world.api.one("nodes", NODE) or {}, "Ready")
        assert ready is not None and ready["reason"] == "KubeletNotReady"
        assert ready["message"].startswith("container runtime is down")
        world.runtime.is_up = True
        await world.until(lambda: conditions.is_true(world.api.one("nodes", NODE) or {}, "Ready"))
        await asyncio.sleep(20)
        assert world.container("default/web") == before

    play(scene)


def test_nothing_is_lost_while_the_api_server_is_away() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        (container,) = await world.runtime.list_containers()
        world.api.fail = lambda _verb, _resource, _obj: status.unavailable("away")
        world.runtime.kill(container.id, 1)
        await asyncio.sleep(60)
        running = [item for item in await world.runtime.list_containers() if item.state is State.RUNNING]
        assert len(running) == 1
        world.api.fail = lambda _verb, _resource, _obj: None
        await world.until(lambda: world.container("default/web")["restartCount"] == 1)
        await world.running("default/web")

    play(scene)


def test_an_interrupted_watch_and_a_compacted_store_lose_no_pod() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod("one"))
        await world.running("default/one")
        world.api.break_watches()
        world.api.put("pods", make_pod("two"))
        world.api.compact()
        await world.running("default/two")

    play(scene)


def test_the_node_controllers_unknown_is_overwritten() -> None:
    async def scene(world: World) -> None:
        node = world.api.one("nodes", NODE)
        assert node is not None
        changed = conditions.with_condition(
            node["status"]["conditions"],
            conditions.make("Ready", "Unknown", "2026-01-01T00:00:00Z", "NodeStatusUnknown"),
        )
        world.api.change("nodes", NODE, {"status": {"conditions": changed}})
        await world.until(lambda: conditions.is_true(world.api.one("nodes", NODE) or {}, "Ready"))

    play(scene)


def test_a_deleted_node_registers_again() -> None:
    async def scene(world: World) -> None:
        world.api.remove("nodes", NODE)
        await world.until(lambda: conditions.is_true(world.api.one("nodes", NODE) or {}, "Ready"), limit_s=400)

    play(scene)
