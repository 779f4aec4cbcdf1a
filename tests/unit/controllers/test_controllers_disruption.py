"""Whose pods a budget counts, what an eviction says, and what becomes of disruptions that do not happen."""

from typing import Any

import pytest

from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import disruption
from tests.sim.virtual import EPOCH_S
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.test_controllers_policy import BUDGETS, budget
from tests.unit.controllers.world import pod, template

RUNNING = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


async def status(cluster: Cluster) -> JsonObject:
    found = await cluster.get(BUDGETS, "default/web")
    assert found is not None
    return meta.status(found)


async def evict(cluster: Cluster, name: str, **options: Any) -> None:
    eviction = {
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"},
        "deleteOptions": options,
    }  # fmt: skip
    await cluster.resource("pods").create(eviction, name=name, subresource="eviction")


async def owned(cluster: Cluster, owner: JsonObject, *names: str, ready: bool = True) -> None:
    """Running pods that `owner` controls."""
    for name in names:
        made = pod(name, node="a", metadata={"ownerReferences": [meta.owner_reference(owner)]})
        await cluster.create("pods", made)
        await cluster.patch(
            "pods", f"default/{name}", {"status": RUNNING if ready else {"phase": "Running"}}, "status"
        )


@pytest.mark.parametrize("kind", ["StatefulSet", "ReplicationController"])
def test_other_workloads_have_a_scale_too(kind: str) -> None:
    async def body(cluster: Cluster) -> None:
        core = kind == "ReplicationController"
        resource = "replicationcontrollers" if core else "statefulsets.apps"
        cluster.controllers("disruption-controller")
        await cluster.settle(1)
        labels = {"app": "web"}
        owner = await cluster.create(
            resource,
            {
                "apiVersion": "v1" if core else "apps/v1", "kind": kind,
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {
                    "replicas": 4, "template": template(),
                    "selector": labels if core else {"matchLabels": labels},
                    **({} if core else {"serviceName": "web"}),
                },
            },
        )  # fmt: skip
        await owned(cluster, owner, "web-0", "web-1", "web-2")
        await cluster.create(BUDGETS, budget(maxUnavailable=2))
        await cluster.settle(5)
        found = await status(cluster)
        assert (found["expectedPods"], found["desiredHealthy"], found["disruptionsAllowed"]) == (4, 2, 1)
        await cluster.patch(resource, "default/web", {"spec": {"replicas": 3}})
        await cluster.settle(5)
        found = await status(cluster)
        assert (found["expectedPods"], found["desiredHealthy"], found["disruptionsAllowed"]) == (3, 1, 2)

    run(body)


def definition() -> JsonObject:
    replicas = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    version = {
        "name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": replicas, "status": replicas}}},
        "subresources": {
            "status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
    }  # fmt: skip
    names = {"plural": "rollouts", "singular": "rollout", "kind": "Rollout", "listKind": "RolloutList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }  # fmt: skip


def test_an_owner_of_any_kind_counts_by_its_scale() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("disruption-controller")
        await cluster.create("customresourcedefinitions.apiextensions.k8s.io", definition())
        await cluster.settle(5)
        rollout = {
            "apiVersion": "example.com/v1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 5},
        }  # fmt: skip
        owner = await cluster.create("rollouts.example.com", rollout)
        await owned(cluster, owner, "a", "b", "c", "d")
        await cluster.create(BUDGETS, budget(minAvailable="60%"))
        await cluster.settle(5)
        found = await status(cluster)
        assert (found["expectedPods"], found["desiredHealthy"], found["disruptionsAllowed"]) == (5, 3, 1)

    run(body)


def test_a_job_has_no_scale_and_says_so() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("disruption-controller")
        await cluster.settle(1)
        spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}
        owner = await cluster.create(
            "jobs.batch",
            {
                "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "web", "namespace": "default"},
                "spec": {"template": {"spec": spec}},
            },
        )  # fmt: skip
        await owned(cluster, owner, "a", "b")
        await cluster.create(BUDGETS, budget(maxUnavailable=1))
        await cluster.settle(5)
        assert (await status(cluster)).get("disruptionsAllowed", 0) == 0
        [message] = await cluster.events("CalculateExpectedPodCountFailed")
        assert message.endswith("batch/v1, Resource=jobs does not implement the scale subresource")
        await cluster.patch(BUDGETS, "default/web", {"spec": {"maxUnavailable": None, "minAvailable": 1}})
        await cluster.settle(5)
        assert (await status(cluster))["disruptionsAllowed"] == 1, "a number needs no scale"

    run(body)


