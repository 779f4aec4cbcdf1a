"""The node autoscaler's pure rules: what brings a node and which, what keeps one, and when a group is left alone."""

from typing import Any

import pytest

from argosy.host import SeededRng
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.autoscaler.nodes import drain, scale_down, scale_up
from control_plane.autoscaler.nodes.backoff import Backoff
from control_plane.autoscaler.nodes.drain import Blocked, Budgets
from control_plane.autoscaler.nodes.provider import Group, Instance, Offer, State, impossible
from control_plane.autoscaler.nodes.scale_up import Plan
from control_plane.autoscaler.nodes.settings import Settings
from control_plane.autoscaler.nodes.simulation import Simulation, daemon_pods, fresh_node
from control_plane.autoscaler.nodes.state import GroupState, Registry, is_healthy
from control_plane.scheduler.pod_info import PodInfo
from tests.unit.autoscaler.nodes_world import group, node, pod

SETTINGS = Settings()


def planned(pods: list[JsonObject], *groups: Group, nodes: list[JsonObject] | None = None, **more: Any) -> Plan:
    return scale_up.plan(
        [PodInfo.of(item) for item in pods],
        {item.name: item for item in groups},
        {item.name: item.template for item in groups},
        more.get("skipped", {}),
        more.get("daemon_sets", []),
        Simulation(nodes or [], []),
        more.get("room", 100),
        SETTINGS,
        SeededRng(1),
    )


def chosen(plan: Plan) -> tuple[str, int]:
    assert plan.option is not None
    return plan.option.group.name, plan.option.nodes


# Up


def test_the_group_that_wastes_least_is_taken() -> None:
    large, small = group("large", cpu="16", memory="64Gi"), group("small", cpu="2", memory="4Gi")
    assert chosen(planned([pod("a", cpu="1500m", memory="3Gi")], large, small)) == ("small", 1)
    many = [pod(f"p-{number}", cpu="4", memory="16Gi") for number in range(4)]
    assert chosen(planned(many, large, small)) == ("large", 1)


def test_binpacking_fills_nodes() -> None:
    pods = [pod(f"p-{number}", cpu="600m") for number in range(7)]
    assert chosen(planned(pods, group("small", most=9))) == ("small", 3)


def test_no_more_nodes_than_the_maximum_and_the_room() -> None:
    pods = [pod(f"p-{number}", cpu="2") for number in range(7)]
    assert chosen(planned(pods, group("small", most=5, target=2))) == ("small", 3)
    assert chosen(planned(pods, group("small", most=5), room=2)) == ("small", 2)
    assert planned(pods, group("small", most=5), room=0).option is None


def test_selectors_taints_and_affinity_decide() -> None:
    ssd = group("ssd", labels={"disk": "ssd"})
    plain, tainted = group("plain"), group("gpu", taints=[{"key": "gpu", "value": "", "effect": "NoSchedule"}])
    assert chosen(planned([pod("a", nodeSelector={"disk": "ssd"})], plain, ssd, tainted)) == ("ssd", 1)
    tolerant = pod("b", tolerations=[{"operator": "Exists"}], nodeSelector={})
    assert planned([tolerant], tainted).option is not None
    assert planned([pod("c")], tainted).option is None
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    pods = [pod(f"p-{number}", cpu="100m", affinity=apart) for number in range(3)]
    assert chosen(planned(pods, plain)) == ("plain", 3)


def test_spread_by_host_takes_a_node_each() -> None:
    constraint = {
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}, "minDomains": 3,
    }  # fmt: skip
    pods = [pod(f"p-{number}", cpu="100m", topologySpreadConstraints=[constraint]) for number in range(3)]
    assert chosen(planned(pods, group("small"))) == ("small", 3)


