"""The horizontal pod autoscaler over an API in memory: what it does to a Deployment, and what it says."""

import asyncio
from typing import Any, ClassVar

import pytest

from argosy.controller import Context, run_controllers
from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.pods.controller import HorizontalPodAutoscalerController
from control_plane.autoscaler.pods.replicas import CalculationError, Sample
from control_plane.autoscaler.pods.sources import ApiMetrics
from tests.unit.controllers.world import World, deployment, run


class SetMetrics(ApiMetrics):
    """Metrics that a test sets."""

    usage_milli: ClassVar[int] = 0
    values: ClassVar[dict[str, int]] = {}
    broken: ClassVar[str] = ""
    asked: ClassVar[list[tuple[str, str]]] = []
    """Names of metrics, with the container or the labels."""

    async def resource(self, namespace: str, selector: str, resource: str, container: str) -> dict[str, Sample]:
        if self.broken:
            raise CalculationError(self.broken)
        self.asked.append((resource, container))
        found = await self._client.resource("", "v1", "pods").list(namespace=namespace, labels=selector)
        now = self._clock.now()
        return {meta.name(pod): Sample(self.usage_milli, now, 15) for pod in found.items}

    async def of_pods(self, namespace: str, selector: str, metric: str, labels: str) -> dict[str, Sample]:
        return await self.resource(namespace, selector, metric, labels)

    async def of_object(self, namespace: str, resource: str, name: str, metric: str, labels: str) -> int:
        return self._value(f"{resource}/{name}/{metric}")

    async def external(self, namespace: str, metric: str, labels: str) -> int:
        return self._value(f"{metric}{{{labels}}}")

    def _value(self, key: str) -> int:
        if key not in self.values:
            raise CalculationError(f"there is no {key}")
        return self.values[key]


class Autoscaler(HorizontalPodAutoscalerController):
    metrics_source = SetMetrics


def cpu(percent: int) -> JsonObject:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def autoscaler(name: str = "web", least: int = 1, most: int = 10, *metrics: JsonObject, **spec: Any) -> JsonObject:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "scaleTargetRef": reference, "minReplicas": least, "maxReplicas": most,
            "metrics": list(metrics) or [cpu(50)], **spec,
        },
    }  # fmt: skip


def started_long_ago(world: World) -> None:
    """All pods, so that their CPU counts."""
    for pod in world.api.all("pods"):
        world.api.change("pods", meta.key(pod), {"status": {"startTime": rfc3339(world.host.clock.now() - 900)}})


async def started(world: World, replicas: int = 2, **config: Any) -> None:
    SetMetrics.usage_milli, SetMetrics.broken, SetMetrics.values, SetMetrics.asked = 0, "", {}, []
    world.controllers("deployment-controller", "replicaset-controller")
    world.kubelet()
    made = deployment(replicas=replicas)
    made["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    world.api.put("deployments", made)
    await world.settle(20)
    started_long_ago(world)
    context = Context(Config(api_servers=("api:6444",), **config), world.host, world.client)
    world.start(run_controllers(context, [Autoscaler]))


def status(world: World, name: str = "web") -> JsonObject:
    found = world.api.one("horizontalpodautoscalers", f"default/{name}")
    assert found is not None
    return found


def condition(world: World, type_: str, name: str = "web") -> tuple[str, str]:
    found = conditions.get(status(world, name), type_)
    assert found is not None
    return found["status"], found["reason"]


def replicas(world: World) -> int:
    found = world.api.one("deployments", "default/web")
    assert found is not None
    return int(found["spec"]["replicas"])


def test_more_load_makes_more_pods_and_says_so() -> None:
    async def body(world: World) -> None:
        await started(world)
        SetMetrics.usage_milli = 900
        world.api.put("horizontalpodautoscalers", autoscaler())
        await world.settle(3)
        assert replicas(world) == 4
        assert world.events("SuccessfulRescale") == [
            "New size: 4; reason: cpu resource utilization (percentage of request) above target"
        ]
        assert condition(world, "AbleToScale") == ("True", "SucceededRescale")
        assert condition(world, "ScalingActive") == ("True", "ValidMetricFound")
        assert condition(world, "ScalingLimited") == ("False", "DesiredWithinRange")
        found = status(world)["status"]
        assert (found["currentReplicas"], found["desiredReplicas"]) == (2, 4)
        assert found["currentMetrics"] == [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "current": {"averageUtilization": 90, "averageValue": "900m"}},
            }
        ]
        assert found["lastScaleTime"]

    run(body)


HALF: JsonObject = {"type": "Utilization", "averageUtilization": 50}
RATE: JsonObject = {"name": "rate", "selector": {"matchLabels": {"code": "500"}}}


