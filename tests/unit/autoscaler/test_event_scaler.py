"""The event-driven scaler: triggers, decisions, and the controller over an API in memory."""

from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.controller import Context, run_controllers
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.events.controller import ScaledObjectController
from control_plane.autoscaler.events.queues import QueueError, Queues
from control_plane.autoscaler.events.scaling import Limits, decide
from control_plane.autoscaler.events.triggers import (
    IDLE,
    CronTrigger,
    Demand,
    RedisTrigger,
    TriggerError,
    parse,
)
from tests.unit.controllers.world import World, deployment, run

WINDOW = {"stabilizationWindowSeconds": 30}
REDIS = {"type": "redis", "metadata": {"address": "redis.default.svc:6379", "listName": "jobs", "listLength": "10"}}
CRON = {
    "type": "cron",
    "metadata": {"timezone": "Europe/Berlin", "start": "0 8 * * 1-5", "end": "0 18 * * 1-5", "desiredReplicas": "6"},
}


def test_a_queue_asks_for_a_replica_for_each_portion() -> None:
    (trigger,) = parse([REDIS])
    assert isinstance(trigger, RedisTrigger)
    assert (trigger.host, trigger.port, trigger.per_replica) == ("redis.default.svc", 6379, 10)
    assert [trigger.demand(length) for length in (0, 1, 10, 11)] == [
        IDLE, Demand(1, True), Demand(1, True), Demand(2, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("when", "active"),
    [
        (datetime(2026, 11, 24, 6, 59, 59, tzinfo=UTC), False),  # Tuesday, 7:59:59 in Berlin
        (datetime(2026, 11, 24, 7, 0, 1, tzinfo=UTC), True),
        (datetime(2026, 11, 24, 16, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 24, 17, 0, 1, tzinfo=UTC), False),
        (datetime(2026, 11, 28, 12, tzinfo=UTC), False),  # Saturday
        (datetime(2026, 7, 1, 6, 0, 1, tzinfo=UTC), True),  # summer time
    ],
)
def test_a_schedule_is_in_its_own_time_zone(when: datetime, active: bool) -> None:
    (trigger,) = parse([CRON])
    assert isinstance(trigger, CronTrigger)
    assert trigger.demand(when.timestamp()) == (Demand(6, True) if active else IDLE)


@pytest.mark.parametrize(
    ("trigger", "failure"),
    [
        ({"type": "kafka", "metadata": {}}, "type: 'kafka' is not supported"),
        ({**REDIS, "metadata": {"listName": "x"}}, "metadata.address is required"),
        ({**REDIS, "metadata": {"address": "redis", "listName": "x"}}, "metadata.address must be HOST:PORT"),
        ({**REDIS, "metadata": {**REDIS["metadata"], "enableTLS": "true"}}, "metadata.enableTLS is not"),
        ({**REDIS, "metadata": {**REDIS["metadata"], "listLength": "0"}}, "metadata.listLength must be"),
        ({**CRON, "metadata": {**CRON["metadata"], "timezone": "Mars"}}, "metadata.timezone: "),
        ({**CRON, "metadata": {**CRON["metadata"], "start": "never"}}, "metadata.start: "),
    ],
)
def test_what_cannot_be_is_refused_by_name(trigger: dict[str, Any], failure: str) -> None:
    with pytest.raises(TriggerError) as found:
        parse([trigger])
    assert str(found.value).startswith(f"spec.triggers[0].{failure}")


LIMITS = Limits(0, 10, 300.0)


@pytest.mark.parametrize(
    ("current", "demands", "idle_s", "expected"),
    [
        (0, [Demand(3, True)], 0, 3),
        (2, [Demand(3, True), Demand(5, True)], 0, 5),
        (2, [Demand(30, True)], 0, 10),
        (5, [Demand(2, True)], 0, 2),
        (3, [IDLE], 100, 3),  # cooling down
        (3, [IDLE], 301, 0),
        (0, [IDLE], 0, 0),
        (3, [None], 1000, 3),  # cannot be asked: hold
        (3, [None, Demand(5, True)], 0, 5),  # up by what is known
        (3, [None, Demand(1, True)], 0, 3),  # not down
    ],
)
def test_decisions(current: int, demands: list[Demand | None], idle_s: float, expected: int) -> None:
    assert decide(current, demands, LIMITS, failures=1, idle_s=idle_s).replicas == expected


def test_the_fallback_counts_after_some_failures() -> None:
    limits = Limits(1, 10, 300.0, fallback=(3, 4))
    assert decide(1, [None], limits, failures=2, idle_s=0).replicas == 1
    found = decide(1, [None], limits, failures=3, idle_s=0)
    assert (found.replicas, found.fallback) == (4, True)


demands = st.one_of(st.none(), st.builds(Demand, st.integers(0, 10**6), st.booleans()))


@given(
    st.integers(0, 50),
    st.lists(demands, min_size=1, max_size=4),
    st.integers(0, 5),
    st.integers(5, 20),
    st.floats(0, 1e4),
)
def test_always_within_the_limits(
    current: int, asked: list[Demand | None], least: int, most: int, idle_s: float
) -> None:
    found = decide(min(current, most), asked, Limits(least, most, 300.0), failures=1, idle_s=idle_s)
    assert least <= found.replicas <= most
    if None in asked and current <= most:
        assert found.replicas >= min(current, most), "never down while something cannot be asked"


class SetQueues:
    """Lengths that a test sets; None: it cannot be asked."""

    jobs: int | None = 0

    async def length(self, trigger: RedisTrigger, host: str, port: int, password: str) -> int:
        assert (host, port) == ("10.244.0.7", 6379)
        if self.jobs is None:
            raise QueueError("redis.default.svc:6379: connection refused")
        return self.jobs


class Scaler(ScaledObjectController):
    queues: ClassVar[Queues] = SetQueues()


def scaled(**spec: Any) -> JsonObject:
    return {
        "apiVersion": "scaling.argosy.io/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "pollingInterval": 5,
            "cooldownPeriod": 60, "minReplicaCount": 0, "maxReplicaCount": 4, "triggers": [REDIS],
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": WINDOW}}}, **spec,
        },
    }  # fmt: skip