def test_daemon_sets_take_their_part_of_a_new_node() -> None:
    template = {"metadata": {"labels": {"app": "agent"}}, "spec": pod("x", cpu="500m")["spec"]}
    daemon_set = {"metadata": {"name": "agent", "namespace": "default", "uid": "d"}, "spec": {"template": template}}
    elsewhere = meta.copy_object(daemon_set)
    elsewhere["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    assert len(daemon_pods(node("n"), [daemon_set, elsewhere])) == 1
    assert chosen(planned([pod("a", cpu="2")], group("small"))) == ("small", 1)
    plan = planned([pod("a", cpu="2")], group("small"), daemon_sets=[daemon_set])
    assert plan.option is None
    assert plan.refusal("uid-a") == "1 Insufficient cpu"


def test_each_refusal_counts_groups() -> None:
    plan = planned(
        [pod("a", cpu="50")], group("one"), group("two"), group("full", most=1, target=1), group("ill"),
        skipped={"ill": scale_up.BACKOFF},
    )  # fmt: skip
    said = "2 Insufficient cpu, 1 in backoff after failed scale-up, 1 max node group size reached"
    assert sorted(plan.refusal("uid-a").split(", ")) == sorted(said.split(", "))


def test_what_fits_on_nodes_that_are_coming_brings_no_more() -> None:
    simulation = Simulation([fresh_node(node("t"), "upcoming")], [])
    pods = [PodInfo.of(pod(f"p-{number}", owner="")) for number in range(3)]
    assert [info.key for info in scale_up.left_over(pods, simulation)] == ["default/p-2"]


def test_a_plan_leaves_the_simulation_as_it_was() -> None:
    simulation = Simulation([node("a")], [])
    infos = [PodInfo.of(pod("p", cpu="2"))]
    made = group("small")
    scale_up.plan(infos, {"small": made}, {"small": made.template}, {}, [], simulation, 9, SETTINGS, SeededRng(1))
    assert "template-node-for-small-0" not in simulation
    assert simulation.fits(infos[0], "a")


def test_only_pods_that_the_scheduler_gave_up_are_looked_at() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    waiting = {**pod("a"), "status": {"conditions": [condition]}}
    assert scale_up.is_unschedulable(waiting)
    assert not scale_up.is_unschedulable(pod("a"))
    gated = {**condition, "reason": "SchedulingGated"}
    assert not scale_up.is_unschedulable({**waiting, "status": {"conditions": [gated]}})
    assert not scale_up.is_unschedulable({**waiting, "spec": {"nodeName": "n"}})


# Down


def kept_by(item: JsonObject, budgets: Budgets | None = None, settings: Settings = SETTINGS) -> Blocked | None:
    found = drain.move([item], budgets or Budgets([]), settings).blocking
    return found.reason if found is not None else None


EMPTY_DIR = [{"name": "scratch", "emptyDir": {}}]
SAFE = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
UNSAFE = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (pod("a"), None),
        (pod("a", owner="Job"), None),
        (pod("a", owner="StatefulSet"), None),
        (pod("a", owner=""), Blocked.NOT_REPLICATED),
        (pod("a", owner="Gizmo"), Blocked.NOT_REPLICATED),
        (pod("a", owner="", annotations=SAFE), None),
        (pod("a", annotations=UNSAFE), Blocked.NOT_SAFE),
        (pod("a", owner="DaemonSet", annotations=UNSAFE), Blocked.NOT_SAFE),
        (pod("a", volumes=EMPTY_DIR), Blocked.LOCAL_STORAGE),
        (pod("a", volumes=[{"name": "h", "hostPath": {"path": "/x"}}]), Blocked.LOCAL_STORAGE),
        (pod("a", volumes=[{"name": "m", "emptyDir": {"medium": "Memory"}}]), None),
        (pod("a", volumes=EMPTY_DIR, annotations=SAFE), None),
        (
            pod("a", volumes=EMPTY_DIR, annotations={drain.SAFE_VOLUMES: "a, scratch"}),
            None,
        ),
        (
            pod("a", volumes=EMPTY_DIR, annotations={drain.SAFE_VOLUMES: "other"}),
            Blocked.LOCAL_STORAGE,
        ),
        (pod("a", namespace="kube-system"), Blocked.SYSTEM_UNMOVABLE),
        (pod("a", namespace="kube-system", owner="DaemonSet"), None),
        (pod("a", owner="", annotations={"kubernetes.io/config.mirror": "x"}), None),
        ({**pod("a", owner=""), "status": {"phase": "Succeeded"}}, None),
        (pod("a", owner="", priority=-11), None),
    ],
)  # fmt: skip
def test_what_keeps_a_node(item: JsonObject, reason: Blocked | None) -> None:
    assert kept_by(item) is reason