@pytest.mark.parametrize(
    ("kind", "field", "spec", "asked", "reason", "current"),
    [
        (
            "ContainerResource", "containerResource", {"name": "cpu", "container": "app", "target": HALF},
            ("cpu", "app"), "cpu container resource utilization (percentage of request) above target",
            {"name": "cpu", "container": "app", "current": {"averageUtilization": 90, "averageValue": "900m"}},
        ),
        (
            "Pods", "pods", {"metric": RATE, "target": {"type": "AverageValue", "averageValue": "450m"}},
            ("rate", "code=500"), "pods metric rate above target",
            {"metric": RATE, "current": {"averageValue": "900m"}},
        ),
    ],
)  # fmt: skip
def test_the_usage_of_one_container_and_the_average_of_a_pods_metric(
    kind: str, field: str, spec: JsonObject, asked: tuple[str, str], reason: str, current: JsonObject
) -> None:
    async def body(world: World) -> None:
        await started(world)
        SetMetrics.usage_milli = 900
        world.api.put("horizontalpodautoscalers", autoscaler("web", 1, 10, {"type": kind, field: spec}))
        await world.settle(3)
        assert replicas(world) == 4
        assert {*SetMetrics.asked} == {asked}
        assert world.events("SuccessfulRescale") == [f"New size: 4; reason: {reason}"]
        assert status(world)["status"]["currentMetrics"] == [{"type": kind, field: current}]

    run(body)


def test_less_load_makes_fewer_pods_after_the_window() -> None:
    async def body(world: World) -> None:
        await started(world, 4)
        SetMetrics.usage_milli = 100
        world.api.put("horizontalpodautoscalers", autoscaler())
        await world.settle(240)
        assert replicas(world) == 4
        assert condition(world, "AbleToScale") == ("True", "ScaleDownStabilized")
        await world.settle(90)
        assert replicas(world) == 1
        assert world.events("SuccessfulRescale") == ["New size: 1; reason: All metrics below target"]

    run(body)


def test_it_holds_while_metrics_are_away_and_says_why() -> None:
    async def body(world: World) -> None:
        await started(world, 3)
        SetMetrics.broken = "unable to get metrics for resource cpu: no metrics returned from resource metrics API"
        world.api.put("horizontalpodautoscalers", autoscaler())
        await world.settle(400)
        assert replicas(world) == 3
        assert condition(world, "ScalingActive") == ("False", "FailedGetResourceMetric")
        message = "failed to get cpu utilization: " + SetMetrics.broken
        assert world.events("FailedGetResourceMetric") == [message]
        assert world.events("FailedComputeMetricsReplicas") == [
            f"invalid metrics (1 invalid out of 1), first error is: {message}"
        ]
        SetMetrics.broken, SetMetrics.usage_milli = "", 900
        await world.settle(20)
        assert replicas(world) == 6

    run(body)


def test_of_several_metrics_the_largest_counts_and_a_broken_one_stops_only_the_way_down() -> None:
    queue = {
        "type": "External",
        "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}},
    }

    async def body(world: World) -> None:
        await started(world, 2)
        SetMetrics.usage_milli = 500
        SetMetrics.values = {"queue{}": 35_000}
        world.api.put("horizontalpodautoscalers", autoscaler("web", 1, 10, cpu(50), queue))
        await world.settle(3)
        assert replicas(world) == 4
        assert world.events("SuccessfulRescale") == ["New size: 4; reason: external metric queue() above target"]
        SetMetrics.values, SetMetrics.usage_milli = {}, 0
        await world.settle(400)
        assert replicas(world) == 4
        started_long_ago(world)
        SetMetrics.usage_milli = 900
        await world.settle(20)
        assert replicas(world) == 8

    run(body)


def test_it_keeps_within_its_own_limits_whatever_the_metrics_say() -> None:
    async def body(world: World) -> None:
        await started(world, 2)
        SetMetrics.broken = "gone"
        world.api.put("horizontalpodautoscalers", autoscaler("web", 3, 5))
        await world.settle(3)
        assert replicas(world) == 3
        assert world.events("SuccessfulRescale") == [
            "New size: 3; reason: Current number of replicas below Spec.MinReplicas"
        ]
        world.api.change("deployments", "default/web", {"spec": {"replicas": 9}})
        await world.settle(20)
        assert replicas(world) == 5

    run(body)


def test_a_target_at_zero_is_left_alone() -> None:
    async def body(world: World) -> None:
        await started(world, 0)
        SetMetrics.usage_milli = 900
        world.api.put("horizontalpodautoscalers", autoscaler())
        await world.settle(40)
        assert replicas(world) == 0
        assert condition(world, "ScalingActive") == ("False", "ScalingDisabled")

    run(body)


def test_a_missing_target_and_an_unknown_kind_are_named() -> None:
    async def body(world: World) -> None:
        await started(world)
        lost = autoscaler("lost")
        lost["spec"]["scaleTargetRef"]["name"] = "nobody"
        odd = autoscaler("odd")
        odd["spec"]["scaleTargetRef"]["kind"] = "Gadget"
        world.api.put("horizontalpodautoscalers", lost)
        world.api.put("horizontalpodautoscalers", odd)
        await world.settle(5)
        assert condition(world, "AbleToScale", "lost") == ("False", "FailedGetScale")
        assert condition(world, "AbleToScale", "odd") == ("False", "FailedGetScale")
        assert 'no matches for kind "Gadget" in group "apps"' in world.events("FailedGetScale")

    run(body)


def test_two_autoscalers_of_the_same_pods_do_nothing() -> None:
    async def body(world: World) -> None:
        await started(world)
        world.api.put("horizontalpodautoscalers", autoscaler("one"))
        world.api.put("horizontalpodautoscalers", autoscaler("two"))
        await asyncio.sleep(5)
        SetMetrics.usage_milli = 900
        await world.settle(40)
        assert replicas(world) == 2
        assert condition(world, "ScalingActive", "one") == ("False", "AmbiguousSelector")
        assert condition(world, "ScalingActive", "two") == ("False", "AmbiguousSelector")

    run(body)
