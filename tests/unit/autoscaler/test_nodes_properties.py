"""Whatever the cluster: no group above its maximum, none below its minimum, no node goes whose pods would not fit."""

from functools import partial
from operator import eq

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from argosy.host import SeededRng
from argosy.objects.types import JsonObject
from control_plane.autoscaler.nodes import scale_down, scale_up
from control_plane.autoscaler.nodes.drain import Budgets
from control_plane.autoscaler.nodes.scale_down import Going, Waiting
from control_plane.autoscaler.nodes.settings import Settings
from control_plane.autoscaler.nodes.simulation import Simulation
from control_plane.autoscaler.nodes.state import GroupState
from control_plane.scheduler.pod_info import PodInfo
from tests.unit.autoscaler.nodes_world import group, node, pod

pytest.importorskip("numpy")
CPUS = st.integers(1, 40).map(lambda tenths: f"{tenths}00m")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(CPUS, min_size=1, max_size=25),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=3),
    st.integers(0, 6),
)
def test_no_group_grows_above_its_maximum(cpus: list[str], sizes: list[tuple[int, int, int]], room: int) -> None:
    groups = {
        f"g{number}": group(f"g{number}", most=max(target, most), target=target, cpu=str(cpu))
        for number, (cpu, target, most) in enumerate(sizes)
    }
    templates = {name: item.template for name, item in groups.items()}
    infos = [PodInfo.of(pod(f"p-{number}", cpu=cpu, owner="")) for number, cpu in enumerate(cpus)]
    plan = scale_up.plan(infos, groups, templates, {}, [], Simulation([], []), room, Settings(), SeededRng(1))
    if plan.option is not None:
        chosen = plan.option.group
        assert 1 <= plan.option.nodes <= min(room, chosen.max_size - chosen.target_size)
        simulation = Simulation([node(f"n-{number}", cpu=chosen.template["status"]["capacity"]["cpu"])
                                 for number in range(plan.option.nodes)], [])  # fmt: skip
        free = sorted(plan.option.pods, key=lambda info: -info.requests["cpu"])
        assert all(simulation.place(info) for info in free), "what is counted as helped fits on the new nodes"


@settings(max_examples=80, deadline=None)
@example([["1600m"], ["100m", "500m"], ["100m", "1800m"], ["100m", "2400m"]], 0, 0)
@given(
    st.lists(st.lists(CPUS, max_size=5), min_size=1, max_size=7),
    st.integers(0, 7),
    st.integers(0, 3),
)
def test_nodes_that_go_leave_room_for_their_pods(use: list[list[str]], least: int, going: int) -> None:
    """Nodes of 4 CPUs; every subset that goes at once must leave places for all that ran there."""
    nodes = [node(f"n-{number}", cpu="4") for number in range(len(use))]
    pods_on: dict[str, list[JsonObject]] = {}
    for number, cpus in enumerate(use):
        name = f"n-{number}"
        fitting = Simulation([nodes[number]], [])
        pods_on[name] = []
        for index, cpu in enumerate(cpus):
            made = pod(f"p-{number}-{index}", cpu=cpu)
            if fitting.place(PodInfo.of(made)):
                pods_on[name].append({**made, "spec": {**made["spec"], "nodeName": name}})
    placed = [(PodInfo.of(item), name) for name, items in pods_on.items() for item in items]
    state = GroupState(group("g", least=min(least, len(nodes)), most=9, target=len(nodes)), ready=nodes)
    options = Settings(scale_down_unneeded_time=0, max_drain_parallelism=3)
    waiting = Waiting(options)
    verdict = scale_down.judge({"g": state}, pods_on, Budgets([]), Simulation(nodes, placed), options)
    waiting.look(verdict.unneeded, 0.0)
    due = waiting.due(verdict, {"g": state}, Going(min(going, 3), going), 0.0)

    assert len(nodes) - len(due) >= state.group.min_size
    assert sum(not item.move.empty for item in due) <= 3 - min(going, 3)
    gone = {item.name for item in due}
    left = Simulation(
        [item for item in nodes if item["metadata"]["name"] not in gone],
        [(info, name) for info, name in placed if name not in gone],
    )
    moved = [
        PodInfo.of({**made, "spec": {key: value for key, value in made["spec"].items() if key != "nodeName"}})
        for item in due
        for made in item.move.pods
    ]
    stay = [item["metadata"]["name"] for item in nodes if item["metadata"]["name"] not in gone]
    assert have_places(sorted(moved, key=lambda info: -info.requests["cpu"]), left, stay)


def have_places(pods: list[PodInfo], simulation: Simulation, nodes: list[str]) -> bool:
    """Whether some way to place all of them exists; which one is taken is the scheduler's matter."""
    if not pods:
        return True
    for name in nodes:
        if simulation.place(pods[0], partial(eq, name)):
            if have_places(pods[1:], simulation, nodes):
                return True
            simulation.take(pods[0])
    return False
