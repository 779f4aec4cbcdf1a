"""Pods that are resized in place on a hollow node: what is granted, carried out, told and kept (KEP-1287)."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from argosy.objects import conditions
from argosy.objects.types import JsonObject
from node_agent import allocation
from node_agent.files import NodeFiles
from node_agent.resources import PodLimits
from node_agent.runtime.runtime import Resources, State
from tests.unit.node_agent.node_world import World, make_pod, play

GIB, MIB = 1 << 30, 1 << 20


def sized(cpu: str, memory: str = "64Mi", *, limit_cpu: str = "", limit_memory: str = "") -> JsonObject:
    limits = {name: text for name, text in (("cpu", limit_cpu), ("memory", limit_memory)) if text}
    return {"requests": {"cpu": cpu, "memory": memory}, **({"limits": limits} if limits else {})}


def container(resources: JsonObject, name: str = "main", **more: Any) -> JsonObject:
    return {"name": name, "image": "busybox:1", "resources": resources, **more}


def put(world: World, *containers: JsonObject, name: str = "web", **spec: Any) -> None:
    made = make_pod(name, containers=list(containers), **spec)
    made["metadata"]["generation"] = 1
    made["status"]["qosClass"] = "Burstable"
    world.api.put("pods", made)


def ask(world: World, *resources: JsonObject, name: str = "web") -> None:
    """What a patch of pods/resize does."""
    pod = world.pod(f"default/{name}")
    assert pod is not None
    pairs = zip(pod["spec"]["containers"], resources, strict=True)
    world.api.change("pods", f"default/{name}", {"spec": {"containers": [{**c, "resources": r} for c, r in pairs]}})


async def has(world: World, name: str = "main", pod: str = "web") -> Resources:
    """What the runtime was told of the newest running container."""
    sandboxes = {item.id for item in await world.runtime.list_sandboxes() if item.name == pod}
    rows = await world.runtime.list_containers()
    (row,) = [i for i in rows if i.name == name and i.state is State.RUNNING and i.sandbox_id in sandboxes]
    return world.runtime.resources(row.id)


def pending(world: World, name: str = "web") -> JsonObject:
    return conditions.get(world.pod(f"default/{name}") or {}, "PodResizePending") or {}


def progress(world: World, name: str = "web") -> JsonObject:
    return conditions.get(world.pod(f"default/{name}") or {}, "PodResizeInProgress") or {}


def resources_of(world: World, name: str = "web") -> JsonObject:
    found: JsonObject = world.container(f"default/{name}").get("resources") or {}
    return found


def test_a_running_pod_grows_and_shrinks_without_a_restart() -> None:
    async def scene(world: World) -> None:
        first = sized("100m", "64Mi", limit_cpu="200m", limit_memory="128Mi")
        put(world, container(first))
        await world.running("default/web")
        told = world.container("default/web")
        assert (told["resources"], told["allocatedResources"]) == (first, first["requests"])
        larger = sized("1", "128Mi", limit_cpu="2", limit_memory="1Gi")
        ask(world, larger)
        await world.until(lambda: resources_of(world) == larger)
        now = await has(world)
        assert (now.cpu_shares, now.cpu_quota_us, now.memory_limit_bytes) == (1024, 200_000, GIB)
        smaller = sized("50m", "16Mi", limit_cpu="100m", limit_memory="32Mi")
        ask(world, smaller)
        await world.until(lambda: resources_of(world) == smaller)
        now = await has(world)
        assert (now.cpu_shares, now.cpu_quota_us, now.memory_limit_bytes) == (51, 10_000, 32 * MIB)
        await world.until(lambda: not progress(world))
        told = world.container("default/web")
        assert (told["restartCount"], told["allocatedResources"]) == (0, smaller["requests"])
        assert not pending(world)
        assert world.status("default/web")["observedGeneration"] == 3
        await world.until(lambda: len(world.events("ResizeCompleted")) == 2)
        words, _, shown = world.events("ResizeStarted")[0].partition(": ")
        assert words == "Pod resize started"
        assert json.loads(shown) == {"containers": [{"name": "main", "resources": larger}], "generation": 2}

    play(scene)


def test_a_resize_waits_for_room_and_gets_it_when_another_pod_goes() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        put(world, container(sized("2")), name="other")
        await world.running("default/web")
        await world.running("default/other")
        ask(world, sized("3"))
        await world.until(lambda: pending(world).get("reason") == "Deferred")
        assert pending(world)["message"] == (
            "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
        )
        assert pending(world)["observedGeneration"] == 2
        told = world.container("default/web")
        assert (told["resources"], told["allocatedResources"]["cpu"]) == (sized("1"), "1")
        await world.until(lambda: len(world.events("ResizeDeferred")) == 1)
        await world.delete("other")
        await world.until(lambda: resources_of(world) == sized("3"), 20)
        assert not pending(world)
        assert (await has(world)).cpu_shares == 3072

    play(scene)


def test_a_pod_that_shrinks_makes_room_for_one_that_waits() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        put(world, container(sized("2")), name="other")
        await world.running("default/web")
        await world.running("default/other")
        ask(world, sized("3"))
        await world.until(lambda: pending(world).get("reason") == "Deferred")
        ask(world, sized("1"), name="other")
        await world.until(lambda: resources_of(world) == sized("3"), 10)

    play(scene)


def test_what_the_node_never_has_is_infeasible_until_less_is_asked_for() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        await world.running("default/web")
        ask(world, sized("5"))
        await world.until(lambda: pending(world).get("reason") == "Infeasible")
        assert pending(world)["message"] == "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
        await world.until(lambda: len(world.events("ResizeInfeasible")) == 1)
        assert world.events("ResizeInfeasible")[0].startswith("Pod resize Infeasible: {")
        assert resources_of(world) == sized("1")
        await asyncio.sleep(120)
        assert len(world.events("ResizeInfeasible")) == 1
        ask(world, sized("1"))
        await world.until(lambda: not pending(world))
        assert world.events("ResizeStarted") == []

    play(scene)


def test_a_granted_resize_counts_for_pods_that_come() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        await world.running("default/web")
        ask(world, sized("3"))
        await world.until(lambda: resources_of(world) == sized("3"))
        put(world, container(sized("2")), name="late")
        await world.until(lambda: world.status("default/late").get("phase") == "Failed")
        assert world.status("default/late")["reason"] == "OutOfcpu"

    play(scene)


@pytest.mark.parametrize(("change", "count"), [(sized("2", "64Mi"), 0), (sized("1", "128Mi"), 1)])
def test_a_policy_restarts_the_container_for_its_resource_only(change: JsonObject, count: int) -> None:
    async def scene(world: World) -> None:
        policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        put(world, container(sized("1"), resizePolicy=policy), container(sized("1"), "side"))
        await world.running("default/web")
        ask(world, change, sized("1"))
        await world.until(lambda: resources_of(world) == change and not progress(world))
        await world.running("default/web")
        assert world.container("default/web")["restartCount"] == count
        assert world.container("default/web", "side")["restartCount"] == 0
        assert (await has(world)).cpu_shares == (2048 if count == 0 else 1024)
        await world.until(lambda: len(world.events("ResizeCompleted")) == 1)
        assert ("Container main resize requires restart" in world.events("Killing")) == bool(count)

    play(scene)


def test_a_sidecar_is_resized_and_an_init_container_keeps_what_it_had() -> None:
    async def scene(world: World) -> None:
        inits = [container(sized("100m"), "init"), container(sized("100m"), "side", restartPolicy="Always")]
        put(
            world, container(sized("1")), initContainers=inits, annotations={"fake.argosy.dev/exit-after-s.init": "1"}
        )
        await world.running("default/web")
        changed = [inits[0], {**inits[1], "resources": sized("500m")}]
        world.api.change("pods", "default/web", {"spec": {"initContainers": changed}})
        await world.until(lambda: world.container("default/web", "side")["resources"] == sized("500m"))
        assert (await has(world, "side")).cpu_shares == 512
        assert world.container("default/web", "init")["resources"] == sized("100m")

    play(scene)


def test_a_runtime_that_refuses_is_asked_again_and_the_error_is_told() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        await world.running("default/web")
        world.runtime.refuse_update = "cgroup is busy"
        ask(world, sized("2"))
        await world.until(lambda: progress(world).get("reason") == "Error")
        assert progress(world)["message"] == "cgroup is busy"
        told = world.container("default/web")
        assert (told["resources"], told["allocatedResources"]["cpu"]) == (sized("1"), "2")
        world.runtime.refuse_update = ""
        await world.until(lambda: resources_of(world) == sized("2") and not progress(world), 30)
        await world.until(lambda: len(world.events("ResizeCompleted")) == 1)
        assert len(world.events("ResizeError")) == 1

    play(scene)


def test_the_same_amounts_in_other_units_change_nothing() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1", "1Gi", limit_memory="1Gi")))
        await world.running("default/web")
        other = sized("1000m", "1024Mi", limit_memory="1024Mi")
        ask(world, other)
        await world.until(lambda: resources_of(world) == other)
        assert world.container("default/web")["allocatedResources"] == other["requests"]
        assert world.events("ResizeStarted") == []

    play(scene)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_new_agent_keeps_what_was_granted(forgets: bool) -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        put(world, container(sized("2")), name="other")
        await world.running("default/web")
        await world.running("default/other")
        ask(world, sized("3"))
        await world.until(lambda: pending(world).get("reason") == "Deferred")
        await world.stop()
        if forgets:
            world.runtime.kept.clear()
        world.start()
        await asyncio.sleep(20)
        assert pending(world)["reason"] == "Deferred"
        assert resources_of(world) == sized("1")
        assert (await has(world)).cpu_shares == 1024
        assert len(world.events("ResizeDeferred")) == 1

    play(scene)


def test_a_new_agent_carries_out_what_the_former_had_granted() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        await world.running("default/web")
        world.runtime.refuse_update = "not now"
        ask(world, sized("2"))
        await world.until(lambda: progress(world).get("reason") == "Error")
        await world.stop()
        world.runtime.refuse_update = ""
        world.start()
        await world.until(lambda: resources_of(world) == sized("2") and not progress(world))
        assert (await has(world)).cpu_shares == 2048
        assert world.container("default/web")["restartCount"] == 0

    play(scene)


def test_a_resize_that_came_while_no_agent_ran_is_judged_first() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        await world.running("default/web")
        await world.stop()
        ask(world, sized("5"))
        world.start()
        await world.until(lambda: pending(world).get("reason") == "Infeasible")
        assert resources_of(world) == sized("1")

    play(scene)


def test_what_was_kept_goes_with_the_pod() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        await world.running("default/web")
        assert len(world.runtime.kept) == 1
        await world.delete("web")
        await world.until(lambda: world.pod("default/web") is None)
        assert world.runtime.kept == {}

    play(scene)


def test_a_container_that_starts_again_has_what_is_granted_now() -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1")))
        await world.running("default/web")
        ask(world, sized("2"))
        await world.until(lambda: resources_of(world) == sized("2"))
        (row,) = await world.runtime.list_containers()
        world.runtime.kill(row.id, 1)
        await world.until(lambda: world.container("default/web")["restartCount"] == 1)
        await world.running("default/web")
        assert (await has(world)).cpu_shares == 2048
        assert resources_of(world) == sized("2")

    play(scene)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (PodLimits(2, 10, 20), PodLimits(3, 5, 40), PodLimits(3, 10, 40)),
        (PodLimits(2, 0, 20), PodLimits(3, 5, 0), PodLimits(3, 0, 0)),
    ],
)
def test_the_pods_own_group_is_as_wide_as_both_need(before: PodLimits, after: PodLimits, expected: PodLimits) -> None:
    assert allocation.ceiling(before, after) == expected


@pytest.mark.parametrize(
    ("new", "old", "bytes_"),
    [("64Mi", "128Mi", 64 * MIB), ("128Mi", "64Mi", 0), ("64Mi", "", 64 * MIB), ("", "64Mi", 0), ("64Mi", "64Mi", 0)],
)
def test_which_memory_limits_shrink(new: str, old: str, bytes_: int) -> None:
    assert allocation.shrinks_memory(sized("1", limit_memory=new), sized("1", limit_memory=old)) == bytes_


def test_the_pods_own_group_grows_first_and_shrinks_last(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        sizes = {"small": ("100m", "64Mi"), "large": ("500m", "256Mi")}
        small, large = (sized("50m", "16Mi", limit_cpu=cpu, limit_memory=ram) for cpu, ram in sizes.values())
        put(world, container(small), container(large, "other"))
        await world.running("default/web")
        assert world.agent is not None
        groups, steps = [("pod", 60, 320)], list[tuple[str, int, int]]()

        def make(_uid: str, _qos: str, limits: PodLimits) -> None:
            step = ("pod", limits.cpu_quota_us // 1000, limits.memory_limit_bytes // MIB)
            if step != groups[-1]:
                groups.append(step)
                steps.append(step)

        update = world.runtime.update_container

        async def updating(container_id: str, resources: Resources) -> None:
            name = next(item.name for item in await world.runtime.list_containers() if item.id == container_id)
            steps.append((name, resources.cpu_quota_us // 1000, resources.memory_limit_bytes // MIB))
            await update(container_id, resources)

        monkeypatch.setattr(world.agent.machine.cgroups, "make", make)
        monkeypatch.setattr(world.runtime, "update_container", updating)
        ask(world, large, large)
        await world.until(lambda: resources_of(world) == large and not progress(world))
        assert steps == [("pod", 100, 512), ("main", 50, 256)]
        steps.clear()
        ask(world, small, small)
        await world.until(lambda: resources_of(world) == small and not progress(world))
        assert steps == [("main", 10, 64), ("other", 10, 64), ("pod", 20, 128)]
        steps.clear()
        ask(world, large, small)
        await world.until(lambda: resources_of(world) == large and not progress(world))
        ask(world, small, large)
        await world.until(lambda: resources_of(world) == small and not progress(world))
        assert steps == [
            ("pod", 60, 320), ("main", 50, 256),
            ("main", 10, 64), ("other", 50, 256),
        ], "what gives back goes first, and the pod's group has room for either"  # fmt: skip

    play(scene)


def test_a_container_that_starts_anew_may_use_more_than_its_new_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        put(world, container(sized("1", "64Mi", limit_memory="256Mi"), resizePolicy=policy))
        await world.running("default/web")
        assert world.agent is not None
        monkeypatch.setattr(world.agent.machine.cgroups, "memory_bytes", lambda _uid, _qos, _id="": 200 * MIB)
        less = sized("1", "64Mi", limit_memory="100Mi")
        ask(world, less)
        await world.until(lambda: resources_of(world) == less and not progress(world))
        assert world.container("default/web")["restartCount"] == 1
        assert world.events("ResizeError") == []

    play(scene)


def test_a_memory_limit_below_what_is_used_is_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        put(world, container(sized("1", "64Mi", limit_memory="256Mi")))
        await world.running("default/web")
        assert world.agent is not None
        used = {"bytes": 100 * MIB}
        cgroups = world.agent.machine.cgroups
        monkeypatch.setattr(cgroups, "memory_bytes", lambda _uid, _qos, _id="": used["bytes"])
        ask(world, sized("1", "64Mi", limit_memory="100Mi"))
        await world.until(lambda: progress(world).get("reason") == "Error")
        assert progress(world)["message"] == (
            "cannot decrease memory limits: [attempting to set pod memory limit (104857600) below current usage "
            '(104857600), attempting to set container "main" memory limit (104857600) below current usage '
            "(104857600)]"
        )
        assert (await has(world)).memory_limit_bytes == 256 * MIB
        used["bytes"] = 99 * MIB
        await world.until(lambda: not progress(world), 30)
        assert (await has(world)).memory_limit_bytes == 100 * MIB

    play(scene)


def test_what_is_kept_survives_and_a_broken_file_is_no_answer(tmp_path: Path) -> None:
    files = NodeFiles(str(tmp_path / "root"), str(tmp_path / "logs"), "cluster.local", "/nowhere")
    assert files.allocation("u") is None
    kept = {"allocated": {"main": sized("1")}, "actual": {}}
    files.keep_allocation("u", kept)
    assert NodeFiles(str(tmp_path / "root"), str(tmp_path / "logs"), "", "/nowhere").allocation("u") == kept
    (tmp_path / "root/pods/u/allocation.json").write_text('{"allocated"')
    assert files.allocation("u") is None
    files.remove("u")
    assert files.known() == []
