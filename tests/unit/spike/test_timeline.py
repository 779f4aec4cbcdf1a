"""What `make spike` makes of what it saw: steps, table, bars and picture; and what it asks of the cluster."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from control_plane.autoscaler.events import triggers
from deploy import package_image
from deploy.apt import AptError
from tests.load import Tally
from tests.spike import __main__ as command
from tests.spike.chain import take
from tests.spike.observer import state_of
from tests.spike.picture import svg, text
from tests.spike.timeline import COLUMNS, Latency, Outcome, Second, State, Timeline, comparison
from tests.spike.ways import AHEAD_S, EXAMPLES, ByQueue, Skipped, schedule, window


def run() -> Timeline:
    """The load is there from 2 s to 20 s; the node came for the third pod."""
    return Timeline(
        [
            State(0.0, 1, 1, 0, 1, 3),
            State(5.0, 3, 1, 0, 1, 3),
            State(5.5, 3, 1, 1, 1, 3),
            State(6.0, 3, 1, 1, 1, 4),
            State(7.0, 3, 2, 1, 1, 4),
            State(9.0, 3, 2, 0, 2, 4),
            State(12.0, 3, 3, 0, 2, 4),
            State(30.0, 1, 1, 0, 2, 4),
            State(41.0, 1, 1, 0, 1, 4),
        ],
        [Second(3.0, 40, 0, 6.0, 9.0, 1), Second(9.0, 40, 0, 7.0, 8.0, 2), Second(13.0, 40, 0, 2.0, 5.0, 3)],
        load_from_s=2.0,
        load_to_s=20.0,
        outcome=Outcome(700, 2, 4.0, 90.0, ("2 × connecting: TimeoutError(), 12:00:00 to 12:00:01",)),
    )


def test_each_step_is_counted_from_where_the_load_began_or_ended() -> None:
    assert [(step.what, step.at_s) for step in run().lag()] == [
        ("scaler asks for more", 3.0),
        ("node asked for", 4.0),
        ("node Ready", 7.0),
        ("first new pod Ready", 5.0),
        ("all asked-for pods Ready", 10.0),
        ("back to the start", 21.0),
    ]
    others = {step.what: step.at_s for step in run().steps()}
    assert others["a pod finds no room"] == 3.5
    assert others["all of them answer"] == 11.0
    assert others["after the load: fewer pods asked for"] == 10.0
    assert others["after the load: as few nodes"] == 21.0


def test_a_pod_that_was_asked_for_after_the_load_is_not_one_that_the_load_waited_for() -> None:
    timeline = run()
    timeline.states.insert(7, State(21.0, 4, 4, 0, 2, 4))
    assert timeline.most == 3 and timeline.lag() == run().lag()
    assert {step.what: step.at_s for step in timeline.steps()}["after the load: fewer pods asked for"] == 10.0


def test_what_was_there_before_the_load_is_told_as_before_it() -> None:
    timeline = run()
    timeline.load_from_s = 15.0
    steps = {step.what: step.at_s for step in timeline.lag()}
    assert steps["scaler asks for more"] == -10.0 and steps["all asked-for pods Ready"] == -3.0


def test_latency_is_told_from_before_more_pods_and_from_after_them() -> None:
    assert run().latencies() == (Latency(6.0, 9.0), Latency(2.0, 5.0))
    assert "2 ms once all were, 5 ms for 99 %" in text(run())
    ahead = run()
    ahead.load_from_s = 12.5
    assert ahead.latencies() == (None, Latency(2.0, 5.0)), "nothing was asked before the pods were there"


def test_a_run_that_was_back_when_the_load_ended_was_back_at_once() -> None:
    timeline = run()
    timeline.load_to_s = 50.0
    assert timeline.lag()[-1].at_s == 0.0


def test_what_did_not_happen_is_not_told_as_if_it_had() -> None:
    timeline = Timeline([State(0.0, 1, 1, 0, 1), State(9.0, 3, 1, 2, 1)], load_from_s=2.0, load_to_s=20.0)
    assert {step.what: step.at_s for step in timeline.lag()} == {
        "scaler asks for more": 7.0, "node asked for": None, "node Ready": None, "first new pod Ready": None,
        "all asked-for pods Ready": None, "back to the start": None,
    }  # fmt: skip
    assert "            - node Ready" in text(timeline)
    idle = Timeline([State(0.0, 1, 1, 0, 1)], load_from_s=2.0, load_to_s=20.0)
    assert [step.at_s for step in idle.lag()] == [None] * 5 + [0.0]


def test_the_ways_stand_side_by_side() -> None:
    assert len(COLUMNS) == len(run().lag())
    lost = run()
    lost.outcome = None
    table = comparison([("HPA on CPU", run()), ("queue", lost)])
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows[0]["node asked"] == 4.0 and rows[0]["back"] == 21.0 and rows[0]["p99 ms"] == 90.0
    assert (rows[0]["failed"], rows[0]["of"]) == (2, 700)
    assert rows[1]["failed"] is None and rows[1]["node Ready"] == 7.0
    assert "HPA on CPU" in table.text()


def test_the_picture_has_what_the_text_has() -> None:
    shown = text(run())
    assert "10.0 s all asked-for pods Ready" in shown and "2 of 700 failed" in shown
    assert "connecting: TimeoutError()" in shown and "queued" not in shown
    drawn = svg(run(), "a & b")
    assert drawn.startswith("<svg") and "a &amp; b" in drawn and "queued" not in drawn
    with_queue = run()
    with_queue.seconds.append(Second(14.0, 10, 0, 2.0, 5.0, 3, queued=7))
    assert "queued" in text(with_queue) and "queued" in svg(with_queue, "")


def test_bars_show_the_value_in_force_not_only_changes() -> None:
    (line,) = [line for line in text(run()).splitlines() if "nodes " in line and "max" in line]
    bars = line.split("nodes ")[1].split(" max")[0]
    assert " " not in bars and bars.index("█") == int(72 * 9 / 41)


def pod(ready: bool, *, deleting: bool = False, unschedulable: bool = False) -> dict:
    metadata = {"name": "p", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {})}
    scheduled = {"type": "PodScheduled", "status": str(not unschedulable)}
    if unschedulable:
        scheduled["reason"] = "Unschedulable"
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": str(ready)}, scheduled]}}


def test_pods_that_are_going_are_not_counted() -> None:
    node = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    dead = {"metadata": {"name": "d"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    pods = [pod(True), pod(True, deleting=True), pod(False), pod(False, unschedulable=True), {"metadata": {}}]
    assert state_of(1.0, {"spec": {"replicas": 4}}, pods, [node, dead], 2) == State(1.0, 4, 1, 1, 1, 2)
    assert state_of(1.0, None, [], [], 0) == State(1.0)


def test_lines_of_the_load_are_seconds_and_at_last_the_whole() -> None:
    tally = Tally()
    for number in range(100):
        tally.answered("a" if number % 2 else "b", float(number))
    tally.sent = 103
    for _ in range(3):
        tally.fail("reset")
    said = json.loads(json.dumps(tally.as_json()))
    timeline = Timeline()
    take(timeline, {**said, "queued": 4}, 7.0)
    take(timeline, {**said, "seconds": 9.0}, 8.0)
    assert timeline.seconds == [Second(7.0, 100, 3, 50.0, 99.0, 2, 4)]
    assert timeline.outcome is not None
    (error,) = timeline.outcome.errors
    assert error.startswith("3 × reset, ")
    assert timeline.outcome == Outcome(103, 3, 50.0, 99.0, (error,))
    for number in range(9):
        tally.fail(f"kind {number}")
    told = tally.as_json()["errors"]
    assert isinstance(told, list) and len(told) == 6 and told[-1].startswith("5 × others")


@given(st.floats(1.6e9, 2e9), st.floats(1, 600))
def test_the_schedule_is_in_force_from_well_before_the_load_to_its_end(now_s: float, load_s: float) -> None:
    start_s, end_s = window(now_s, load_s)
    assert now_s + 4 < start_s <= now_s + 66 and start_s % 60 == end_s % 60 == 0
    assert AHEAD_S <= end_s - load_s - start_s < AHEAD_S + 60
    (trigger,) = triggers.parse(schedule(start_s, end_s)["spec"]["triggers"])
    assert isinstance(trigger, triggers.CronTrigger)
    active = [trigger.demand(at_s).active for at_s in (start_s - 1, start_s + 1, end_s - 1, end_s + 1)]
    assert active == [False, True, True, False]


def test_the_queues_scaler_scales_the_queues_workers() -> None:
    found = list(yaml.safe_load_all((EXAMPLES / "spike-queue.yaml").read_text(encoding="utf-8")))
    by_kind = {(item["kind"], item["metadata"]["name"]): item for item in found}
    spec = by_kind["ScaledObject", "worker"]["spec"]
    (trigger,) = triggers.parse(spec["triggers"])
    assert isinstance(trigger, triggers.RedisTrigger)
    assert trigger.host.split(".")[0] == "queue" and ("Service", "queue") in by_kind
    assert by_kind["Deployment", spec["scaleTargetRef"]["name"]]["spec"]["replicas"] == spec["minReplicaCount"] == 0
    assert ByQueue().app == spec["scaleTargetRef"]["name"]


def test_without_apt_the_queue_is_skipped_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(spec: object) -> None:
        raise AptError("Could not connect to deb.debian.org")

    monkeypatch.setattr(package_image, "build", unreachable)
    with pytest.raises(Skipped, match=r"deb\.debian\.org"):
        ByQueue().need()
    monkeypatch.setattr("sys.argv", ["spike", "--queue"])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert command.main() == 0
    said = capsys.readouterr().out
    assert said.startswith("queue in Redis: skipped, no image of Redis could be made: Could not connect")
