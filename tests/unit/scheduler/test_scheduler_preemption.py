"""Preemption: who has to go, from where, and that nobody goes in vain."""

import asyncio
from typing import Any

from argosy.host import Host, SeededRng
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.scheduler import cycle, preemption
from control_plane.scheduler.plugins import default_profile
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.preemption import Candidate
from control_plane.scheduler.scheduler import Scheduler
from control_plane.scheduler.snapshot import Snapshot
from tests.unit.scheduler.scheduler_world import FakeApi, node, pod, run


def found(
    wanted: JsonObject,
    nodes: list[JsonObject],
    placed: list[tuple[JsonObject, str]],
    budgets: list[JsonObject] | None = None,
) -> tuple[Candidate | None, str]:
    snapshot = Snapshot()
    for item in nodes:
        snapshot.put_node(item)
    for other, name in placed:
        snapshot.put_pod(PodInfo.of(other), name)
    info, profile = PodInfo.of(wanted), default_profile()
    misfit = cycle.decide(info, snapshot, profile, SeededRng(1))
    assert isinstance(misfit, cycle.Misfit)
    before = {name: sorted(other.key for other in snapshot.pods_on(name)) for name in snapshot.rows}
    result = preemption.find(info, misfit, snapshot, profile, lambda _space: budgets or [])
    after = {name: sorted(other.key for other in snapshot.pods_on(name)) for name in snapshot.rows}
    assert before == after, "looking changes nothing"
    return result


def names(candidate: Candidate | None) -> tuple[str, list[str]]:
    assert candidate is not None
    return candidate.node_name, [meta.name(victim.pod) for victim in candidate.victims]


def at(name: str, cpu: str, priority: int = 0, **spec: Any) -> JsonObject:
    return pod(name, cpu, priority=priority, **spec)


def test_the_fewest_and_least_important_go() -> None:
    one = [node("n", cpu="4")]
    placed = [(at("low", "1", 1), "n"), (at("lower", "1", 0), "n"), (at("same", "2", 10), "n")]
    assert names(found(at("p", "1", 10), one, placed)[0]) == ("n", ["lower"])
    assert names(found(at("p", "2", 10), one, placed)[0]) == ("n", ["low", "lower"])
    assert found(at("p", "3", 10), one, placed) == (
        None,
        "0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    )


def test_the_node_with_the_least_loss_is_taken() -> None:
    two = [node("a", cpu="1"), node("b", cpu="1")]
    assert names(found(at("p", "1", 10), two, [(at("x", "1", 5), "a"), (at("y", "1", 3), "b")])[0]) == ("b", ["y"])
    many = [(at("x", "500m", 3), "a"), (at("z", "500m", 3), "a"), (at("y", "1", 3), "b")]
    assert names(found(at("p", "1", 10), two, many)[0]) == ("b", ["y"])
    old, young = at("x", "1", 3), at("y", "1", 3)
    old["status"]["startTime"], young["status"]["startTime"] = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    assert names(found(at("p", "1", 10), two, [(old, "a"), (young, "b")])[0]) == ("b", ["y"])


def test_disruption_budgets_are_spared_where_possible() -> None:
    budget = {
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
        "status": {"disruptionsAllowed": 0},
    }
    two = [node("a", cpu="1"), node("b", cpu="1")]
    kept, other = at("db", "1", 1, labels={"app": "db"}), at("web", "1", 5)
    assert names(found(at("p", "1", 10), two, [(kept, "a"), (other, "b")], [budget])[0]) == ("b", ["web"])
    candidate, _ = found(at("p", "1", 10), two[:1], [(kept, "a")], [budget])
    assert names(candidate) == ("a", ["db"])
    assert candidate is not None
    assert candidate.violations == 1


def test_no_victims_where_it_would_not_help() -> None:
    nodes = [
        node("a", cpu="1"),
        node("b", cpu="1", taints=[{"key": "k", "effect": "NoSchedule"}]),
        node("c", cpu="500m"),
    ]
    placed = [(at("x", "1", 10), "a"), (at("y", "1", 0), "b"), (at("z", "100m", 0), "c")]
    assert found(at("p", "1", 10), nodes, placed) == (
        None,
        "0/3 nodes are available: 1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling.",
    )


def test_anti_affinity_and_ports_can_be_made_room_for() -> None:
    shun = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    claim = [{"containerPort": 80, "hostPort": 80}]
    one = [node("n")]
    rival = (at("rival", "1", labels={"app": "a"}), "n")
    assert names(found(at("p", "1", 10, affinity=shun), one, [rival, (at("bystander", "1"), "n")])[0]) == (
        "n",
        ["rival"],
    )
    assert names(found(at("p", "1", 10, ports=claim), one, [(at("q", "1", ports=claim), "n")])[0]) == ("n", ["q"])


def test_never_means_never_and_patience_with_those_who_are_leaving() -> None:
    snapshot = Snapshot()
    snapshot.put_node(node("n"))
    info = PodInfo.of(at("p", "1", 10))
    assert preemption.not_eligible(PodInfo.of(at("p", "1", 10, preemptionPolicy="Never")), "", snapshot) == (
        "not eligible due to preemptionPolicy=Never."
    )
    leaving = at("x", "1")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    leaving["status"]["conditions"] = [conditions.make("DisruptionTarget", True, "t", preemption.PREEMPTED)]
    snapshot.put_pod(PodInfo.of(leaving), "n")
    assert preemption.not_eligible(info, "n", snapshot) == preemption.TERMINATING
    assert preemption.not_eligible(info, "", snapshot) == ""


def test_room_is_made_and_kept_for_whom_it_was_made() -> None:
    async def check(api: FakeApi, _scheduler: Scheduler, _host: Host) -> None:
        api.graceful = True
        api.put("nodes", node("only", cpu="1"))
        api.put("pods", at("low", "1"))
        await asyncio.sleep(1)
        assert api.where("low") == "only"
        api.put("pods", at("high", "1", 1000))
        await asyncio.sleep(1)
        assert meta.is_deleting(api.pod("low"))
        assert conditions.is_true(api.pod("low"), "DisruptionTarget")
        assert meta.status(api.pod("high"))["nominatedNodeName"] == "only"
        assert api.events("Preempted") == ["Preempted by pod uid-high on node only"]
        assert api.events("FailedScheduling")[0] == "0/1 nodes are available: 1 Insufficient cpu."
        api.put("pods", at("cuckoo", "1", 500))
        await asyncio.sleep(1)
        api.remove("pods", "default/low")
        await asyncio.sleep(15)
        assert (api.where("high"), api.where("cuckoo")) == ("only", "")
        assert api.deletions == ["low"], "one victim was enough"

    run(check)