def budget(allowed: int, namespace: str = "default", name: str = "web") -> JsonObject:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": allowed},
    }


def test_budgets_keep_nodes() -> None:
    assert kept_by(pod("a"), Budgets([budget(0)])) is Blocked.BUDGET
    assert kept_by(pod("a"), Budgets([budget(1)])) is None
    assert kept_by(pod("a", namespace="kube-system"), Budgets([budget(1, "kube-system")])) is None
    assert kept_by(pod("a"), Budgets([budget(5), budget(5, name="two")])) is Blocked.BUDGET
    two = drain.move([pod("a"), pod("b")], Budgets([budget(1)]), SETTINGS).blocking
    assert two is not None
    assert meta.name(two.pod) == "b"


def test_flags_let_go_what_is_kept() -> None:
    loose = Settings(
        skip_nodes_with_local_storage=False,
        skip_nodes_with_system_pods=False,
        skip_nodes_with_custom_controller_pods=False,
    )
    for item in (pod("a", volumes=EMPTY_DIR), pod("a", namespace="kube-system"), pod("a", owner="Gizmo")):
        assert kept_by(item, settings=loose) is None
    assert kept_by(pod("a", owner=""), settings=loose) is Blocked.NOT_REPLICATED


def judged(nodes: list[JsonObject], pods: dict[str, list[JsonObject]], *budgets: JsonObject) -> scale_down.Verdict:
    state = GroupState(group("small", most=9, target=len(nodes)), ready=nodes)
    placed = [
        (PodInfo.of({**item, "spec": {**item["spec"], "nodeName": name}}), name)
        for name, items in pods.items()
        for item in items
    ]
    simulation = Simulation(nodes, placed)
    pods_on = {name: [info.pod for info, there in placed if there == name] for name in pods}
    return scale_down.judge({"small": state}, pods_on, Budgets(budgets), simulation, SETTINGS)


def test_utilization_is_the_larger_share() -> None:
    used = [pod("a", cpu="500m", memory="3Gi"), pod("b", cpu="500m", memory="128Mi", owner="DaemonSet")]
    assert scale_down.utilization(node("n"), used, SETTINGS) == pytest.approx(3.125 / 4)
    assert scale_down.utilization(node("n"), used[1:], SETTINGS) == pytest.approx(0.25)
    assert scale_down.utilization(node("n"), used[1:], Settings(ignore_daemonsets_utilization=True)) == 0


def test_two_nodes_do_not_count_on_each_other() -> None:
    nodes = [node("a", cpu="1"), node("b", cpu="1")]
    verdict = judged(nodes, {"a": [pod("p", cpu="400m")], "b": [pod("q", cpu="400m")]})
    assert len(verdict.unneeded) == 1
    assert len(verdict.unremovable) == 1


def test_a_node_whose_pods_fit_nowhere_stays() -> None:
    nodes = [node("a", labels={"disk": "ssd"}), node("b")]
    verdict = judged(nodes, {"a": [pod("p", cpu="100m", nodeSelector={"disk": "ssd"})]})
    assert verdict.unremovable["a"] == "pod default/p fits on no other node"
    assert list(verdict.unneeded) == ["b"]


def test_annotated_and_busy_nodes_stay() -> None:
    nodes = [node("a", annotations={"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"}), node("b")]
    verdict = judged(nodes, {"b": [pod("p", cpu="1")]})
    assert verdict.unneeded == {}
    assert verdict.unremovable == {
        "a": "scale-down is disabled by its annotation",
        "b": "utilization 0.50",
    }


def test_one_budget_is_not_spent_twice() -> None:
    nodes = [node("a"), node("b"), node("c", cpu="8")]
    pods = {"a": [pod("p", cpu="100m")], "b": [pod("q", cpu="100m")], "c": [pod("r", cpu="5")]}
    verdict = judged(nodes, pods, budget(1))
    assert list(verdict.unneeded) == ["a"]
    assert verdict.unremovable["b"] == "NotEnoughPdb: default/q"


