"""Small rules of upstream's that a user would miss: each was once found missing here."""

from typing import Any

from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import pods
from control_plane.controllers.namespace import Remains, deletion_conditions
from tests.unit.controllers.world import World, deployment, pod, ready_status, replica_set, run


def test_pods_on_their_way_out_are_counted() -> None:
    async def body(world: World) -> None:
        world.controllers("deployment-controller", "replicaset-controller")
        world.kubelet()
        world.api.put("deployments", deployment())
        await world.settle(10)
        world.api.change("deployments", "default/web", {"spec": {"replicas": 1}})
        await world.settle(0.5)
        for resource in ("replicasets", "deployments"):
            [found] = world.api.all(resource)
            assert meta.status(found)["terminatingReplicas"] == 2
        await world.settle(5)
        for resource in ("replicasets", "deployments"):
            [found] = world.api.all(resource)
            assert meta.status(found)["terminatingReplicas"] == 0

    run(body)


def test_a_pod_that_never_ends_holds_nothing_up() -> None:
    async def body(world: World) -> None:
        world.controllers("replicaset-controller")
        world.api.put("replicasets", replica_set(replicas=2))
        await world.settle(2)
        stuck = world.api.all("pods")[0]
        metadata = {"deletionTimestamp": rfc3339(world.host.clock.now()), "finalizers": ["example.com/never"]}
        world.api.change("pods", meta.key(stuck), {"metadata": metadata})
        await world.settle(5)
        assert len([each for each in world.api.all("pods") if pods.is_active(each)]) == 2
        assert meta.status(world.api.all("replicasets")[0])["terminatingReplicas"] == 1

    run(body)


def test_a_deployment_that_selects_everything_is_observed_at_least() -> None:
    async def body(world: World) -> None:
        world.controllers("deployment-controller")
        world.api.put("deployments", deployment(selector={}))
        await world.settle(2)
        assert world.events("SelectingAll")
        assert meta.status(world.api.all("deployments")[0])["observedGeneration"] == 1

    run(body)


def test_restarts_of_sidecars_count_after_those_of_containers() -> None:
    def made(name: str, own: int, sidecar: int) -> JsonObject:
        spec: JsonObject = {"initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]}
        status = {
            "phase": "Running",
            "containerStatuses": [{"name": "app", "restartCount": own}],
            "initContainerStatuses": [{"name": "s", "restartCount": sidecar}, {"name": "i", "restartCount": 99}],
        }
        return pod(name, node="n", spec=spec, status=status)

    calm, busy, sidecar = made("calm", 0, 0), made("busy", 1, 0), made("sidecar", 0, 5)
    order = pods.deletion_order([calm, sidecar, busy], [], 0.0)
    assert [meta.name(each) for each in order] == ["busy", "sidecar", "calm"]


def node(taints: list[JsonObject]) -> JsonObject:
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}, "spec": {"taints": taints}}


TOLERANT: JsonObject = {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
BY_HAND: JsonObject = {"key": "k", "value": "v", "effect": "NoExecute"}
"""As kubectl writes it: without a time."""


def running(world: World, name: str = "web", **spec: Any) -> JsonObject:
    made = pod(name, node="n", spec={"tolerations": [TOLERANT], **spec}, **ready_status(world.host))
    made["status"]["startTime"] = rfc3339(world.host.clock.now())
    return made


def test_a_taint_without_a_time_is_tolerated_from_when_it_is_seen() -> None:
    async def body(world: World) -> None:
        world.controllers("taint-eviction-controller")
        world.api.put("nodes", node([]))
        world.api.put("pods", running(world))
        await world.settle(3600)
        world.api.put("nodes", node([BY_HAND]))
        await world.settle(50)
        assert not meta.is_deleting(world.api.all("pods")[0])
        assert world.events("TaintManagerEviction") == [], "it says so when it does so"
        world.api.change("nodes", "n", {"metadata": {"labels": {"a": "b"}}})
        await world.settle(15)
        assert meta.is_deleting(world.api.all("pods")[0])
        assert world.events("TaintManagerEviction") == ["Marking for deletion Pod default/web"]

    run(body)


def test_a_condition_written_from_a_lagging_cache_undoes_nothing() -> None:
    async def body(world: World) -> None:
        stale = world.api.put("pods", running(world))
        later = {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}
        world.api.change("pods", "default/web", {"status": {"conditions": [later]}})
        target = conditions.make("DisruptionTarget", True, rfc3339(world.host.clock.now()))
        await pods.write_conditions(world.client.resource("", "v1", "pods"), stale, [target])
        found = world.api.all("pods")[0]
        assert conditions.is_true(found, "DisruptionTarget")
        assert not conditions.is_true(found, "Ready")

    run(body)


def test_a_namespace_counts_what_it_could_not_delete() -> None:
    found = deletion_conditions(Remains(errors=["secrets.: no", "pods.: no"]), "t")
    [failure] = [each for each in found if each["type"] == "NamespaceDeletionContentFailure"]
    assert (failure["status"], failure["reason"], failure["message"]) == (
        "True",
        "ContentDeletionFailed",
        "Failed to delete all resource types, 2 remaining: pods.: no, secrets.: no",
    )
