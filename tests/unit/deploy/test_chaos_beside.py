"""Schedules from Python: `plan`, `random`, and `beside`, whose faults end with the block however it ends."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest

from deploy.chaos import inject, journal, running, schedule
from deploy.chaos.api import Chaos
from deploy.chaos.fault import Fault, FaultError
from deploy.chaos.schedule import Options, Step
from deploy.cleanup import wait_until
from deploy.cluster import ClusterConfig
from deploy.layout import Layout
from tests.processes import state

SOON_S = 10.0
OTHERS = ("node-1", "cp-1", "etcd-2", "etcd-3")


def stopped(process: subprocess.Popen[bytes]) -> bool:
    return state(process.pid) == "T"


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "chaos"]


def test_a_plan_is_that_of_the_command_for_the_same_seed_and_options(layout: Layout, config: ClusterConfig) -> None:
    found = list(inject.site_of(layout).components.values())
    chaos = Chaos(layout.name)
    assert chaos.plan(seed=7) == schedule.plan(7, found, Options(60.0)) != chaos.plan(seed=8)
    few = chaos.plan(seed=7, duration_s=20, faults=5, kinds=("delay", "loss"), exclude=("node-1",), keep_quorum=False)
    assert few == schedule.plan(7, found, Options(20, 5, ("delay", "loss"), ("node-1",), keep_quorum=False))
    assert len(few) == 5 and {step.fault.kind for step in few} <= {"delay", "loss"}
    assert not any("node-1" in step.fault.targets for step in few)
    with pytest.raises(FaultError, match="--kinds flood: there are kill, pause"):
        chaos.plan(seed=7, kinds=("flood",))
    with pytest.raises(TypeError, match="kind"):
        chaos.plan(seed=7, kind="pause")
    assert journal.faults(layout) == [], "a plan is no deed"


@pytest.mark.parametrize("fails", [False, True])
def test_random_faults_are_in_force_in_the_block_and_healed_at_its_end(
    layout: Layout, process: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str], fails: bool
) -> None:
    chaos = Chaos(layout.name)
    options = {"duration_s": 600.0, "faults": 1, "kinds": ("pause",), "exclude": OTHERS, "keep_quorum": False}
    # One that begins at once.
    seed = next(seed for seed in range(2000) if (plan := chaos.plan(seed=seed, **options)) and plan[0].at_s < 1.0)
    try:
        with chaos.random(seed=seed, **options) as steps:
            assert steps == chaos.plan(seed=seed, **options)
            assert [(step.fault.kind, step.fault.targets) for step in steps] == [("pause", ("etcd-1",))]
            assert wait_until(lambda: stopped(process), SOON_S)
            assert [fault.kind for fault in chaos.active()] == ["pause"]
            if fails:
                raise RuntimeError("the test itself")
    except RuntimeError:
        assert fails
    assert chaos.active() == [] and journal.faults(layout) == [] and threads() == []
    assert wait_until(lambda: not stopped(process), SOON_S)
    printed = capsys.readouterr().out
    assert printed.startswith(f"chaos seed {seed}:\n{running.line(steps[0])}\n")
    assert printed.endswith(" s  etcd-1 paused\n")


def test_what_runs_beside_a_block_is_cut_short_by_its_end(layout: Layout, process: subprocess.Popen[bytes]) -> None:
    said: list[str] = []
    steps = [
        Step(0.0, 60.0, Fault("pause", ("etcd-2",))),
        Step(0.0, 60.0, Fault("pause", ("etcd-1",))),
        Step(500.0, 60.0, Fault("kill", ("etcd-1",))),
    ]
    begun_s = time.monotonic()
    with running.beside(inject.site_of(layout), steps, said.append):
        assert wait_until(lambda: len(said) == 2 and stopped(process), SOON_S)
    assert time.monotonic() - begun_s < 100, "it waited for the third"
    assert said == ["   0.00 s  not pause etcd-2: etcd-2 is not running", "   0.00 s  etcd-1 paused"]
    assert journal.faults(layout) == [] and threads() == []
    assert wait_until(lambda: not stopped(process), SOON_S)
    assert process.poll() is None


def test_what_others_injected_meanwhile_stays(layout: Layout, process: subprocess.Popen[bytes]) -> None:
    chaos, said = Chaos(layout.name), []
    own = chaos.pause("etcd-1")
    steps = [Step(0.0, 60.0, Fault("pause", ("etcd-1",)))]
    with running.beside(inject.site_of(layout), steps, said.append):
        assert wait_until(lambda: bool(said), SOON_S)
        assert len(chaos.active()) == 2
    assert [fault.id for fault in chaos.active()] == [own.id]
    assert stopped(process)
    own.heal()
    assert wait_until(lambda: not stopped(process), SOON_S)
