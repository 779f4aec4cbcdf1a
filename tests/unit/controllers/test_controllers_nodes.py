"""Nodes that fall silent: marked, tainted, evicted at the right time and rate, and back when they speak again."""

import asyncio
from typing import Any

import pytest

from argosy.host import rfc3339, rfc3339_micro
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import node_health as health
from control_plane.controllers.config import Config
from control_plane.controllers.taint_eviction import eviction_time
from tests.sim.virtual import EPOCH_S
from tests.unit.controllers.world import World, pod, ready_status, run

NAMES = ("node-lifecycle-controller", "taint-eviction-controller")
TOLERATIONS = [
    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in (health.NOT_READY, health.UNREACHABLE)
]


class Fleet:
    """Nodes that renew their leases until they are silenced."""

    def __init__(self, world: World, *names: str, zone: str = "") -> None:
        self.world = world
        self.silent: set[str] = set()
        for name in names:
            labels = {health.ZONE_LABEL: zone} if zone else {}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}
            world.api.put("nodes", node)
            self.say(name, "True")
            world.start(self._beat(name))

    def say(self, name: str, ready: str, **others: str) -> None:
        now = rfc3339(self.world.host.clock.now())
        found = [
            {"type": type_, "status": status, "lastHeartbeatTime": now, "lastTransitionTime": now}
            for type_, status in {"Ready": ready, **others}.items()
        ]
        self.world.api.change("nodes", name, {"status": {"conditions": found}})

    async def _beat(self, name: str) -> None:
        while True:
            if name not in self.silent:
                lease = {
                    "kind": "Lease",
                    "metadata": {"name": name, "namespace": "kube-node-lease"},
                    "spec": {"holderIdentity": name, "renewTime": rfc3339_micro(self.world.host.clock.now())},
                }
                self.world.api.put("leases", lease)
            await asyncio.sleep(10)


def one(world: World, name: str) -> JsonObject:
    found = world.api.one("nodes", name)
    assert found is not None
    return found


def taints(world: World, name: str) -> list[tuple[str, str]]:
    return [
        (each["key"].removeprefix("node.kubernetes.io/"), each["effect"])
        for each in health.taints_of(one(world, name))
    ]


def ready_pod(world: World, name: str, node: str, **spec: Any) -> JsonObject:
    return pod(name, node=node, spec={"tolerations": TOLERATIONS, **spec}, **ready_status(world.host))


def test_the_periods_are_upstreams() -> None:
    config = Config(api_servers=("a",))
    assert (config.node_monitor_period, config.node_monitor_grace_period, config.node_startup_grace_period) == (
        5,
        40,
        60,
    )
    assert (config.node_eviction_rate, config.secondary_node_eviction_rate) == (0.1, 0.01)
    assert (config.unhealthy_zone_threshold, config.large_cluster_size_threshold) == (0.55, 50)
    assert (config.leader_elect_lease_duration, config.leader_elect_renew_deadline) == (15, 10)
    assert (config.terminated_pod_gc_threshold, config.leader_elect_retry_period) == (12500, 2)


