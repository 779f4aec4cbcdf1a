"""How fast an autoscaler changes the number of pods: windows, policies, limits (horizontal_test.go)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.objects.types import JsonObject
from control_plane.autoscaler.pods.behavior import DOWN, UP, Defaults, History, Verdict, normalise, tolerances

DEFAULTS = Defaults()


def decide(
    current: int,
    wanted: int,
    history: History | None = None,
    *,
    at: float = 1000.0,
    limits: tuple[int, int] = (1, 100),
    **behavior: Any,
) -> Verdict:
    found = {
        key: value for key, value in (("scaleUp", behavior.get("up")), ("scaleDown", behavior.get("down"))) if value
    }
    return normalise(current, wanted, limits, found or None, history or History(), DEFAULTS, at)


def rules(*policies: tuple[str, int, int], select: str = "Max", window: int = 0) -> JsonObject:
    return {
        "selectPolicy": select,
        "stabilizationWindowSeconds": window,
        "policies": [{"type": kind, "value": value, "periodSeconds": period} for kind, value, period in policies],
    }


ANY_UP = rules(("Percent", 1000, 15), ("Pods", 1000, 15))
ANY_DOWN = rules(("Percent", 100, 15))


def test_without_behavior_it_doubles_at_most_or_goes_to_four() -> None:
    assert decide(1, 50).replicas == 4
    found = decide(10, 50)
    assert (found.replicas, found.limited_reason) == (20, "ScaleUpLimit")
    assert decide(3, 5).replicas == 5


def test_without_behavior_the_highest_recommendation_of_five_minutes_holds() -> None:
    history = History()
    assert decide(5, 5, history, at=0).replicas == 5
    found = decide(5, 2, history, at=100)
    assert (found.replicas, found.able_reason) == (5, "ScaleDownStabilized")
    assert decide(5, 2, history, at=301).replicas == 2


def test_a_window_upwards_takes_the_lowest_recommendation() -> None:
    up = rules(("Percent", 1000, 15), window=60)
    history = History()
    assert decide(2, 2, history, at=0, up=up, down=ANY_DOWN).replicas == 2
    found = decide(2, 8, history, at=30, up=up, down=ANY_DOWN)
    assert (found.replicas, found.able_reason) == (2, "ScaleUpStabilized")
    assert decide(2, 8, history, at=61, up=up, down=ANY_DOWN).replicas == 8


@pytest.mark.parametrize(
    ("policies", "select", "current", "wanted", "expected"),
    [
        ((("Pods", 4, 15), ("Percent", 100, 15)), "Max", 10, 50, 20),
        ((("Pods", 4, 15), ("Percent", 100, 15)), "Min", 10, 50, 14),
        ((("Pods", 4, 15),), "Disabled", 10, 50, 10),
        ((("Percent", 10, 60),), "Max", 1, 50, 2),
    ],
)
def test_policies_upwards(
    policies: tuple[tuple[str, int, int], ...], select: str, current: int, wanted: int, expected: int
) -> None:
    assert decide(current, wanted, up=rules(*policies, select=select), down=ANY_DOWN).replicas == expected


@pytest.mark.parametrize(
    ("policies", "select", "expected"),
    [
        ((("Pods", 4, 15), ("Percent", 10, 15)), "Max", 16),
        ((("Pods", 4, 15), ("Percent", 10, 15)), "Min", 18),
        ((("Pods", 4, 15),), "Disabled", 20),
        ((("Percent", 100, 15),), "Max", 1),
    ],
)
def test_policies_downwards(policies: tuple[tuple[str, int, int], ...], select: str, expected: int) -> None:
    found = decide(20, 1, up=ANY_UP, down=rules(*policies, select=select))
    assert found.replicas == expected


def test_what_was_done_within_the_period_counts() -> None:
    up = rules(("Pods", 4, 60))
    history = History()
    assert decide(10, 50, history, at=0, up=up, down=ANY_DOWN).replicas == 14
    history.changed(10, 14, 0)
    found = decide(14, 50, history, at=30, up=up, down=ANY_DOWN)
    assert (found.replicas, found.limited_reason) == (14, "ScaleUpLimit")
    assert decide(14, 50, history, at=61, up=up, down=ANY_DOWN).replicas == 18


def test_limits_and_their_reasons() -> None:
    assert decide(5, 200, limits=(1, 6)).limited_reason == "TooManyReplicas"
    found = decide(5, 0, limits=(2, 6))
    assert (found.replicas, found.limited, found.limited_reason) == (2, True, "TooFewReplicas")
    found = decide(5, 6)
    assert (found.limited, found.limited_reason) == (False, "DesiredWithinRange")


def test_tolerances_of_each_direction() -> None:
    behavior = {"scaleUp": {"tolerance": "0.05"}, "scaleDown": {"tolerance": "300m"}}
    found = tolerances(behavior, DEFAULTS)
    assert (found.up, found.down) == (0.05, 0.3)
    assert found.cover(0.7) and not found.cover(1.06)


policy = st.tuples(st.sampled_from(("Pods", "Percent")), st.integers(1, 200), st.integers(1, 120))
scaling = st.builds(
    lambda policies, select, window: rules(*policies, select=select, window=window),
    st.lists(policy, min_size=1, max_size=3),
    st.sampled_from(("Max", "Min", "Disabled")),
    st.integers(0, 120),
)


@given(scaling, scaling, st.lists(st.tuples(st.integers(0, 120), st.integers(0, 60)), min_size=1, max_size=20))
def test_any_history_stays_within_the_limits_and_never_moves_the_other_way(
    up: JsonObject, down: JsonObject, wishes: list[tuple[int, int]]
) -> None:
    history, current, now = History(), 10, 0.0
    for wanted, later in wishes:
        now += later
        found = normalise(current, wanted, (2, 40), {UP: up, DOWN: down}, history, DEFAULTS, now)
        assert 2 <= found.replicas <= 40
        if wanted >= current:
            assert found.replicas >= current
        else:
            assert found.replicas <= current
        if found.replicas != current:
            history.changed(current, found.replicas, now)
            current = found.replicas
