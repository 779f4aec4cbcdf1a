"""The whole scheduler beside an API: what ends up where, what is said, and what happens when things go wrong."""

import asyncio

import pytest

from argosy.host import Host
from argosy.objects import conditions, meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.scheduler.scheduler import Scheduler
from tests.unit.scheduler.scheduler_world import FakeApi, node, pod, run

CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def replica_set(name: str) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "default", "uid": f"rs-{name}"},
        "spec": {"selector": {"matchLabels": {"app": name}}},
    }


def owner(name: str) -> JsonObject:
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": f"rs-{name}", "controller": True}


def test_pods_of_a_replica_set_lie_on_different_nodes() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("replicasets", replica_set("web"))
        for number in range(3):
            api.put("nodes", node(f"node-{number}"))
        for number in range(3):
            api.put("pods", pod(f"web-{number}", "250m", "256Mi", labels={"app": "web"}, owner=owner("web")))
        await asyncio.sleep(1)
        assert api.nodes_of_pods() == {"node-0": 1, "node-1": 1, "node-2": 1}
        assert sorted(api.events("Scheduled")) == sorted(
            f"Successfully assigned default/web-{n} to {api.where(f'web-{n}')}" for n in range(3)
        )

    run(check)


@pytest.mark.parametrize(
    ("kind", "selector", "nodes"),
    [
        ("ReplicaSet", {"matchLabels": {"app": "web"}}, 3),
        ("StatefulSet", {"matchLabels": {"app": "web"}}, 3),
        ("ReplicationController", {"app": "web"}, 3),
        ("Unknown", {"app": "web"}, 2),
    ],
)
def test_pods_of_one_owner_lie_apart_though_one_node_has_more_room(
    kind: str, selector: JsonObject, nodes: int
) -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        made = {**replica_set("web"), "kind": kind, "spec": {"selector": selector}}
        api.put(f"{kind.lower()}s", made)
        for name, cpu in (("node-0", "64"), ("node-1", "4"), ("node-2", "4")):
            api.put("nodes", node(name, cpu=cpu))
        for number in range(3):
            of = {**owner("web"), "kind": kind}
            api.put("pods", pod(f"web-{number}", "250m", "256Mi", labels={"app": "web"}, owner=of))
        await asyncio.sleep(1)
        assert len(api.nodes_of_pods()) == nodes

    run(check)


def test_a_pod_that_does_not_fit_says_why_and_goes_when_it_does() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("small", cpu="1"))
        for number in range(2):
            api.put("nodes", node(f"tainted-{number}", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]))
        api.put("pods", pod("big", "2"))
        await asyncio.sleep(0.5)
        said = (
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). "
            "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        )
        condition = conditions.get(api.pod("big"), "PodScheduled")
        assert condition is not None
        assert (condition["status"], condition["reason"], condition["message"]) == ("False", "Unschedulable", said)
        assert api.events("FailedScheduling") == [said]
        assert api.where("big") == ""
        await asyncio.sleep(5)
        api.put("nodes", node("large"))
        await asyncio.sleep(0.5)
        assert api.where("big") == "large"
        assert conditions.is_true(api.pod("big"), "PodScheduled")

    run(check)


def test_without_nodes() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("pods", pod("a"))
        await asyncio.sleep(1)
        assert api.events("FailedScheduling") == ["no nodes available to schedule pods"]

    run(check)


def test_room_that_others_leave_is_used() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("only", cpu="1"))
        api.put("pods", pod("first", "800m"))
        await asyncio.sleep(0.5)
        api.put("pods", pod("second", "800m"))
        await asyncio.sleep(3)
        assert (api.where("first"), api.where("second")) == ("only", "")
        api.put("pods", {**api.pod("first"), "status": {"phase": "Succeeded"}})
        await asyncio.sleep(0.5)
        assert api.where("second") == "only"

    run(check)


def test_a_burst_never_overfills_a_node() -> None:
    async def check(api: FakeApi, scheduler: Scheduler, _host: Host) -> None:
        api.bind_takes_s = 0.05
        for number in range(5):
            api.put("nodes", node(f"n{number}", cpu="2", pods=30))
        for number in range(120):
            api.put("pods", pod(f"p{number}", "100m"))
        await asyncio.sleep(10)
        assert api.nodes_of_pods() == {f"n{number}": 20 for number in range(5)}
        assert 1 < api.most_bindings_at_once <= 8
        assert scheduler.queue.waiting["unschedulable"] == 20
        assert scheduler.placed == 100

    run(check, parallel_binds=8)


def test_a_failed_binding_is_tried_again_and_its_room_given_back() -> None:
    async def check(api: FakeApi, scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("only", cpu="1"))
        api.bind_failures = [errors.unavailable("away")]
        api.put("pods", pod("a", "1"))
        await asyncio.sleep(0.5)
        assert api.where("a") == ""
        assert scheduler.snapshot.placement("uid-a") == ""
        await asyncio.sleep(2)
        assert api.where("a") == "only"
        assert api.bindings == 2

    run(check)


def test_a_pod_that_is_gone_is_not_tried_again() -> None:
    async def check(api: FakeApi, scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("only", cpu="1"))
        api.bind_takes_s = 1.0
        api.put("pods", pod("a", "1"))
        await asyncio.sleep(0.5)
        api.remove("pods", "default/a")
        await asyncio.sleep(30)
        assert api.bindings == 1
        assert len(scheduler.queue) == 0
        assert scheduler.snapshot.pods_on("only") == []

    run(check)


def test_priority_goes_first() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("pods", pod("low", "600m"))
        api.put("pods", pod("high", "600m", priority=1000))
        await asyncio.sleep(20)
        api.put("nodes", node("only", cpu="1"))
        await asyncio.sleep(15)
        assert (api.where("low"), api.where("high")) == ("", "only")

    run(check)


def test_gated_deleted_and_foreign_pods_are_left_alone() -> None:
    async def check(api: FakeApi, scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("only"))
        api.put("pods", pod("gated", schedulingGates=[{"name": "wait"}]))
        api.put("pods", pod("foreign", schedulerName="mine"))
        dying = pod("dying")
        dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        api.put("pods", dying)
        await asyncio.sleep(5)
        assert api.nodes_of_pods() == {}
        assert len(scheduler.queue) == 0
        api.put("pods", pod("gated"))
        await asyncio.sleep(1)
        assert api.where("gated") == "only"

    run(check)


def test_uncordoning_lets_pods_in() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("only", unschedulable=True, taints=[CORDON]))
        api.put("pods", pod("a"))
        await asyncio.sleep(30)
        assert api.where("a") == ""
        assert "1 node(s) were unschedulable" in api.events("FailedScheduling")[0]
        api.put("nodes", node("only"))
        await asyncio.sleep(0.5)
        assert api.where("a") == "only"

    run(check)


def test_a_pod_changed_from_outside_is_confirmed_where_it_is() -> None:
    async def check(api: FakeApi, scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("n1", cpu="1"))
        api.put("pods", pod("a", "600m", nodeName="n1"))
        api.put("pods", pod("early", "600m", nodeName="n2"))
        await asyncio.sleep(0.5)
        api.put("nodes", node("n2", cpu="1"))
        await asyncio.sleep(0.5)
        api.put("pods", pod("b", "600m"))
        await asyncio.sleep(5)
        assert api.where("b") == ""
        assert [meta.name(info.pod) for info in scheduler.snapshot.pods_on("n2")] == ["early"]
        api.remove("pods", "default/early")
        await asyncio.sleep(5)
        assert api.where("b") == "n2"

    run(check)
