"""The vertical autoscaler's pure parts: the histogram that forgets, recommendations, and which pods are made anew."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.host import rfc3339
from argosy.objects.types import JsonObject
from control_plane.autoscaler.vertical.histogram import CPU_BUCKETS, MEMORY_BUCKETS, DecayingHistogram
from control_plane.autoscaler.vertical.recommendation import (
    Amounts,
    Recommendation,
    container_recommendation,
    recommend,
    scaled_limits,
)
from control_plane.autoscaler.vertical.updating import evictable, priority, should_update
from control_plane.autoscaler.vertical.usage import Aggregate, Container

DAY_S = 86_400.0
NOW = 1_700_000_000.0


@given(st.floats(0, 999), st.floats(1, 100))
def test_a_percentile_is_at_most_a_bucket_too_high(value: float, weight: float) -> None:
    histogram = DecayingHistogram(CPU_BUCKETS)
    histogram.add(value, weight, NOW)
    found = histogram.percentile(0.9)
    assert value <= found * (1 + 1e-9)
    assert found <= max(CPU_BUCKETS.first, value * 1.05 + CPU_BUCKETS.first) * (1 + 1e-9)


@given(
    st.lists(st.tuples(st.floats(0.001, 100), st.floats(0, 30 * DAY_S)), min_size=1, max_size=30), st.floats(0.01, 1)
)
def test_percentiles_are_those_of_a_weighted_list(samples: list[tuple[float, float]], share: float) -> None:
    histogram = DecayingHistogram(CPU_BUCKETS)
    for value, at_s in samples:
        histogram.add(value, 1.0, at_s)
    weighed = sorted((CPU_BUCKETS.find(value), 2.0 ** (at_s / DAY_S)) for value, at_s in samples)
    total, sum_ = sum(weight for _, weight in weighed), 0.0
    wanted = set()
    for bucket, weight in weighed:
        sum_ += weight
        # Where the sum meets the share to within rounding either neighbour is right.
        if sum_ >= share * total * (1 - 1e-6):
            wanted.add(CPU_BUCKETS.start(bucket + 1))
        if sum_ >= share * total * (1 + 1e-6):
            break
    assert any(math.isclose(histogram.percentile(share), each) for each in wanted)


def test_the_past_weighs_half_as_much_each_half_life() -> None:
    histogram = DecayingHistogram(CPU_BUCKETS)
    histogram.add(4.0, 1.0, NOW)
    histogram.add(1.0, 1.0, NOW + 10 * DAY_S)
    assert histogram.percentile(0.9) < 1.1
    assert histogram.percentile(0.9999) > 4.0


def test_what_was_added_can_be_taken_back() -> None:
    histogram = DecayingHistogram(MEMORY_BUCKETS)
    histogram.add(1e9, 1.0, NOW)
    histogram.subtract(1e9, 1.0, NOW)
    assert histogram.is_empty and histogram.percentile(0.5) == 0.0


def test_a_checkpoint_brings_back_the_same() -> None:
    histogram, other = DecayingHistogram(CPU_BUCKETS), DecayingHistogram(CPU_BUCKETS)
    for index in range(100):
        histogram.add(index / 10, 1.0, NOW + index * 3600)
    other.restore(*histogram.checkpoint())
    for share in (0.1, 0.5, 0.9):
        assert math.isclose(histogram.percentile(share), other.percentile(share))
    with pytest.raises(ValueError, match="out of range"):
        other.restore({100_000: 1}, 1.0, NOW)


def measured(cores: float, memory: float, days: float) -> Aggregate:
    """Steady usage, measured once a minute."""
    aggregate, container = Aggregate(), Container()
    for minute in range(int(days * 1440) + 1):
        container.add_cpu(aggregate, cores, 1.0, NOW + minute * 60)
        container.add_memory(aggregate, memory, NOW + minute * 60)
    return aggregate


def test_steady_usage_is_recommended_with_a_margin_and_bounds_that_narrow() -> None:
    week = recommend(measured(1.0, 1e9, 7), 1)
    assert 1150 <= week.target.cpu_milli <= 1250
    assert 1.15e9 <= week.target.memory_bytes <= 1.25e9
    assert week.lower.cpu_milli > 0.99 * week.target.cpu_milli
    assert week.upper.cpu_milli < 1.2 * week.target.cpu_milli
    hour = recommend(measured(1.0, 1e9, 1 / 24), 1)
    assert hour.target == week.target
    assert hour.upper.cpu_milli > 20 * hour.target.cpu_milli


def test_small_pods_get_the_least_that_makes_sense() -> None:
    assert recommend(measured(0.001, 1e6, 1), 2).target == Amounts(13, 125_000_000)


def test_a_container_that_ran_out_of_memory_needs_more() -> None:
    aggregate, container = Aggregate(), Container()
    container.add_cpu(aggregate, 0.1, 0.1, NOW)
    container.add_memory(aggregate, 400e6, NOW)
    assert container.ran_out(aggregate, 512e6, NOW + 60)
    assert recommend(aggregate, 1).target.memory_bytes > (512e6 + (100 << 20)) * 1.15


def test_nonsense_is_not_counted() -> None:
    aggregate, container = Aggregate(), Container()
    assert not container.add_cpu(aggregate, math.nan, 1, NOW)
    assert not container.add_cpu(aggregate, -1, 1, NOW)
    assert not container.add_memory(aggregate, math.inf, NOW)
    assert container.add_cpu(aggregate, 1, 1, NOW)
    assert not container.add_cpu(aggregate, 1, 1, NOW), "the same measurement again"
    assert aggregate.samples == 1


RECOMMENDED = Recommendation(Amounts(100, 100 << 20), Amounts(200, 200 << 20), Amounts(400, 400 << 20))


def test_policies_bound_and_switch_off() -> None:
    policy = {"containerName": "*", "minAllowed": {"cpu": "250m"}, "maxAllowed": {"memory": "150Mi"}}
    spec = {"resourcePolicy": {"containerPolicies": [policy, {"containerName": "log", "mode": "Off"}]}}
    assert container_recommendation("web", RECOMMENDED, spec) == {
        "containerName": "web",
        "lowerBound": {"cpu": "250m", "memory": str(100 << 20)},
        "target": {"cpu": "250m", "memory": str(150 << 20)},
        "uncappedTarget": {"cpu": "200m", "memory": str(200 << 20)},
        "upperBound": {"cpu": "400m", "memory": str(150 << 20)},
    }
    assert container_recommendation("log", RECOMMENDED, spec) is None
    only = {"resourcePolicy": {"containerPolicies": [{"containerName": "web", "controlledResources": ["memory"]}]}}
    found = container_recommendation("web", RECOMMENDED, only)
    assert found is not None and found["target"] == {"memory": str(200 << 20)}


def test_limits_keep_their_proportion() -> None:
    resources = {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "300m"}}
    assert scaled_limits(resources, {"cpu": "200m", "memory": "1"}) == {"cpu": "600m"}
    assert scaled_limits({"limits": {"cpu": "1"}}, {"cpu": "2"}) == {"cpu": "2"}
    assert scaled_limits({"limits": {"cpu": "1"}, "requests": {"cpu": "0"}}, {"cpu": "2"}) == {}


def pod(cpu: str, *, started_s: float = 0.0, **status: Any) -> JsonObject:
    container = {"name": "web", "resources": {"requests": {"cpu": cpu, "memory": str(200 << 20)}}}
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [container]},
        "status": {"startTime": rfc3339(NOW - started_s), **status},
    }


LIST = [container_recommendation("web", RECOMMENDED, {}) or {}]


@pytest.mark.parametrize(
    ("cpu", "age_s", "expected"),
    [
        ("50m", 60, True),  # below the lower bound
        ("500m", 60, True),  # above the upper bound
        ("150m", 60, False),  # within, and young
        ("150m", 13 * 3600, True),  # within, but old and far from its target
        ("195m", 13 * 3600, False),  # close to its target
    ],
)
def test_which_pods_are_made_anew(cpu: str, age_s: float, expected: bool) -> None:
    made = pod(cpu, started_s=age_s)
    assert should_update(made, priority(made, LIST), NOW) is expected


def test_one_that_ran_out_of_memory_at_once_does_not_wait() -> None:
    ended = {"reason": "OOMKilled", "startedAt": rfc3339(NOW - 90), "finishedAt": rfc3339(NOW - 60)}
    made = pod("150m", started_s=100, containerStatuses=[{"name": "web", "lastState": {"terminated": ended}}])
    assert should_update(made, priority(made, LIST), NOW)


def test_pods_that_need_more_come_first() -> None:
    ranks = {cpu: priority(pod(cpu), LIST).rank for cpu in ("50m", "150m", "800m")}
    assert sorted(ranks, key=lambda cpu: ranks[cpu], reverse=True) == ["50m", "150m", "800m"]


@pytest.mark.parametrize(
    ("replicas", "running", "evicted", "expected"),
    [
        (1, 1, 0, 0),
        (2, 2, 0, 1),
        (2, 1, 0, 0),
        (3, 3, 0, 1),
        (3, 3, 1, 0),
        (10, 10, 0, 5),
        (10, 7, 0, 2),
        (10, 4, 0, 0),
    ],
)
def test_never_too_many_at_once(replicas: int, running: int, evicted: int, expected: int) -> None:
    assert evictable(replicas, running, evicted) == expected
