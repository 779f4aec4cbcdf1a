"""DaemonSet: a pod on each node that fits, and only there; updates node by node."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.controllers import daemon_plan as planning
from control_plane.controllers import daemon_pods as daemons
from tests.unit.controllers.world import World, daemon_set, node, pod, run, template

NAME = "daemonset-controller"


def start(world: World, *nodes: str) -> None:
    for name in nodes or ("node-1", "node-2", "node-3"):
        world.api.put("nodes", node(name))
    world.controllers(NAME)
    world.kubelet()


def one(world: World, name: str = "agent") -> JsonObject:
    found = world.api.one("daemonsets", f"default/{name}")
    assert found is not None
    return found


def places(world: World) -> dict[str, str]:
    """Node → image, of the pods that stay."""
    return {
        daemons.target_node(each): meta.spec(each)["containers"][0]["image"]
        for each in world.api.all("pods")
        if not meta.is_deleting(each)
    }


def test_every_node_gets_one_and_new_nodes_too() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("daemonsets", daemon_set())
        await world.settle()
        assert places(world) == dict.fromkeys(["node-1", "node-2", "node-3"], "app:1")
        first = world.api.all("pods")[0]
        assert meta.name(first).startswith("agent-")
        hash_ = meta.labels(world.api.all("controllerrevisions")[0])["controller-revision-hash"]
        assert meta.labels(first) == {
            "app": "agent", "controller-revision-hash": hash_, "pod-template-generation": "1",
        }  # fmt: skip
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [meta.spec(first)["nodeName"]]}]}
        assert meta.spec(first)["affinity"] == {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        }
        assert [(each["key"].partition("/")[2], each["effect"]) for each in meta.spec(first)["tolerations"]] == [
            ("not-ready", "NoExecute"), ("unreachable", "NoExecute"), ("disk-pressure", "NoSchedule"),
            ("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule"),
        ]  # fmt: skip
        assert one(world)["status"] == {
            "currentNumberScheduled": 3, "numberMisscheduled": 0, "desiredNumberScheduled": 3, "numberReady": 3,
            "observedGeneration": 1, "updatedNumberScheduled": 3, "numberAvailable": 3,
        }  # fmt: skip
        world.api.put("nodes", node("node-4"))
        await world.settle()
        assert "node-4" in places(world)
        world.api.remove("nodes", "node-4")
        for each in world.api.all("pods"):
            if daemons.target_node(each) == "node-4":
                world.api.remove("pods", meta.key(each))
        await world.settle()
        assert one(world)["status"]["desiredNumberScheduled"] == 3

    run(body)


def test_pods_follow_the_nodes_labels_and_taints() -> None:
    async def body(world: World) -> None:
        start(world)
        selecting = template(app="agent")
        selecting["spec"]["nodeSelector"] = {"disk": "fast"}
        world.api.put("daemonsets", daemon_set(template=selecting))
        await world.settle()
        assert places(world) == {}
        world.api.change("nodes", "node-2", {"metadata": {"labels": {"disk": "fast"}}})
        await world.settle()
        assert list(places(world)) == ["node-2"]
        world.api.change("nodes", "node-2", {"metadata": {"labels": {"disk": "slow"}}})
        await world.settle()
        assert places(world) == {}

        world.api.put("daemonsets", daemon_set("tainted"))
        await world.settle()
        gone = {"key": "gone", "effect": "NoExecute"}
        world.api.change("nodes", "node-1", {"spec": {"taints": [gone]}})
        world.api.change("nodes", "node-2", {"spec": {"taints": [{"key": "kept", "effect": "NoSchedule"}]}})
        cordoned = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        world.api.change("nodes", "node-3", {"spec": {"unschedulable": True, "taints": [cordoned]}})
        await world.settle()
        assert sorted(places(world)) == ["node-2", "node-3"]
        status = one(world, "tainted")["status"]
        assert (status["desiredNumberScheduled"], status["numberMisscheduled"]) == (1, 1)

    run(body)


def test_a_deleted_pod_comes_back_and_superfluous_ones_go() -> None:
    async def body(world: World) -> None:
        start(world, "node-1")
        world.api.put("daemonsets", daemon_set())
        await world.settle()
        (first,) = world.api.all("pods")
        await world.client.resource("", "v1", "pods").delete(meta.name(first), namespace="default")
        await world.settle()
        (second,) = world.api.all("pods")
        assert meta.uid(second) != meta.uid(first)
        extra = meta.copy_object(second)
        extra["metadata"] |= {"name": "agent-extra", "creationTimestamp": "2090-01-01T00:00:00Z", "uid": "extra"}
        world.api.put("pods", extra)
        await world.settle()
        assert world.names("pods") == [meta.name(second)]

    run(body)


def test_failed_pods_are_replaced_with_growing_pauses() -> None:
    async def body(world: World) -> None:
        start(world, "node-1")
        world.api.put("daemonsets", daemon_set())
        await world.settle()
        begun = world.host.clock.monotonic()
        uids: dict[str, float] = {}
        while world.host.clock.monotonic() - begun < 60:
            for each in world.api.all("pods"):
                uids.setdefault(meta.uid(each), world.host.clock.monotonic() - begun)
                if meta.status(each).get("phase") != "Failed":
                    world.api.change("pods", meta.key(each), {"status": {"phase": "Failed"}})
            await world.settle(0.1)
        # The first goes at once; then 1, 2, 4, 8, 16 and 32 seconds pass.
        assert 6 <= len(uids) <= 8
        gaps = [b - a for a, b in zip(list(uids.values())[2:], list(uids.values())[3:], strict=False)]
        assert all(b > 1.5 * a for a, b in itertools.pairwise(gaps))
        assert any("Found failed daemon pod default/agent-" in each for each in world.events("FailedDaemonPod"))

    run(body)


def test_a_rolling_update_replaces_one_node_after_the_other() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("daemonsets", daemon_set())
        await world.settle()
        world.api.change("daemonsets", "default/agent", {"spec": {"template": template("app:2", app="agent")}})
        least = 3
        for _ in range(150):
            await world.settle(0.1)
            ready = sum(
                each["status"]["conditions"][0]["status"] == "True" and not meta.is_deleting(each)
                for each in world.api.all("pods")
                if each.get("status")
            )
            least = min(least, ready)
        assert least == 2
        assert set(places(world).values()) == {"app:2"}
        assert one(world)["status"]["updatedNumberScheduled"] == 3

        # Going back restarts what was updated, and raises the old revision's number.
        world.api.change("daemonsets", "default/agent", {"spec": {"template": template("app:1", app="agent")}})
        await world.settle(20)
        assert set(places(world).values()) == {"app:1"}
        assert sorted(each["revision"] for each in world.api.all("controllerrevisions")) == [2, 3]

    run(body)


def test_surging_starts_the_new_before_the_old_goes() -> None:
    async def body(world: World) -> None:
        start(world)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        world.api.put("daemonsets", daemon_set(updateStrategy=strategy))
        await world.settle()
        world.api.change("daemonsets", "default/agent", {"spec": {"template": template("app:2", app="agent")}})
        most, least = 0, 3
        for _ in range(150):
            await world.settle(0.1)
            staying = [each for each in world.api.all("pods") if not meta.is_deleting(each)]
            ready = {
                daemons.target_node(each)
                for each in staying
                if (each.get("status") or {}).get("conditions", [{}])[0].get("status") == "True"
            }
            most, least = max(most, len(staying)), min(least, len(ready))
        assert (most, least) == (4, 3)
        assert set(places(world).values()) == {"app:2"}

    run(body)


def test_on_delete_waits_for_the_user_and_an_update_that_breaks_stops() -> None:
    async def body(world: World) -> None:
        start(world)
        world.api.put("daemonsets", daemon_set(updateStrategy={"type": "OnDelete"}))
        await world.settle()
        world.api.change("daemonsets", "default/agent", {"spec": {"template": template("app:2", app="agent")}})
        await world.settle()
        assert set(places(world).values()) == {"app:1"}
        chosen = next(each for each in world.api.all("pods") if daemons.target_node(each) == "node-2")
        await world.client.resource("", "v1", "pods").delete(meta.name(chosen), namespace="default")
        await world.settle()
        assert places(world) == {"node-1": "app:1", "node-2": "app:2", "node-3": "app:1"}
        assert one(world)["status"]["updatedNumberScheduled"] == 1
        world.broken_images.add("bad")
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
        world.api.change(
            "daemonsets", "default/agent",
            {"spec": {"updateStrategy": rolling, "template": template("bad", app="agent")}},
        )  # fmt: skip
        await world.settle(20)
        assert sorted(places(world).values()).count("bad") == 1

    run(body)


def test_history_is_limited() -> None:
    async def body(world: World) -> None:
        start(world, "node-1")
        world.api.put("daemonsets", daemon_set(revisionHistoryLimit=1))
        for number in range(2, 6):
            await world.settle(10)
            change = {"spec": {"template": template(f"app:{number}", app="agent")}}
            world.api.change("daemonsets", "default/agent", change)
        await world.settle(20)
        assert sorted(each["revision"] for each in world.api.all("controllerrevisions")) == [4, 5]

    run(body)


def test_a_watch_that_lags_makes_no_surplus() -> None:
    async def body(world: World) -> None:
        for name in ("node-1", "node-2"):
            world.api.put("nodes", node(name))
        manager = world.controllers(NAME)
        await world.settle()
        [controller] = manager.controllers
        cache = controller._pods  # type: ignore[attr-defined]
        held: list[object] = []
        apply, cache._apply = cache._apply, held.append
        world.api.put("daemonsets", daemon_set())
        for number in range(5):
            await world.settle()
            world.api.change("daemonsets", "default/agent", {"metadata": {"annotations": {"touched": str(number)}}})
        assert len(world.api.all("pods")) == 2
        cache._apply = apply
        for obj in held:
            cache._apply(obj)
        await world.settle()
        assert len(world.api.all("pods")) == 2

    run(body)


def test_pods_meant_for_a_node_that_is_gone_go() -> None:
    async def body(world: World) -> None:
        world.api.put("nodes", node("node-1"))
        world.controllers(NAME)
        world.api.put("daemonsets", daemon_set())
        await world.settle()
        assert list(places(world)) == ["node-1"]
        world.api.remove("nodes", "node-1")
        await world.settle()
        assert world.names("pods") == []

    run(body)


def test_tolerations_are_added_once() -> None:
    own = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}
    assert daemons.tolerations({"tolerations": [own]}).count(own) == 1
    assert any("network-unavailable" in each["key"] for each in daemons.tolerations({"hostNetwork": True}))


@pytest.mark.parametrize(
    ("spec", "labels", "taints", "expected"),
    [
        ({}, {}, [], (True, True)),
        ({"nodeName": "node-1"}, {}, [], (True, True)),
        ({"nodeName": "other"}, {}, [], (False, False)),
        ({"nodeSelector": {"a": "b"}}, {}, [], (False, False)),
        ({"nodeSelector": {"a": "b"}}, {"a": "b"}, [], (True, True)),
        ({}, {}, [{"key": "x", "effect": "NoSchedule"}], (False, True)),
        ({}, {}, [{"key": "x", "effect": "NoExecute"}], (False, False)),
        ({}, {}, [{"key": "x", "effect": "PreferNoSchedule"}], (True, True)),
        ({"tolerations": [{"operator": "Exists"}]}, {}, [{"key": "x", "effect": "NoExecute"}], (True, True)),
        ({}, {}, [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}], (True, True)),
    ],
)
def test_which_nodes_fit(
    spec: JsonObject, labels: dict[str, str], taints: list[JsonObject], expected: tuple[bool, bool]
) -> None:
    made = daemon_set(template={"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [], **spec}})
    found = daemons.fit(made, node("node-1", labels, taints))
    assert (found.should_run, found.should_continue) == expected


@pytest.mark.parametrize(("value", "nodes", "expected"), [(1, 10, 1), ("25%", 10, 3), ("0%", 10, 0), (0, 10, 0)])
def test_steps_round_up(value: Any, nodes: int, expected: int) -> None:
    made = daemon_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": value}})
    assert planning.unavailable(made, nodes) == expected


def test_a_pod_without_a_node_is_nobodys() -> None:
    assert daemons.target_node(pod("x")) == ""
