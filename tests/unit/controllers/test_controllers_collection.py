"""Garbage collection, namespaces and lost pods, against the real API server on a store in memory."""

from typing import Any

from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.world import deployment, pod, replica_set

GC = "garbage-collector-controller"


def config_map(name: str, *owners: JsonObject, block: bool = True, **metadata: Any) -> JsonObject:
    made: JsonObject = {"name": name, "namespace": "default", **metadata}
    if owners:
        made["ownerReferences"] = [meta.owner_reference(owner, controller=False, block=block) for owner in owners]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": made}


async def names(cluster: Cluster, namespace: str = "default") -> list[str]:
    return sorted(meta.name(each) for each in await cluster.list("configmaps", namespace))


async def family(cluster: Cluster) -> tuple[JsonObject, JsonObject, JsonObject]:
    """Grandparent, parent and child."""
    top = await cluster.create("configmaps", config_map("top"))
    middle = await cluster.create("configmaps", config_map("middle", top))
    return top, middle, await cluster.create("configmaps", config_map("leaf", middle))


def test_what_an_owner_leaves_behind_goes_in_the_background() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(GC)
        await family(cluster)
        await cluster.settle()
        assert await names(cluster) == ["leaf", "middle", "top"]
        await cluster.delete("configmaps", "default/top")
        assert "middle" in await names(cluster)
        await cluster.settle()
        assert await names(cluster) == []

    run(body)


def test_in_the_foreground_dependents_go_first() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(GC)
        top = await cluster.create("configmaps", config_map("top"))
        await cluster.create("configmaps", config_map("slow", top, finalizers=["example.com/hold"]))
        await cluster.create("configmaps", config_map("loose", top, block=False, finalizers=["example.com/hold"]))
        await cluster.create("configmaps", config_map("quick", top))
        await cluster.settle()
        await cluster.delete("configmaps", "default/top", propagation="Foreground")
        await cluster.settle(30)
        assert await names(cluster) == ["loose", "slow", "top"]
        await cluster.patch("configmaps", "default/slow", {"metadata": {"finalizers": None}})
        await cluster.settle()
        assert await names(cluster) == ["loose"]

    run(body)


def test_orphans_are_cut_loose_and_live() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(GC)
        await family(cluster)
        await cluster.settle()
        await cluster.delete("configmaps", "default/top", propagation="Orphan")
        await cluster.settle()
        assert await names(cluster) == ["leaf", "middle"]
        middle = await cluster.get("configmaps", "default/middle")
        assert middle is not None and meta.owner_references(middle) == []

    run(body)


def test_an_owner_that_never_was_is_asked_for_by_uid() -> None:
    async def body(cluster: Cluster) -> None:
        real = await cluster.create("configmaps", config_map("real"))
        impostor = {**real, "metadata": {**real["metadata"], "uid": "00000000-0000-4000-8000-000000000000"}}
        renamed = {**real, "metadata": {**real["metadata"], "name": "other"}}
        await cluster.create("configmaps", config_map("by-uid", impostor))
        await cluster.create("configmaps", config_map("by-name", renamed))
        await cluster.create("configmaps", config_map("right", real))
        cluster.controllers(GC)
        await cluster.settle()
        assert await names(cluster) == ["real", "right"]

    run(body)


def test_one_of_two_owners_is_enough_to_live() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(GC)
        a = await cluster.create("configmaps", config_map("a"))
        b = await cluster.create("configmaps", config_map("b"))
        await cluster.create("configmaps", config_map("shared", a, b))
        await cluster.settle()
        await cluster.delete("configmaps", "default/a")
        await cluster.settle()
        shared = await cluster.get("configmaps", "default/shared")
        assert shared is not None
        assert [ref["name"] for ref in meta.owner_references(shared)] == ["b"]
        await cluster.delete("configmaps", "default/b")
        await cluster.settle()
        assert await names(cluster) == []

    run(body)


def test_owners_of_unknown_kinds_and_cluster_scope() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(GC)
        node = await cluster.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
        foreign = {**node, "apiVersion": "example.com/v1", "kind": "Thing"}
        foreign["metadata"] = {**node["metadata"], "uid": "00000000-0000-4000-8000-000000000001"}
        await cluster.create("configmaps", config_map("of-node", node))
        await cluster.create("configmaps", config_map("of-thing", foreign))
        await cluster.settle()
        assert await names(cluster) == ["of-node", "of-thing"]
        await cluster.delete("nodes", "n")
        await cluster.settle(60)
        assert await names(cluster) == ["of-thing"]

    run(body)


