"""Pods that use more disk than they may are ended, with upstream's words."""

import os
from pathlib import Path

import pytest

from argosy.objects import conditions
from argosy.objects.types import JsonObject
from node_agent.eviction import Usage, overuse
from node_agent.volumes.empty_dir import disk_bytes
from tests.unit.node_agent.node_world import World, make_pod, play


def limited(*limits: str, **spec: object) -> JsonObject:
    containers = [
        {"name": name, "image": "busybox:1", "resources": {"limits": {"ephemeral-storage": limit}} if limit else {}}
        for name, limit in zip(("main", "other"), limits, strict=False)
    ]
    return make_pod(containers=containers, **spec)


SIZED = [
    {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}},
    {"name": "m", "emptyDir": {"sizeLimit": "1", "medium": "Memory"}},
]


@pytest.mark.parametrize(
    ("pod", "usage", "wanted"),
    [
        (make_pod(), Usage({"v": 1 << 40}, {"main": 1 << 40}), ""),
        (make_pod(volumes=SIZED), Usage({"v": 1 << 20}), ""),
        (
            make_pod(volumes=SIZED),
            Usage({"v": (1 << 20) + 1}),
            'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
        ),
        (limited("2Mi", "2Mi"), Usage({}, {"main": 1 << 20, "other": 1 << 20}), ""),
        (
            limited("2Mi", "2Mi"),
            Usage({}, {"main": (2 << 20) + 1, "other": 1}),
            'Container main exceeded its local ephemeral storage limit "2Mi". ',
        ),
        (
            limited("1Mi", ""),
            Usage({"v": 1 << 20}, {"other": 1}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
    ],
)
def test_overuse(pod: JsonObject, usage: Usage, wanted: str) -> None:
    assert overuse(pod, usage) == wanted


def test_a_pod_that_fills_its_volume_is_evicted() -> None:
    async def scene(world: World) -> None:
        pod = make_pod(volumes=SIZED, annotations={"fake.argosy.dev/stop-after-s": "1000"})
        world.api.put("pods", pod)
        await world.running("default/web")
        change = {"metadata": {"annotations": {"fake.argosy.dev/uses-bytes.v": str(2 << 20)}}}
        world.api.change("pods", "default/web", change)
        await world.until(lambda: world.status("default/web").get("phase") == "Failed", limit_s=20)
        status = world.status("default/web")
        message = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
        assert (status["reason"], status["message"]) == ("Evicted", message)
        assert world.events("Evicted") == [message]
        found = conditions.get(world.pod("default/web") or {}, "DisruptionTarget")
        assert found is not None and (found["status"], found["reason"]) == ("True", "TerminationByKubelet")
        assert world.container("default/web")["state"]["terminated"]["exitCode"] == 137

    play(scene)


def test_what_a_tree_takes(tmp_path: Path) -> None:
    assert disk_bytes(str(tmp_path)) == 0
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "a", tmp_path / "again")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b").write_bytes(b"x" * 50_000)
    (tmp_path / "folder" / "elsewhere").symlink_to("/proc")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 30)
    assert 150_000 <= disk_bytes(str(tmp_path)) < 250_000
