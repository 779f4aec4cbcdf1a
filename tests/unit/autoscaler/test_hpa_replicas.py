"""How many pods a metric asks for: cases of upstream (replica_calculator_test.go), and what must hold always."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.host import rfc3339
from argosy.objects.types import JsonObject
from control_plane.autoscaler.pods.replicas import (
    CalculationError,
    Readiness,
    Sample,
    Tolerances,
    by_average,
    by_utilization,
    by_value,
    by_value_per_pod,
)

NOW = 1_700_000_000.0
TOLERANCES = Tolerances()
READINESS = Readiness()


def pod(
    number: int,
    *,
    ready: bool = True,
    phase: str = "Running",
    started: float = 1000.0,
    request: str = "1",
    **more: Any,
) -> JsonObject:
    """`started` seconds ago; ready since 3 s after its start."""
    changed = rfc3339(NOW - started + 3)
    resources = {"requests": {"cpu": request, "memory": "100Mi"}} if request else {}
    return {
        "metadata": {"name": f"p{number}", "namespace": "default", **more},
        "spec": {"containers": [{"name": "c", "resources": resources}]},
        "status": {
            "phase": phase,
            "startTime": rfc3339(NOW - started),
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": changed}],
        },
    }


def used(*millis: int | None) -> dict[str, Sample]:
    return {f"p{i}": Sample(milli, NOW - 5, 15) for i, milli in enumerate(millis) if milli is not None}


def utilization(current: int, percent: int, pods: list[JsonObject], samples: dict[str, Sample]) -> int:
    return by_utilization(current, percent, "cpu", "", pods, samples, TOLERANCES, READINESS, NOW).replicas


@pytest.mark.parametrize(
    ("current", "percent", "usage", "wanted"),
    [
        (3, 30, (300, 500, 700), 5),  # 50 % of 30
        (3, 100, (1010, 1030, 1020), 3),  # within the tolerance
        (5, 50, (100, 300, 500, 250, 250), 3),  # 28 % of 50
        (1, 90, (990,), 1),  # 99 %: 1.1, just within
        (1, 90, (1000,), 2),
        (4, 50, (0, 0, 0, 0), 0),
    ],
)
def test_utilization(current: int, percent: int, usage: tuple[int, ...], wanted: int) -> None:
    assert utilization(current, percent, [pod(i) for i in range(len(usage))], used(*usage)) == wanted


def test_unready_pods_use_nothing_when_more_are_asked_for() -> None:
    pods = [pod(0, ready=False, started=20), pod(1), pod(2)]
    # Without the unready one: 600 % of 30 -> up; with it as 0: (500+700)/3 = 40 % of 30 -> 4.
    assert utilization(3, 30, pods, used(300, 500, 700)) == 4


def test_pods_without_metrics_use_their_request_when_fewer_are_asked_for() -> None:
    pods = [pod(i) for i in range(4)]
    # 3 pods at 20 % of 50 would halve; the fourth is thought to use 100 %: (60+100)/4 = 40 %, ratio 0.8 -> 4.
    assert utilization(4, 50, pods, used(200, 200, 200, None)) == 4
    # All but one idle: (0+0+0+100)/4 = 25 %, ratio 0.5 -> 2.
    assert utilization(4, 50, pods, used(0, 0, 0, None)) == 2


def test_pods_without_metrics_use_nothing_when_more_are_asked_for() -> None:
    pods = [pod(i) for i in range(3)]
    # Two at 90 % of 50: ratio 1.8; with the third as 0: 60 %, ratio 1.2 -> 4.
    assert utilization(3, 50, pods, used(900, 900, None)) == 4


def test_missing_pods_never_turn_the_decision_round() -> None:
    pods = [pod(i) for i in range(5)]
    # One pod at 40 % of 50 asks for fewer; four at 100 % would ask for more: nothing happens.
    assert utilization(5, 50, pods, used(400, None, None, None, None)) == 5


def test_failed_and_ending_pods_do_not_count() -> None:
    pods = [pod(0), pod(1), pod(2, phase="Failed"), pod(3, deletionTimestamp="2026-01-01T00:00:00Z")]
    assert utilization(2, 50, pods, used(500, 500, 5000, 5000)) == 2


def test_a_young_pod_counts_once_it_is_ready_for_a_window() -> None:
    starting = [pod(0), pod(1, started=10)]  # ready for 7 s, a sample covers 15
    assert utilization(2, 50, starting, used(500, 4000)) == 2
    settled = [pod(0), pod(1, started=60)]
    assert utilization(2, 50, settled, used(500, 4000)) == 9


def test_what_cannot_be_told_is_an_error() -> None:
    with pytest.raises(CalculationError, match="missing request for cpu in container c of Pod p0"):
        utilization(1, 50, [pod(0, request="")], used(100))
    with pytest.raises(CalculationError, match="did not receive metrics for targeted pods"):
        utilization(1, 50, [pod(0)], {})
    with pytest.raises(CalculationError, match="no pods returned by selector"):
        utilization(1, 50, [], used(100))
    with pytest.raises(CalculationError, match="container x not present in Pod p0"):
        by_utilization(1, 50, "cpu", "x", [pod(0)], used(100), TOLERANCES, READINESS, NOW)


def test_average_value() -> None:
    pods = [pod(i) for i in range(3)]
    assert by_average(3, 15_000, "", pods, used(20_000, 10_000, 30_000), TOLERANCES, READINESS, NOW).replicas == 4
    assert by_average(3, 20_000, "", pods, used(20_000, 10_000, 30_000), TOLERANCES, READINESS, NOW).replicas == 3


def test_values_of_objects_and_of_the_outside_world() -> None:
    pods = [pod(i) for i in range(3)]
    assert by_value(3, 15_000, 20_000, pods, TOLERANCES).replicas == 4
    assert by_value(0, 15_000, 20_000, [], TOLERANCES).replicas == 2
    assert by_value_per_pod(4, 50_000, 275_000, TOLERANCES).replicas == 6
    assert by_value_per_pod(4, 50_000, 210_000, TOLERANCES).replicas == 4


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 5000)), min_size=1, max_size=8),
    st.integers(1, 200),
)
def test_silence_of_some_pods_only_ever_damps(usage: list[int | None], percent: int) -> None:
    """With pods whose metrics are missing, the answer lies between the present number and what it is without them."""
    pods = [pod(i) for i in range(len(usage))]
    known = [i for i, milli in enumerate(usage) if milli is not None]
    if not known:
        return
    current = len(pods)
    with_all = utilization(current, percent, pods, used(*usage))
    alone = utilization(current, percent, [pods[i] for i in known], used(*usage))
    assert with_all >= 0
    if sum(usage[i] or 0 for i in known) * 100 // (1000 * len(known)) > percent:
        assert with_all >= current or alone < current
    else:
        assert with_all <= current