def test_a_circle_in_the_foreground_ends() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(GC)
        a = await cluster.create("configmaps", config_map("a"))
        b = await cluster.create("configmaps", config_map("b", a))
        await cluster.patch(
            "configmaps",
            "default/a",
            {"metadata": {"ownerReferences": config_map("x", b)["metadata"]["ownerReferences"]}},
        )
        await cluster.settle()
        await cluster.delete("configmaps", "default/a", propagation="Foreground")
        await cluster.settle(30)
        assert await names(cluster) == []

    run(body)


def test_a_deployment_goes_with_all_its_pods() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(GC, "deployment-controller", "replicaset-controller")
        cluster.kubelet("a")
        await cluster.settle(1)
        for policy in ("Background", "Foreground"):
            await cluster.create("deployments.apps", deployment())
            await cluster.settle(10)
            assert len(await cluster.list("pods")) == 3
            await cluster.delete("deployments.apps", "default/web", propagation=policy)
            await cluster.settle(10)
            for resource in ("deployments.apps", "replicasets.apps", "pods"):
                assert await cluster.list(resource) == []

    run(body)


def test_a_namespace_empties_pods_first_and_says_what_keeps_it() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("namespace-controller", "replicaset-controller")
        cluster.kubelet("a")
        await cluster.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod"}})
        made = replica_set()
        made["metadata"]["namespace"] = "prod"
        await cluster.create("replicasets.apps", made)
        held = config_map("held", finalizers=["example.com/hold"])
        held["metadata"]["namespace"] = "prod"
        await cluster.create("configmaps", held)
        await cluster.settle()
        assert len(await cluster.list("pods", "prod")) == 3
        await cluster.delete("namespaces", "prod")
        await cluster.settle(0.5)
        assert len(await cluster.list("pods", "prod")) == 3
        assert len(await cluster.list("replicasets.apps", "prod")) == 1
        await cluster.settle(10)
        namespace = await cluster.get("namespaces", "prod")
        assert namespace is not None and namespace["status"]["phase"] == "Terminating"
        found = {each["type"]: (each["status"], each["message"]) for each in namespace["status"]["conditions"]}
        assert found["NamespaceContentRemaining"] == (
            "True", "Some resources are remaining: configmaps. has 1 resource instances",
        )  # fmt: skip
        text = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        assert found["NamespaceFinalizersRemaining"] == ("True", text)
        assert found["NamespaceDeletionContentFailure"][0] == "False"
        assert await cluster.list("replicasets.apps", "prod") == []
        await cluster.patch("configmaps", "prod/held", {"metadata": {"finalizers": None}})
        await cluster.settle(30)
        assert await cluster.get("namespaces", "prod") is None

    run(body)


POD_GC = "pod-garbage-collector-controller"


def test_pods_that_nobody_cleans_up() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(POD_GC, terminated_pod_gc_threshold=2)
        await cluster.settle(1)
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "there"}, "spec": {}}
        await cluster.create("nodes", node)
        for name, where in (("lost", "gone"), ("fine", "there"), ("stuck", "there")):
            await cluster.create("pods", pod(name, node=where))
        for number in range(4):
            await cluster.create("pods", pod(f"done-{number}", node="there"))
            await cluster.patch("pods", f"default/done-{number}", {"status": {"phase": "Succeeded"}}, "status")
            await cluster.settle(1)
        await cluster.delete("pods", "default/stuck")
        await cluster.settle(30)
        left = sorted(meta.name(each) for each in await cluster.list("pods"))
        assert left == ["done-2", "done-3", "fine", "lost", "stuck"]
        await cluster.settle(60)
        left = sorted(meta.name(each) for each in await cluster.list("pods"))
        assert left == ["done-2", "done-3", "fine", "stuck"]
        taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
        await cluster.patch("nodes", "there", {"spec": {"taints": [taint]}})
        await cluster.settle(60)
        left = sorted(meta.name(each) for each in await cluster.list("pods"))
        assert left == ["done-2", "done-3", "fine"]

    run(body)


def test_a_lost_pod_says_why_it_failed() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(POD_GC)
        await cluster.settle(1)
        await cluster.create("pods", pod("lost", node="gone", metadata={"finalizers": ["example.com/hold"]}))
        await cluster.settle(90)
        found = await cluster.get("pods", "default/lost")
        assert found is not None and found["status"]["phase"] == "Failed"
        target = conditions.get(found, "DisruptionTarget")
        assert target is not None
        assert (target["reason"], target["message"]) == ("DeletionByPodGC", "PodGC: node no longer exists")

    run(body)
