"""A node that runs short: what a shortage is, who goes for it, what is said, which images go; the agent doing so."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from argosy.objects import conditions
from argosy.objects.types import JsonObject
from node_agent import image_gc, pressure
from node_agent.cgroups import NodeCgroups
from node_agent.config import EVICTION_HARD
from node_agent.facts import MachineFacts
from node_agent.hollow import HollowFacts, hollow_config
from node_agent.node_status import Level, Pressure
from node_agent.pressure import IMAGEFS, MEMORY, NODEFS, PIDS, Observed, PodUsage, Threshold
from node_agent.runtime.runtime import ContainerStats, Image
from tests.unit.node_agent.node_world import NODE, World, make_pod, play

GIB, MIB = 1 << 30, 1 << 20


def test_thresholds_from_flags() -> None:
    found = pressure.thresholds(EVICTION_HARD, ("memory.available<1Gi",), ("memory.available=1m30s",))
    assert found[0] == Threshold(MEMORY, amount=100 * MIB)
    assert found[1] == Threshold(NODEFS, percent=10)
    assert found[-1] == Threshold(MEMORY, amount=GIB, grace_s=90)
    assert pressure.thresholds(("nodefs.available<0%", "memory.available<0")) == ()
    for hard, soft, grace, said in (
        (("memory<1",), (), (), "--eviction-hard memory<1: SIGNAL<VALUE"),
        (("memory.available=1",), (), (), "SIGNAL<VALUE"),
        (("nodefs.available<100%",), (), (), "under 100%"),
        ((), ("memory.available<1Gi",), (), "grace period must be specified for the soft eviction threshold memory"),
        ((), (), ("x=1s",), "--eviction-soft-grace-period x=1s"),
        (("memory.available<much",), (), (), "quantities must match"),
    ):
        with pytest.raises(ValueError, match=said):
            pressure.thresholds(hard, soft, grace)


def test_shortages_and_conditions() -> None:
    found = (*pressure.thresholds(EVICTION_HARD), Threshold(PIDS, percent=5))
    levels = {MEMORY: Level(200 * MIB, GIB), NODEFS: Level(10, 100), IMAGEFS: Level(15, 100), PIDS: Level(5, 100)}
    assert pressure.met(found, levels) == []
    levels = {MEMORY: Level(99 * MIB, GIB), NODEFS: Level(9, 100), IMAGEFS: Level(14, 100), PIDS: Level(4, 100)}
    short = pressure.met(found, levels)
    assert [item.signal for item in short] == [MEMORY, PIDS, NODEFS, IMAGEFS]
    assert pressure.pressure(short) == Pressure(True, True, True)
    assert pressure.pressure(short[2:]) == Pressure(disk=True)


def test_a_soft_shortage_must_last() -> None:
    soft, hard, observed = Threshold(NODEFS, 1, grace_s=30), Threshold(MEMORY, 1), Observed()
    assert observed.due([soft, hard], 100) == [hard]
    assert observed.due([soft], 129) == []
    assert observed.due([soft], 130) == [soft]
    assert observed.due([], 131) == []
    assert observed.due([soft], 132) == []


def pod(name: str, request: str = "", priority: int = 0, **metadata: Any) -> JsonObject:
    resources = {"requests": {"memory": request}} if request else {}
    made = make_pod(name, containers=[{"name": "main", "image": "x:1", "resources": resources}], priority=priority)
    return {**made, "metadata": {**made["metadata"], "uid": name, **metadata}}


def test_who_goes_first() -> None:
    pods = [
        pod("within", "100Mi"),
        pod("low-within", "100Mi", priority=-5),
        pod("much-beyond", "10Mi"),
        pod("bit-beyond", "50Mi"),
        pod("important-beyond", priority=1000),
        pod("critical", priority=2_000_000_000),
        pod("mirror", annotations={"kubernetes.io/config.mirror": "x"}),
        pod("unknown", "1Gi", priority=9),
    ]
    used = {item["metadata"]["name"]: PodUsage(memory={"main": 60 * MIB}) for item in pods}
    del used["unknown"]
    found = [item["metadata"]["name"] for item in pressure.rank(pods, used, MEMORY)]
    assert found == ["unknown", "much-beyond", "bit-beyond", "important-beyond", "low-within", "within"]
    disk = {"within": PodUsage(disk={"main": 5}, volumes=5), "much-beyond": PodUsage(disk={"main": 9})}
    found = [item["metadata"]["name"] for item in pressure.rank([pods[0], pods[2]], disk, NODEFS)]
    assert found == ["within", "much-beyond"]
    found = [item["metadata"]["name"] for item in pressure.rank([pods[0], pods[1], pods[4]], used, PIDS)]
    assert found == ["low-within", "within", "important-beyond"]


def test_what_is_said() -> None:
    used, short = PodUsage(memory={"main": 60 * MIB}), Threshold(MEMORY, 100 * MIB)
    assert pressure.message(pod("a", "50Mi"), used, short, Level(90 * MIB, GIB)) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. "
        "Container main was using 60Mi, request is 50Mi, has larger consumption of memory. "
    )
    disk = PodUsage(disk={"main": 3 * MIB})
    assert pressure.message(pod("a"), disk, Threshold(NODEFS, percent=10), Level(50 * MIB, GIB)).endswith(
        "resource: ephemeral-storage. Threshold quantity: 107374182, available: 50Mi. "
        "Container main was using 3Mi, request is 0, has larger consumption of ephemeral-storage. "
    )
    assert pressure.message(pod("a", "90Mi"), used, short, Level(1, GIB)).endswith("available: 1. ")


TOLERATION = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("subject", "told", "refused"),
    [
        (pod("a"), Pressure(), ""),
        (pod("a"), Pressure(memory=True), "The node had condition: [MemoryPressure]. "),
        (pod("a", "1Mi"), Pressure(memory=True), ""),
        (make_pod(tolerations=[TOLERATION]), Pressure(memory=True), ""),
        (pod("a", "1Mi"), Pressure(disk=True), "The node had condition: [DiskPressure]. "),
        (pod("a"), Pressure(memory=True, pids=True), "The node had condition: [MemoryPressure PIDPressure]. "),
        (pod("a", priority=2_000_000_000), Pressure(disk=True), ""),
    ],
)
def test_who_is_not_taken(subject: JsonObject, told: Pressure, refused: str) -> None:
    assert pressure.refusal(subject, told) == refused


def image(name: str, size_bytes: int = 10, pinned: bool = False) -> Image:
    return Image(f"sha256:{name}", (f"docker.io/library/{name}:1",), (), size_bytes, pinned=pinned)


def test_images_that_go() -> None:
    records = image_gc.ImageRecords()
    images = [image("used"), image("old"), image("older"), image("kept"), image("own", pinned=True)]
    records.seen(images, ["sha256:used", "sha256:old"], 10)
    records.seen(images, ["docker.io/library/used:1"], 100)
    images.append(image("new"))
    records.seen(images, ["docker.io/library/used:1"], 150)
    names = (["docker.io/library/used:1"], ["docker.io/library/kept:1"])
    assert records.unused(images, *names, 200, 120) == [image("older"), image("old")]
    assert records.unused(images, *names, 300, 120) == [image("older"), image("new"), image("old")]
    assert image_gc.to_free(Level(16, 100), 85, 80) == 0
    assert image_gc.to_free(Level(15, 100), 85, 80) == 5
    assert image_gc.to_free(Level(0, 0), 85, 80) == 0
    assert image_gc.enough([image("a", 3), image("b", 3), image("c", 3)], 5) == [image("a", 3), image("b", 3)]


def test_what_a_machine_has(tmp_path: Path) -> None:
    root, group = tmp_path / "kubelet", tmp_path / "memory"
    group.mkdir()
    (group / "memory.usage_in_bytes").write_text(str(700 * MIB))
    (group / "memory.stat").write_text(f"total_inactive_file {200 * MIB}\n")
    (tmp_path / "cpuacct.usage").write_text("1")
    mounts = [
        f"1 1 0:1 / {group} rw - cgroup cgroup rw,memory",
        f"2 1 0:2 / {tmp_path} rw - cgroup cgroup rw,cpuacct",
    ]
    config = hollow_config(NODE, "10.77.3.1", root_dir=str(root), image_dir=str(root), node_memory_bytes=GIB)
    found = MachineFacts(config, NodeCgroups("/", "\n".join(mounts))).signals()
    assert found[MEMORY] == Level(GIB - 500 * MIB, GIB)
    disk = os.statvfs(tmp_path)
    assert found[NODEFS].capacity == found[IMAGEFS].capacity == disk.f_blocks * disk.f_frsize
    assert 0 < found[NODEFS].available < found[NODEFS].capacity
    assert 0 < found[PIDS].available < found[PIDS].capacity
    nothing = MachineFacts(config, NodeCgroups("/", f"1 1 0:1 / {tmp_path / 'none'} rw - cgroup cgroup rw,memory"))
    assert nothing.signals()[MEMORY].available > 0, "then the kernel is asked"


def facts(world: World) -> HollowFacts:
    assert world.agent is not None
    found = world.agent.machine.facts
    assert isinstance(found, HollowFacts)
    return found


def test_pods_are_evicted_one_by_one_and_new_ones_refused() -> None:
    async def scene(world: World) -> None:
        stats = world.runtime.container_stats

        async def measured() -> list[ContainerStats]:
            found = await stats()
            large = {"large": 300 * MIB, "small": 20 * MIB}
            return [
                ContainerStats(**{**vars(item), "working_set_bytes": large.get(item.pod_name, 0)}) for item in found
            ]

        world.runtime.container_stats = measured  # type: ignore[method-assign]
        for name in ("small", "large"):
            world.api.put("pods", make_pod(name, uid=name))
            await world.running(f"default/{name}")
        facts(world).levels = {MEMORY: Level(50 * MIB, GIB)}
        await world.until(lambda: world.status("default/large").get("phase") == "Failed", limit_s=30)
        facts(world).levels = {MEMORY: Level(400 * MIB, GIB)}
        await asyncio.sleep(40)
        status = world.status("default/large")
        assert status["reason"] == "Evicted"
        assert status["message"] == (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
            "Container main was using 300Mi, request is 0, has larger consumption of memory. "
        )
        assert world.status("default/small")["phase"] == "Running"
        assert "Attempting to reclaim memory" in world.events("EvictionThresholdMet")
        assert conditions.is_true(world.api.one("nodes", NODE) or {}, "MemoryPressure"), "told for a while yet"
        world.api.put("pods", make_pod("late", uid="late"))
        await world.until(lambda: world.status("default/late").get("phase") == "Failed")
        late = world.status("default/late")
        assert (late["reason"], late["message"]) == (
            "Evicted",
            "Pod was rejected: The node had condition: [MemoryPressure]. ",
        )
        await asyncio.sleep(400)
        assert not conditions.is_true(world.api.one("nodes", NODE) or {}, "MemoryPressure")
        world.api.put("pods", make_pod("later", uid="later"))
        await world.running("default/later")

    play(scene)


def test_unused_images_go_before_pods_do() -> None:
    async def scene(world: World) -> None:
        world.api.put("pods", make_pod())
        await world.running("default/web")
        remove = world.runtime.remove_image

        async def frees(image_id: str) -> None:
            await remove(image_id)
            facts(world).levels = {NODEFS: Level(50, 100), IMAGEFS: Level(50, 100)}

        world.runtime.remove_image = frees  # type: ignore[method-assign]
        # Images are seen, and grow old, before there is a shortage.
        await asyncio.sleep(700)
        facts(world).levels = {NODEFS: Level(5, 100), IMAGEFS: Level(50, 100)}
        await world.until(lambda: facts(world).levels[NODEFS].available == 50, limit_s=30)
        left = {tag for item in await world.runtime.list_images() for tag in item.tags}
        assert left == {"busybox:1"}, "the image that nobody uses is gone, the other is there"
        await asyncio.sleep(20)
        assert world.status("default/web")["phase"] == "Running"

    play(scene)
