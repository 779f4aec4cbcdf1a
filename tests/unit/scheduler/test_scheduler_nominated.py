"""Room that is kept for a pod: who respects it, when it is given up, and what a refused binding leads to."""

import asyncio
from typing import Any

from argosy.host import Host, SeededRng
from argosy.objects import conditions, meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.scheduler import cycle, preemption
from control_plane.scheduler.plugins import default_profile
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.scheduler import Scheduler
from control_plane.scheduler.snapshot import Snapshot
from tests.unit.scheduler.scheduler_world import FakeApi, node, pod, run

NEAR_DB = {
    "podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}
        ]
    }
}


def nominated(wanted: JsonObject, name: str) -> JsonObject:
    return {**wanted, "status": {**wanted["status"], "nominatedNodeName": name}}


def test_a_pod_prefers_the_node_where_room_was_made_for_it() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("full", cpu="2"))
        api.put("nodes", node("empty", cpu="16"))
        api.put("pods", pod("other", "1", nodeName="full"))
        await asyncio.sleep(0.5)
        api.put("pods", nominated(pod("p", "1", priority=10), "full"))
        await asyncio.sleep(0.5)
        assert api.where("p") == "full"

    run(check)


def test_nobody_is_placed_beside_a_pod_that_may_never_come() -> None:
    """The nominated pod satisfies the other's affinity only once it is really there."""

    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.graceful = True
        api.put("nodes", node("n", cpu="4"))
        api.put("pods", pod("big", "3", nodeName="n"))
        await asyncio.sleep(0.5)
        api.put("pods", pod("db", "3", labels={"app": "db"}, priority=10))
        await asyncio.sleep(0.5)
        assert api.pod("db")["status"]["nominatedNodeName"] == "n"
        api.put("pods", pod("web", "", affinity=NEAR_DB))
        await asyncio.sleep(0.5)
        assert api.where("web") == ""
        assert any("node(s) didn't match pod affinity rules" in text for text in api.events("FailedScheduling"))
        api.remove("pods", "default/big")
        await asyncio.sleep(20)
        assert (api.where("db"), api.where("web")) == ("n", "n")

    run(check)


def test_room_is_given_up_when_it_can_not_be_made_any_more() -> None:
    async def check(api: FakeApi, scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("n", cpu="2"))
        api.put("pods", pod("more", "2", nodeName="n", priority=100))
        await asyncio.sleep(0.5)
        api.put("pods", nominated(pod("p", "1", priority=10), "n"))
        await asyncio.sleep(0.5)
        assert not api.pod("p")["status"].get("nominatedNodeName")
        assert not scheduler._nominated

    run(check)


def test_a_more_important_pod_takes_the_room_over() -> None:
    async def check(api: FakeApi, scheduler: Scheduler, _host: Host) -> None:
        api.graceful = True
        api.put("nodes", node("n", cpu="2"))
        api.put("pods", pod("low", "2", nodeName="n"))
        await asyncio.sleep(0.5)
        api.put("pods", pod("middle", "2", priority=10))
        await asyncio.sleep(0.5)
        assert api.pod("middle")["status"]["nominatedNodeName"] == "n"
        api.put("pods", pod("high", "2", priority=20))
        await asyncio.sleep(2)
        assert api.pod("high")["status"]["nominatedNodeName"] == "n"
        assert not api.pod("middle")["status"].get("nominatedNodeName")
        api.remove("pods", "default/low")
        await asyncio.sleep(15)
        assert (api.where("high"), api.where("middle")) == ("n", "")

    run(check)


def test_the_end_of_a_nominated_pod_frees_its_room() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.graceful = True
        api.put("nodes", node("n", cpu="2"))
        api.put("pods", pod("low", "1", nodeName="n"))
        await asyncio.sleep(0.5)
        api.put("pods", pod("high", "2", priority=10))
        await asyncio.sleep(0.5)
        api.put("pods", pod("small", "1"))
        await asyncio.sleep(0.5)
        assert api.where("small") == ""
        api.remove("pods", "default/high")
        await asyncio.sleep(12)
        assert api.where("small") == "n"

    run(check)