# Groups


def test_back_off_doubles_and_is_forgotten() -> None:
    backoff = Backoff(SETTINGS)
    assert backoff.fail("g", 0, "x", "").length_s == 300
    assert backoff.fail("g", 10, "x", "").length_s == 300, "still the same failure"
    assert backoff.fail("g", 1000, "x", "").length_s == 600
    assert [backoff.fail("g", 1e4 * (n + 1), "x", "").length_s for n in range(3)] == [1200, 1800, 1800]
    assert backoff.current("g", 3e4 + 1799) is not None
    assert backoff.current("g", 3e4 + 1800) is None
    backoff.forget_old(3e4 + 10801)
    assert backoff.fail("g", 5e4, "x", "").length_s == 300


@pytest.mark.parametrize(
    ("least", "most", "target", "said"),
    [
        (0, 5, -1, "its target size is -1"),
        (-2, 5, 0, "its minimum size is -2"),
        (5, 2, 0, "its minimum size 5 is above its maximum size 2"),
        (0, 5, float("nan"), "its target size is no whole number: nan"),
        (0, 10**7, 0, "its maximum size is 10000000"),
        (0, 5, True, "its target size is no whole number: True"),
    ],
)
def test_impossible_sizes(least: int, most: int, target: int, said: str) -> None:
    assert impossible(Group("g", least, most, target, node("t"))) == said


@pytest.mark.parametrize(
    "template",
    [
        {},
        {"status": {"capacity": {"cpu": "NaN", "memory": "1Gi", "pods": "1"}}},
        {"status": {"capacity": {"cpu": "1", "memory": "-1", "pods": "1"}}},
        {"status": {"capacity": {"cpu": "1", "memory": "1Gi"}}},
        {"status": 3},
        {**node("t"), "spec": {"taints": [{"value": "x"}]}},
    ],
)
def test_impossible_templates(template: JsonObject) -> None:
    assert impossible(Group("g", 0, 1, 0, template)).startswith("its template")


def test_a_target_that_nothing_stands_for_is_given_up() -> None:
    registry, made = Registry(SETTINGS), group("g", target=3)
    offer = Offer({"g": made}, {"g": (Instance("g-1", State.RUNNING),)})
    states, _ = registry.look(offer, [node("g-1")], {}, 0.0)
    assert states["g"].upcoming == 2
    states, _ = registry.look(offer, [node("g-1")], {}, 900.0)
    assert (states["g"].not_coming, states["g"].upcoming) == (2, 0)


def test_a_node_on_its_way_out_is_no_node_to_come() -> None:
    registry, made = Registry(SETTINGS), group("g", least=1, target=2)
    nodes = [node("g-1"), node("g-2")]
    offer = Offer({"g": made}, {"g": (Instance("g-1"), Instance("g-2"))})
    states, _ = registry.look(offer, nodes, {"g-1": False}, 0.0)
    assert (states["g"].upcoming, states["g"].going) == (0, ["g-1"])
    assert scale_down.removable(states["g"]) == 0
    lowered = Offer({"g": group("g", least=1, target=1)}, offer.instances)
    states, _ = registry.look(lowered, nodes, {"g-1": True}, 10.0)
    assert states["g"].upcoming == 0
    assert scale_down.removable(states["g"]) == 0


def test_unready_nodes_of_a_large_cluster_are_believed() -> None:
    def cluster(ready: int, unready: int) -> list[JsonObject]:
        old = {"creationTimestamp": "2000-01-01T00:00:00Z"}
        made = [node(f"n-{number}", ready=number < ready) for number in range(ready + unready)]
        return [{**item, "metadata": {**item["metadata"], **old}} for item in made]

    now_s = 1.7e9
    assert is_healthy(cluster(0, 3), SETTINGS, now_s)
    assert not is_healthy(cluster(4, 4), SETTINGS, now_s)
    assert is_healthy(cluster(6, 4), SETTINGS, now_s)
