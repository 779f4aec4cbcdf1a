"""The vertical autoscaler's mode InPlaceOrRecreate: who is resized, who waits, and who is evicted after all."""

from typing import Any

import pytest

from argosy.host import rfc3339
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.autoscaler.vertical.admission import resize
from control_plane.autoscaler.vertical.updater import Updater
from control_plane.autoscaler.vertical.updating import InPlace, in_place, is_disruptive, priority
from tests.unit.autoscaler.test_vpa_controllers import (
    MeasuredRecommender,
    admitting,
    autoscaler,
    evictions,
    found,
    pod,
    started,
    target,
)
from tests.unit.controllers.world import World, run

NOW = 1_000_000.0
MODE = "InPlaceOrRecreate"


def resizes(world: World) -> int:
    return sum(1 for call in world.api.calls if call[3] == "resize")


async def begun(world: World, replicas: int = 4, **spec: Any) -> None:
    await started(world, replicas, (MeasuredRecommender, Updater))
    admitting(world)
    world.api.put("verticalpodautoscalers", autoscaler(MODE, **spec))


def test_pods_are_resized_a_few_at_a_time_and_nobody_is_evicted() -> None:
    async def body(world: World) -> None:
        await begun(world)
        await world.settle(70)
        assert (resizes(world), evictions(world)) == (2, 0), "half of the pods at once"
        assert len(world.events("InPlaceResizedByVPA")) == 2
        changed = [
            item for item in world.api.all("pods") if meta.annotations(item).get("vpaInPlaceUpdated") == "true"
        ]
        assert [item["spec"]["containers"][0]["resources"]["requests"] for item in changed] == [target(world)] * 2
        await world.settle(120)
        assert (resizes(world), evictions(world)) == (4, 0)

    run(body)


def test_what_the_node_never_has_is_evicted() -> None:
    async def body(world: World) -> None:
        def fail(verb: str, resource: str, obj: JsonObject) -> errors.ApiError | None:
            grown = (
                resource == "pods"
                and verb == "patch"
                and meta.spec(obj)["containers"][0]["resources"]["requests"]["cpu"] != "100m"
            )
            return errors.forbidden("", "pods", meta.name(obj), "Node didn't have enough") if grown else None

        world.api.fail = fail
        await begun(world)
        await world.settle(70)
        assert (resizes(world), evictions(world)) == (2, 2)
        assert world.events("InPlaceResizedByVPA") == []

    run(body)


def test_an_api_server_that_is_away_evicts_nobody() -> None:
    async def body(world: World) -> None:
        def fail(verb: str, resource: str, obj: JsonObject) -> errors.ApiError | None:
            grown = (
                resource == "pods"
                and verb == "patch"
                and meta.spec(obj)["containers"][0]["resources"]["requests"]["cpu"] != "100m"
            )
            return errors.unavailable("not now") if grown else None

        world.api.fail = fail
        await begun(world)
        await world.settle(190)
        assert resizes(world) > 0
        assert evictions(world) == 0

    run(body)


@pytest.mark.parametrize(("reason", "waits_s"), [("Deferred", 300), ("Infeasible", 0)])
def test_a_resize_that_does_not_come_gives_way_to_an_eviction(reason: str, waits_s: int) -> None:
    async def body(world: World) -> None:
        await begun(world)
        await world.settle(70)
        now = rfc3339(world.host.clock.now())
        pending = {"type": "PodResizePending", "status": "True", "reason": reason, "lastTransitionTime": now}
        small = {"requests": {"cpu": "100m", "memory": "100Mi"}}
        for item in world.api.all("pods"):
            kept = [*meta.status(item)["conditions"], pending]
            told = {"conditions": kept, "containerStatuses": [{"name": "app", "resources": small}]}
            world.api.change("pods", meta.key(item), {"status": told})
        if waits_s:
            await world.settle(waits_s - 60)
            assert evictions(world) == 0
        await world.settle(130)
        assert evictions(world) > 0

    run(body)


@pytest.mark.parametrize("policy", [{}, {"minReplicas": 1}])
def test_a_single_pod_is_resized_only_when_its_workload_may_be_disturbed(policy: JsonObject) -> None:
    async def body(world: World) -> None:
        await begun(world, 1, updatePolicy={"updateMode": MODE, **policy})
        await world.settle(130)
        assert resizes(world) == (1 if policy else 0)
        assert evictions(world) == 0

    run(body)


def waiting(type_: str, age_s: float, reason: str = "", message: str = "", phase: str = "Running") -> JsonObject:
    condition = {"type": type_, "status": "True", "lastTransitionTime": rfc3339(NOW - age_s)}
    condition |= {key: text for key, text in (("reason", reason), ("message", message)) if text}
    return {"spec": {"containers": []}, "status": {"phase": phase, "conditions": [condition]}}


@pytest.mark.parametrize(
    ("made", "disruptable", "expected"),
    [
        (waiting("Ready", 0), True, InPlace.RESIZE),
        (waiting("Ready", 0), False, InPlace.WAIT),
        (waiting("Ready", 0, phase="Pending"), True, InPlace.WAIT),
        (waiting("PodResizePending", 299, "Deferred"), True, InPlace.WAIT),
        (waiting("PodResizePending", 301, "Deferred"), True, InPlace.EVICT),
        (waiting("PodResizePending", 301, "Deferred"), False, InPlace.WAIT),
        (waiting("PodResizePending", 0, "Infeasible"), True, InPlace.EVICT),
        (waiting("PodResizePending", 0, "Unheard"), True, InPlace.EVICT),
        (waiting("PodResizeInProgress", 3599), True, InPlace.WAIT),
        (waiting("PodResizeInProgress", 3601), True, InPlace.EVICT),
        (waiting("PodResizeInProgress", 1, "Error", "busy"), True, InPlace.EVICT),
    ],
)
def test_what_is_done_about_a_pod(made: JsonObject, disruptable: bool, expected: InPlace) -> None:
    assert in_place(made, NOW, disruptable=disruptable) is expected


def test_the_patch_changes_what_is_recommended_and_nothing_else() -> None:
    recommended = {"containerRecommendations": [{"containerName": "app", "target": {"cpu": "200m", "memory": "300"}}]}
    item = {**autoscaler(MODE), "status": {"recommendation": recommended}}
    made = pod(requests={"cpu": "100m"}, limits={"cpu": "150m"})
    change = resize(made, item)
    assert change is not None
    assert change["spec"]["containers"] == [
        {"name": "app", "resources": {"requests": {"cpu": "200m", "memory": "300"}, "limits": {"cpu": "300m"}}}
    ]
    assert resize(made, autoscaler(MODE)) is None


def test_what_a_pod_has_counts_and_not_what_it_asks_for() -> None:
    bounds = {"target": {"cpu": "500m"}, "lowerBound": {"cpu": "400m"}, "upperBound": {"cpu": "600m"}}
    listed = [{"containerName": "app", **bounds}]
    made = pod(requests={"cpu": "500m"})
    assert not priority(made, listed).outside
    small = {"name": "app", "resources": {"requests": {"cpu": "100m"}}}
    assert priority({**made, "status": {"containerStatuses": [small]}}, listed).outside


def test_a_policy_that_restarts_is_disruptive() -> None:
    made = pod()
    assert not is_disruptive(made)
    made["spec"]["containers"][0]["resizePolicy"] = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    assert is_disruptive(made)


def test_the_mode_recommends_as_others_do() -> None:
    async def body(world: World) -> None:
        await begun(world)
        await world.settle(70)
        assert found(world)["status"]["recommendation"]["containerRecommendations"]

    run(body)