def test_a_refused_binding_is_told_and_the_pod_comes_again_as_it_is() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.put("nodes", node("a", labels={"disk": "ssd"}))
        api.put("nodes", node("b"))
        api.bind_takes_s = 0.5
        api.bind_failures = [errors.conflict("", "pods", "p", "no")]
        api.put("pods", pod("p", nodeSelector={"disk": "ssd"}))
        await asyncio.sleep(0.2)
        changed = api.pod("p")
        api.put("pods", {**changed, "spec": {**changed["spec"], "nodeSelector": {"kubernetes.io/hostname": "b"}}})
        await asyncio.sleep(1.0)
        condition = conditions.get(api.pod("p"), "PodScheduled")
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("False", "SchedulerError")
        assert condition["message"].startswith("binding rejected: ")
        assert [text for text in api.events("FailedScheduling") if text == condition["message"]]
        await asyncio.sleep(3)
        assert api.where("p") == "b"

    run(check)


def victims(placed: list[tuple[JsonObject, str]], **budget: Any) -> list[str]:
    snapshot = Snapshot()
    for name in ("a", "b"):
        snapshot.put_node(node(name, cpu="1"))
    for other, name in placed:
        snapshot.put_pod(PodInfo.of(other), name)
    info, profile = PodInfo.of(pod("p", "1", priority=10)), default_profile()
    misfit = cycle.decide(info, snapshot, profile, SeededRng(1))
    assert isinstance(misfit, cycle.Misfit)
    chosen, _ = preemption.find(info, misfit, snapshot, profile, lambda _space: [budget] if budget else [])
    assert chosen is not None
    return [meta.name(victim.pod) for victim in chosen.victims]


def started(wanted: JsonObject, when: str) -> JsonObject:
    return {**wanted, "status": {"startTime": when}}


def test_the_earliest_start_of_the_important_victims_decides() -> None:
    old = [started(pod(f"a{n}", "500m", priority=3), f"2026-01-0{n}T00:00:00Z") for n in (1, 9)]
    young = [started(pod(f"b{n}", "500m", priority=3), f"2026-01-0{n}T00:00:00Z") for n in (2, 3)]
    assert victims([(each, "a") for each in old] + [(each, "b") for each in young]) == ["b2", "b3"]


def test_a_pod_that_has_not_started_is_the_youngest() -> None:
    first = started(pod("x", "1", priority=3), "2026-01-01T00:00:00Z")
    assert victims([(first, "a"), (pod("y", "1", priority=3), "b")]) == ["y"]


def test_fewer_victims_count_also_below_zero() -> None:
    many = [(pod(f"m{n}", "500m", priority=-5), "a") for n in (1, 2)]
    assert victims([*many, (pod("y", "1", priority=-5), "b")]) == ["y"]


def test_a_pod_that_is_being_evicted_is_not_charged_twice() -> None:
    budget = {
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
        "status": {"disruptionsAllowed": 0, "disruptedPods": {"db": "2026-01-01T00:00:00Z"}},
    }
    db = pod("db", "1", labels={"app": "db"})
    assert victims([(db, "a"), (pod("web", "1", priority=5), "b")], **budget) == ["db"]


def test_only_a_victim_of_preemption_is_waited_for() -> None:
    snapshot = Snapshot()
    snapshot.put_node(node("n"))
    leaving = pod("x")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    snapshot.put_pod(PodInfo.of(leaving), "n")
    info = PodInfo.of(pod("p", priority=10))
    assert preemption.not_eligible(info, "n", snapshot) == ""
    condition = conditions.make("DisruptionTarget", True, "t", "PreemptionByScheduler")
    snapshot.put_pod(PodInfo.of({**leaving, "status": {"conditions": [condition]}}), "n")
    assert preemption.not_eligible(info, "n", snapshot) == preemption.TERMINATING
