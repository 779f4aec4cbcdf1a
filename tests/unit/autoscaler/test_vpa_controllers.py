"""The vertical autoscaler over an API in memory: recommendations, checkpoints, evictions, and what new pods get."""

import asyncio
import base64
import json
from typing import Any

import pytest

from argosy.controller import Context, run_controllers
from argosy.host import rfc3339, rfc3339_micro
from argosy.objects import conditions, meta, selectors
from argosy.objects import status as errors
from argosy.objects.selectors import Selector
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.targets import UnknownKind
from control_plane.autoscaler.vertical.admission import patch
from control_plane.autoscaler.vertical.recommender import Recommender
from control_plane.autoscaler.vertical.targets import Selectors
from control_plane.autoscaler.vertical.updater import Updater
from control_plane.autoscaler.vertical.webhook import AdmissionWebhook
from tests.unit.controllers.world import World, deployment, run


class Metrics:
    """Measurements that a test sets, in the place of metrics.k8s.io."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cpu = "500m"
        self.memory = "200Mi"
        self.broken = False

    def of(self, pod: JsonObject) -> JsonObject:
        usage = {"cpu": self.cpu, "memory": self.memory}
        now = rfc3339(self._world.host.clock.now())
        metadata = {"name": meta.name(pod), "namespace": meta.namespace(pod)}
        return {
            "metadata": metadata,
            "timestamp": now,
            "window": "15s",
            "containers": [{"name": "app", "usage": usage}],
        }


class MeasuredRecommender(Recommender):
    metrics: Metrics

    async def _measurements(self, autoscalers: dict[str, JsonObject]) -> dict[str, JsonObject]:
        return {meta.key(pod): self.metrics.of(pod) for pod in self._pods.list()}


def autoscaler(mode: str = "Recreate", **spec: Any) -> JsonObject:
    return {
        "apiVersion": "autoscaling.k8s.io/v1",
        "kind": "VerticalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "updatePolicy": {"updateMode": mode}, **spec,
        },
    }  # fmt: skip


async def started(world: World, replicas: int = 3, kinds: tuple[Any, ...] = (MeasuredRecommender,)) -> Metrics:
    metrics = MeasuredRecommender.metrics = Metrics(world)
    world.controllers("deployment-controller", "replicaset-controller")
    world.kubelet()
    made = deployment(replicas=replicas)
    made["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m", "memory": "100Mi"}}
    world.api.put("deployments", made)
    await world.settle(20)
    for pod in world.api.all("pods"):
        world.api.change("pods", meta.key(pod), {"status": {"startTime": rfc3339(world.host.clock.now())}})
    work(world, kinds)
    return metrics


def work(world: World, kinds: tuple[Any, ...]) -> asyncio.Task[None]:
    context = Context(Config(api_servers=("api:6444",)), world.host, world.client)
    return world.start(run_controllers(context, kinds))


def found(world: World) -> JsonObject:
    item = world.api.one("verticalpodautoscalers", "default/web")
    assert item is not None
    return item


def target(world: World) -> JsonObject:
    (item,) = found(world)["status"]["recommendation"]["containerRecommendations"]
    return dict(item["target"])


def admitting(world: World) -> None:
    spec = {"renewTime": rfc3339_micro(world.host.clock.now() + 3600)}
    world.api.put(
        "leases", {"metadata": {"name": "vpa-admission-controller", "namespace": "kube-system"}, "spec": spec}
    )


def test_what_pods_use_is_recommended_and_kept() -> None:
    async def body(world: World) -> None:
        await started(world)
        world.api.put("verticalpodautoscalers", autoscaler("Off"))
        await world.settle(130)
        assert 575 <= int(target(world)["cpu"].removesuffix("m")) <= 620
        assert conditions.is_true(found(world), "RecommendationProvided")
        (checkpoint,) = world.api.all("verticalpodautoscalercheckpoints")
        assert meta.name(checkpoint) == "web-app"
        assert checkpoint["status"]["totalSamplesCount"] >= 6

    run(body)


def test_a_new_leader_goes_on_where_the_old_one_was() -> None:
    async def body(world: World) -> None:
        metrics = await started(world, kinds=())
        first = work(world, (MeasuredRecommender,))
        world.api.put("verticalpodautoscalers", autoscaler("Off"))
        await world.settle(3600)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        world.tasks.remove(first)
        metrics.cpu = "1m"
        work(world, (MeasuredRecommender,))
        await world.settle(130)
        assert int(target(world)["cpu"].removesuffix("m")) >= 575, "an hour of load outweighs two minutes of rest"

    run(body)


def test_a_target_that_is_not_there_is_named() -> None:
    async def body(world: World) -> None:
        await started(world)
        lost = autoscaler()
        lost["spec"]["targetRef"]["name"] = "nobody"
        world.api.put("verticalpodautoscalers", lost)
        await world.settle(70)
        said = conditions.get(found(world), "ConfigUnsupported")
        assert said is not None and said["status"] == "True" and "Cannot read targetRef" in said["message"]

    run(body)


def evictions(world: World) -> int:
    return sum(1 for call in world.api.calls if call[3] == "eviction")


def test_pods_far_from_their_recommendation_are_evicted_a_few_at_a_time() -> None:
    async def body(world: World) -> None:
        await started(world, 4, (MeasuredRecommender, Updater))
        admitting(world)
        world.api.put("verticalpodautoscalers", autoscaler("Recreate"))
        await world.settle(70)
        assert evictions(world) == 2, "half of the pods at once"
        assert len(world.events("EvictedByVPA")) == 2

    run(body)


def test_what_a_budget_refuses_is_left_and_tried_again_and_others_go() -> None:
    async def body(world: World) -> None:
        await started(world, 4, (MeasuredRecommender, Updater))
        admitting(world)
        old = {meta.name(pod): meta.uid(pod) for pod in world.api.all("pods")}
        held = sorted(old)[:3]

        def budget(verb: str, resource: str, obj: JsonObject) -> ApiError | None:
            if obj.get("kind") == "Eviction" and meta.name(obj) in held:
                message = "Cannot evict pod as it would violate the pod's disruption budget."
                return errors.status_error(429, "TooManyRequests", message)
            return None

        world.api.fail = budget
        world.api.put("verticalpodautoscalers", autoscaler("Recreate"))
        await world.settle(70)
        there = {meta.name(pod): meta.uid(pod) for pod in world.api.all("pods")}
        assert {name for name in old if there.get(name) == old[name]} == set(held)
        assert len(world.events("EvictedByVPA")) == 1
        held.clear()
        await world.settle(200)
        assert not {meta.uid(pod) for pod in world.api.all("pods")} & {*old.values()}

    run(body)


@pytest.mark.parametrize("mode", ["Off", "Initial"])
def test_other_modes_evict_nobody(mode: str) -> None:
    async def body(world: World) -> None:
        await started(world, 4, (MeasuredRecommender, Updater))
        admitting(world)
        world.api.put("verticalpodautoscalers", autoscaler(mode))
        await world.settle(300)
        assert evictions(world) == 0

    run(body)


def test_nobody_is_evicted_while_new_pods_would_not_get_it() -> None:
    async def body(world: World) -> None:
        await started(world, 4, (MeasuredRecommender, Updater))
        world.api.put("verticalpodautoscalers", autoscaler("Recreate"))
        await world.settle(300)
        assert evictions(world) == 0
        admitting(world)
        await world.settle(70)
        assert evictions(world) > 0, "it was for the webhook's sake"

    run(body)


def test_a_single_pod_is_left_alone() -> None:
    async def body(world: World) -> None:
        await started(world, 1, (MeasuredRecommender, Updater))
        admitting(world)
        world.api.put("verticalpodautoscalers", autoscaler("Recreate"))
        await world.settle(300)
        assert evictions(world) == 0

    run(body)


def test_many_new_pods_ask_for_a_target_once() -> None:
    async def body(world: World) -> None:
        await started(world, kinds=())
        world.api.put("verticalpodautoscalers", autoscaler())
        item, targets = found(world), Selectors(world.client, world.host.clock)
        for _ in range(5):
            assert (await targets.of(item)).matches({"app": "web"})
        world.api.remove("deployments", "default/web")
        assert (await targets.of(item)).matches({"app": "web"}), "a moment ago it was there"
        await world.settle(11)
        with pytest.raises(UnknownKind, match="Cannot read targetRef"):
            await targets.of(item)

    run(body)


RECOMMENDED = {"containerRecommendations": [{"containerName": "app", "target": {"cpu": "200m", "memory": "300"}}]}


def pod(**resources: Any) -> JsonObject:
    containers = [{"name": "side"}, {"name": "app", "resources": resources}]
    return {"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": {"containers": containers}}


def test_a_new_pod_gets_requests_and_limits_in_proportion() -> None:
    item = {**autoscaler("Initial"), "status": {"recommendation": RECOMMENDED}}
    note, change = patch(pod(requests={"cpu": "100m"}, limits={"cpu": "150m"}), item)
    assert change == {
        "op": "add",
        "path": "/spec/containers/1/resources",
        "value": {"requests": {"cpu": "200m", "memory": "300"}, "limits": {"cpu": "300m"}},
    }
    assert note["path"] == "/metadata/annotations"
    assert note["value"]["vpaUpdates"] == (
        "Pod resources updated by web: container 1: cpu request, memory request, cpu limit"
    )
    assert patch(pod(), {**item, "spec": {**item["spec"], "updatePolicy": {"updateMode": "Off"}}}) == []


def test_requests_only_leaves_limits_alone() -> None:
    policy = {"containerPolicies": [{"containerName": "*", "controlledValues": "RequestsOnly"}]}
    item = {**autoscaler(resourcePolicy=policy), "status": {"recommendation": RECOMMENDED}}
    change = patch(pod(limits={"cpu": "150m"}), item)[-1]
    assert change["value"] == {"limits": {"cpu": "150m"}, "requests": {"cpu": "150m", "memory": "300"}}


def test_the_webhook_answers_reviews_and_refuses_what_is_none() -> None:
    item = {**autoscaler(), "status": {"recommendation": RECOMMENDED}}
    lost = {**autoscaler(), "metadata": {"name": "lost", "namespace": "default"}}

    async def selector_of(each: JsonObject) -> Selector:
        if meta.name(each) == "lost":
            raise UnknownKind("gone")
        return selectors.parse("app=web")

    webhook = AdmissionWebhook(lambda namespace: [lost, item] if namespace == "default" else [], selector_of)

    async def body() -> None:
        review = {"request": {"uid": "u", "namespace": "default", "object": pod()}}
        answer = (await webhook.review(review))["response"]
        assert (answer["uid"], answer["allowed"], answer["patchType"]) == ("u", True, "JSONPatch")
        assert len(json.loads(base64.b64decode(answer["patch"]))) == 2
        elsewhere = {"request": {"uid": "u", "namespace": "other", "object": pod()}}
        assert (await webhook.review(elsewhere))["response"] == {"uid": "u", "allowed": True}
        with pytest.raises(ValueError, match="no AdmissionReview"):
            await webhook.review({"request": None})

    asyncio.run(body())