def test_an_evicted_pod_says_why_it_goes() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("disruption-controller")
        await cluster.settle(1)
        await cluster.create("pods", pod("web", node="a"))
        await cluster.patch("pods", "default/web", {"status": RUNNING}, "status")
        with pytest.raises(ApiError, match="UID in the precondition"):
            await evict(cluster, "web", preconditions={"uid": "other"})
        untouched = await cluster.get("pods", "default/web")
        assert untouched is not None and conditions.get(untouched, "DisruptionTarget") is None
        await evict(cluster, "web", dryRun=["All"])
        untouched = await cluster.get("pods", "default/web")
        assert untouched is not None and conditions.get(untouched, "DisruptionTarget") is None
        version = meta.resource_version(untouched)
        await evict(cluster, "web", preconditions={"resourceVersion": version})
        gone = await cluster.get("pods", "default/web")
        assert gone is not None and meta.is_deleting(gone)
        target = conditions.get(gone, "DisruptionTarget")
        assert target is not None
        assert (target["status"], target["reason"], target["message"]) == (
            "True", "EvictionByEvictionAPI", "Eviction API: evicting",
        )  # fmt: skip

    run(body)


@pytest.mark.parametrize(("policy", "goes"), [("AlwaysAllow", True), ("IfHealthyBudget", False), (None, False)])
def test_pods_that_are_not_healthy(policy: str | None, goes: bool) -> None:
    """Of a guarded application that is disrupted already they go only when the budget says so."""

    async def body(cluster: Cluster) -> None:
        cluster.controllers("disruption-controller")
        await cluster.settle(1)
        for name, ready in (("good", True), ("bad", False)):
            await cluster.create("pods", pod(name, node="a"))
            state = RUNNING if ready else {"phase": "Running"}
            await cluster.patch("pods", f"default/{name}", {"status": state}, "status")
        spec = {} if policy is None else {"unhealthyPodEvictionPolicy": policy}
        await cluster.create(BUDGETS, budget(minAvailable=2, **spec))
        await cluster.settle(5)
        if goes:
            await evict(cluster, "bad")
        else:
            with pytest.raises(ApiError) as refused:
                await evict(cluster, "bad")
            assert refused.value.code == 429
            [cause] = refused.value.status["details"]["causes"]
            assert cause["message"] == "The disruption budget web needs 2 healthy pods and has 1 currently"
        with pytest.raises(ApiError):
            await evict(cluster, "good")

    run(body)


def test_a_disruption_that_does_not_happen_is_over_after_two_minutes() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("disruption-controller")
        await cluster.settle(1)
        for name, reason in (("spared", "PreemptionByScheduler"), ("by-node", "TerminationByKubelet")):
            await cluster.create("pods", pod(name, node="a"))
            now = "2027-01-15T08:00:02Z"
            target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": now}
            await cluster.patch("pods", f"default/{name}", {"status": {"conditions": [target]}}, "status")

        async def targets() -> list[bool]:
            return [conditions.is_true(each, "DisruptionTarget") for each in await cluster.list("pods")]

        await cluster.settle(110)
        assert await targets() == [True, True]
        await cluster.settle(15)
        assert await targets() == [True, False]

    run(body)


def test_a_pod_that_is_bound_is_nominated_no_more() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("serviceaccount-controller")
        await cluster.settle(1)
        await cluster.create("pods", pod("web"))
        await cluster.patch("pods", "default/web", {"status": {"nominatedNodeName": "a"}}, "status")
        binding = {
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web", "namespace": "default"},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "a"},
        }  # fmt: skip
        await cluster.resource("pods").create(binding, name="web", subresource="binding")
        bound = await cluster.get("pods", "default/web")
        assert bound is not None and bound["spec"]["nodeName"] == "a"
        assert "nominatedNodeName" not in bound["status"]

    run(body)


def test_when_a_disruption_is_stale() -> None:
    def marked(**parts: Any) -> JsonObject:
        target = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2027-01-15T08:00:00Z"}
        return pod("p", status={"phase": "Running", "conditions": [{**target, **parts.pop("target", {})}]}, **parts)

    assert disruption.stale_in(marked(), EPOCH_S + 100) == 20
    assert disruption.stale_in(marked(), EPOCH_S + 1000) == 0
    assert disruption.stale_in(marked(target={"status": "False"}), EPOCH_S) is None
    assert disruption.stale_in(marked(metadata={"deletionTimestamp": "2027-01-15T08:00:00Z"}), EPOCH_S) is None
    assert disruption.stale_in(pod("p"), EPOCH_S) is None