async def started(world: World) -> SetQueues:
    queues = SetQueues()
    Scaler.queues = queues
    world.api.put("deployments", deployment(replicas=0))
    world.api.put(
        "endpointslices",
        {
            "metadata": {"name": "r", "namespace": "default", "labels": {"kubernetes.io/service-name": "redis"}},
            "endpoints": [{"addresses": ["10.244.0.7"], "conditions": {"ready": True}}],
            "ports": [{"port": 6379}],
        },
    )
    world.start(run_controllers(Context(Config(api_servers=("api:6444",)), world.host, world.client), [Scaler]))
    return queues


async def at_work(world: World, jobs: int) -> SetQueues:
    """After the first poll, which found so many jobs."""
    queues = await started(world)
    queues.jobs = jobs
    world.api.put("scaledobjects", scaled())
    await world.settle(3)
    return queues


def replicas(world: World) -> int:
    found = world.api.one("deployments", "default/web")
    assert found is not None
    return int(meta.spec(found)["replicas"])


def condition(world: World, type_: str) -> tuple[str, str]:
    item = world.api.one("scaledobjects", "default/web")
    assert item is not None
    found = conditions.get(item, type_)
    assert found is not None
    return found["status"], found["reason"]


def test_from_zero_with_the_first_item_and_back_after_the_cool_down() -> None:
    async def body(world: World) -> None:
        queues = await started(world)
        world.api.put("scaledobjects", scaled())
        await world.settle(12)
        assert replicas(world) == 0 and condition(world, "Active") == ("False", "ScalerNotActive")
        queues.jobs = 25
        await world.settle(6)
        assert replicas(world) == 3 and condition(world, "Active") == ("True", "ScalerActive")
        assert world.events("ScaleTargetActivated") == ["Scaled apps/v1.Deployment default/web from 0 to 3"]
        queues.jobs = 1000
        await world.settle(6)
        assert replicas(world) == 4
        queues.jobs = 0
        await world.settle(50)
        assert replicas(world) == 4
        await world.settle(20)
        assert replicas(world) == 0
        assert world.events("ScaleTargetDeactivated") == ["Scaled apps/v1.Deployment default/web from 4 to 0"]

    run(body)


def test_less_work_counts_once_its_window_is_over() -> None:
    async def body(world: World) -> None:
        queues = await at_work(world, 1000)
        assert replicas(world) == 4
        queues.jobs = 5
        await world.settle(20)
        assert replicas(world) == 4
        queues.jobs = 15
        await world.settle(6)
        queues.jobs = 5
        await world.settle(8)
        assert replicas(world) == 2, "the most that was asked for in the last 30 s"
        await world.settle(30)
        assert replicas(world) == 1

    run(body)


def test_it_holds_while_the_queue_is_away_and_says_so() -> None:
    async def body(world: World) -> None:
        queues = await at_work(world, 15)
        assert replicas(world) == 2
        queues.jobs = None
        await world.settle(300)
        assert replicas(world) == 2
        assert condition(world, "Ready") == ("False", "TriggerError")

    run(body)


def test_a_bad_trigger_and_a_missing_target_are_named() -> None:
    async def body(world: World) -> None:
        await started(world)
        bad = scaled(triggers=[{**REDIS, "metadata": {}}])
        world.api.put("scaledobjects", bad)
        await world.settle(3)
        assert condition(world, "Ready") == ("False", "ScaledObjectCheckFailed")
        assert world.events("ScaledObjectCheckFailed") == ["spec.triggers[0].metadata.address is required"]

    run(body)
