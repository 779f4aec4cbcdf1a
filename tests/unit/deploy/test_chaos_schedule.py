"""Random schedules: the same for the same seed, and never too much at once."""

from __future__ import annotations

import pytest

from deploy.chaos import schedule
from deploy.chaos.fault import FaultError
from deploy.chaos.schedule import LEAST_S, Options, Step
from deploy.chaos.site import Component, Site
from deploy.cluster import ClusterConfig, NodeConfig
from deploy.layout import Layout

SEEDS = range(150)


def components(stores: int = 3, nodes: int = 3, apiservers: int = 2, address: str = "") -> list[Component]:
    made = tuple(NodeConfig(f"node-{number}", number, 2, 1 << 30) for number in range(1, nodes + 1))
    config = ClusterConfig("x", stores=stores, apiservers=apiservers, nodes=made, address=address)
    return list(Site.of(Layout("x"), config).components.values())


def hurt_at(steps: list[Step], at_s: float, kind: str, found: list[Component]) -> set[str]:
    """Components of a kind that a fault holds at a moment, or held just before."""
    names = {item.name for item in found if item.kind == kind}
    targets = {name for step in steps if step.at_s <= at_s <= step.end_s + LEAST_S for name in step.fault.targets}
    return names & {name.partition("/")[0] for name in targets}


def test_a_seed_is_a_schedule() -> None:
    found = components()
    plans = [schedule.plan(seed, found, Options(60)) for seed in SEEDS]
    assert plans == [schedule.plan(seed, found, Options(60)) for seed in SEEDS]
    assert len({str(plan) for plan in plans}) == len(plans)
    seen = {step.fault.kind for plan in plans for step in plan}
    assert seen == set(schedule.KINDS) - {"fill-disk"}
    for plan in plans:
        assert plan == sorted(plan, key=lambda step: step.at_s)
        assert all(step.at_s >= 0 and step.end_s <= 60 for step in plan)


@pytest.mark.parametrize(("stores", "nodes", "apiservers"), [(3, 3, 2), (5, 2, 1), (1, 1, 1)])
def test_a_quorum_is_kept_unless_asked(stores: int, nodes: int, apiservers: int) -> None:
    found = components(stores, nodes, apiservers)
    least = {"etcd": (stores + 1) // 2 if stores > 1 else 1, "apiserver": 1, "node": nodes - nodes // 2}
    counts = {"etcd": stores, "apiserver": apiservers, "node": nodes}
    broken = 0
    for seed in SEEDS:
        careful = schedule.plan(seed, found, Options(60, faults=20))
        for kind, needed in least.items():
            for step in careful:
                assert counts[kind] - len(hurt_at(careful, step.at_s, kind, found)) >= needed, (seed, step)
        careless = schedule.plan(seed, found, Options(60, faults=20, keep_quorum=False))
        broken += any(stores - len(hurt_at(careless, step.at_s, "etcd", found)) < least["etcd"] for step in careless)
    assert broken > len(SEEDS) / 4


def test_nobody_is_excluded_who_is_not_there() -> None:
    with pytest.raises(FaultError, match="--exclude node-9: no component"):
        schedule.plan(1, components(), Options(120, exclude=("etcd", "node-9")))


def test_what_is_excluded_is_left_alone() -> None:
    found = components()
    options = Options(120, faults=30, exclude=("node-1", "etcd", "scheduler-1"))
    touched = {name for seed in SEEDS for step in schedule.plan(seed, found, options) for name in step.fault.targets}
    assert touched and not {name for name in touched if name.startswith(("node-1", "etcd", "scheduler-1"))}
    only = schedule.plan(1, found, Options(60, kinds=("delay", "fill-disk"), faults=20))
    assert {step.fault.kind for step in only} == {"delay", "fill-disk"}


def test_on_a_machine_links_are_left_alone() -> None:
    found = components(nodes=0, apiservers=1, address="192.0.2.1")
    kinds = {step.fault.kind for seed in SEEDS for step in schedule.plan(seed, found, Options(60))}
    assert kinds and not kinds & {"partition", "loss", "delay", "rate"}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(FaultError, match="--kinds flood"):
        schedule.plan(1, components(), Options(60, kinds=("flood",)))
    with pytest.raises(FaultError, match="2 s at least"):
        schedule.plan(1, components(), Options(0))