def test_a_silent_node_is_marked_after_its_grace_and_its_pods_leave_after_their_toleration() -> None:
    async def body(world: World) -> None:
        fleet = Fleet(world, "a", "b", "c")
        world.controllers(*NAMES)
        world.api.put("pods", ready_pod(world, "patient", "a"))
        world.api.put("pods", ready_pod(world, "steadfast", "a", tolerations=[{"operator": "Exists"}]))
        world.api.put("pods", ready_pod(world, "hasty", "a", tolerations=[]))
        world.api.put("pods", ready_pod(world, "elsewhere", "b"))
        await world.settle(120)
        assert [taints(world, name) for name in "abc"] == [[], [], []]
        fleet.silent.add("a")
        await world.settle(35)
        assert health.ready_status(one(world, "a")) == "True"
        await world.settle(20)
        ready = conditions.get(one(world, "a"), "Ready")
        assert ready is not None
        assert (ready["status"], ready["reason"], ready["message"]) == (
            "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.",
        )  # fmt: skip
        assert taints(world, "a") == [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
        assert world.events("NodeNotReady")[0] == "Node a status is now: NodeNotReady"
        patient = world.api.one("pods", "default/patient")
        assert patient is not None and not conditions.is_true(patient, "Ready")
        hasty = world.api.one("pods", "default/hasty")
        assert hasty is not None and meta.is_deleting(hasty)
        target = conditions.get(hasty, "DisruptionTarget")
        assert target is not None and target["reason"] == "DeletionByTaintManager"
        await world.settle(270)
        assert not meta.is_deleting(patient)
        await world.settle(30)
        deleting = [meta.name(each) for each in world.api.all("pods") if meta.is_deleting(each)]
        assert sorted(deleting) == ["hasty", "patient"]
        elsewhere = world.api.one("pods", "default/elsewhere")
        assert elsewhere is not None and conditions.is_true(elsewhere, "Ready")

    run(body)


def test_a_node_that_speaks_again_keeps_its_pods() -> None:
    async def body(world: World) -> None:
        fleet = Fleet(world, "a", "b", "c")
        world.controllers(*NAMES)
        world.api.put("pods", ready_pod(world, "web", "a"))
        await world.settle(60)
        fleet.silent.add("a")
        await world.settle(100)
        assert taints(world, "a") == [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
        fleet.silent.clear()
        fleet.say("a", "True")
        await world.settle(600)
        assert taints(world, "a") == []
        web = world.api.one("pods", "default/web")
        assert web is not None and not meta.is_deleting(web)
        assert world.events("TaintManagerEviction") == ["Cancelling deletion of Pod default/web"]

    run(body)


def test_a_node_that_says_it_is_not_ready_gets_the_other_taint_and_they_swap() -> None:
    async def body(world: World) -> None:
        fleet = Fleet(world, "a", "b", "c")
        world.controllers(*NAMES)
        await world.settle(60)
        fleet.say("a", "False", MemoryPressure="True")
        await world.settle(20)
        assert sorted(taints(world, "a")) == [
            ("memory-pressure", "NoSchedule"), ("not-ready", "NoExecute"), ("not-ready", "NoSchedule"),
        ]  # fmt: skip
        fleet.silent.add("a")
        await world.settle(60)
        assert sorted(taints(world, "a")) == [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]

    run(body)


def test_cordoning_taints_and_foreign_taints_stay() -> None:
    async def body(world: World) -> None:
        Fleet(world, "a")
        mine = [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]
        world.api.change("nodes", "a", {"spec": {"unschedulable": True, "taints": mine}})
        world.controllers(*NAMES)
        await world.settle(10)
        assert taints(world, "a") == [("dedicated", "NoSchedule"), ("unschedulable", "NoSchedule")]
        world.api.change("nodes", "a", {"spec": {"unschedulable": None}})
        await world.settle(10)
        assert taints(world, "a") == [("dedicated", "NoSchedule")]

    run(body)


def test_a_node_that_never_spoke_is_lost_after_its_start_up_grace() -> None:
    async def body(world: World) -> None:
        Fleet(world, "a", "b")
        world.api.put("nodes", {"kind": "Node", "metadata": {"name": "new"}, "spec": {}})
        world.controllers(*NAMES)
        await world.settle(55)
        assert conditions.get(one(world, "new"), "Ready") is None
        await world.settle(15)
        ready = conditions.get(one(world, "new"), "Ready")
        assert ready is not None and ready["reason"] == "NodeStatusNeverUpdated"

    run(body)


def test_nodes_are_evicted_one_by_one() -> None:
    async def body(world: World) -> None:
        names = [f"n{number}" for number in range(8)]
        fleet = Fleet(world, *names)
        world.controllers(*NAMES)
        await world.settle(60)
        fleet.silent |= {"n0", "n1", "n2"}
        for _ in range(100):
            await world.settle(1)
            if all(health.ready_status(one(world, name)) == "Unknown" for name in sorted(fleet.silent)):
                break
        evicted = []
        for _ in range(4):
            evicted.append(sum(("unreachable", "NoExecute") in taints(world, name) for name in names))
            await world.settle(10)
        assert evicted[0] <= 1
        assert evicted == sorted(evicted)
        assert evicted[-1] == 3

    run(body)


def test_when_all_nodes_fall_silent_at_once_nothing_is_evicted() -> None:
    async def body(world: World) -> None:
        fleet = Fleet(world, "a", "b", "c")
        world.controllers(*NAMES)
        world.api.put("pods", ready_pod(world, "hasty", "a", tolerations=[]))
        await world.settle(60)
        fleet.silent |= {"a", "b", "c"}
        await world.settle(600)
        assert [taints(world, name) for name in "abc"] == [[("unreachable", "NoSchedule")]] * 3
        hasty = world.api.one("pods", "default/hasty")
        assert hasty is not None and not meta.is_deleting(hasty)
        fleet.silent -= {"b", "c"}
        fleet.say("b", "True")
        fleet.say("c", "True")
        await world.settle(120)
        assert [taints(world, name) for name in "bc"] == [[], []]
        assert ("unreachable", "NoExecute") in taints(world, "a")

    run(body)


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        (["True"] * 3, health.Zone.NORMAL),
        (["True", "Unknown", "Unknown"], health.Zone.NORMAL),
        (["True"] * 2 + ["Unknown"] * 3, health.Zone.PARTIAL),
        (["Unknown", "False"], health.Zone.FULL),
        ([], health.Zone.NORMAL),
    ],
)
def test_zone_states(statuses: list[str], state: health.Zone) -> None:
    assert health.zone_state(statuses, 0.55) is state


def test_the_shortest_toleration_counts_from_the_taint_or_the_later_pod() -> None:
    at = {"key": "a", "effect": "NoExecute", "timeAdded": rfc3339(EPOCH_S)}
    other = {"key": "b", "effect": "NoExecute", "timeAdded": rfc3339(EPOCH_S)}
    long_ = {"key": "a", "operator": "Exists", "tolerationSeconds": 100}
    short = {"key": "b", "operator": "Exists", "tolerationSeconds": 20}
    ever = {"key": "b", "operator": "Exists"}

    def when(tolerations: list[JsonObject], created: float = EPOCH_S - 500) -> float | None:
        made = pod("p", spec={"tolerations": tolerations}, metadata={"creationTimestamp": rfc3339(created)})
        return eviction_time(made, [at, other])

    assert when([long_, short]) == EPOCH_S + 20
    assert when([long_, ever]) == EPOCH_S + 100
    assert when([long_]) == 0
    assert when([{"operator": "Exists"}]) is None
    assert when([long_, short], created=EPOCH_S + 50) == EPOCH_S + 70
    assert eviction_time(pod("p"), []) is None
