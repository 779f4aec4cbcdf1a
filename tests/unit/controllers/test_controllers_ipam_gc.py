"""A freed pod network goes to who waits for it; a reference to another namespace's object is told of."""

from typing import Any

from argosy.objects import meta
from argosy.objects.types import JsonObject
from tests.unit.controllers.cluster import Cluster
from tests.unit.controllers.cluster import run as run_cluster
from tests.unit.controllers.test_controllers_collection import GC, config_map
from tests.unit.controllers.world import World, run


def node(name: str, **spec: Any) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}


def test_a_node_that_found_all_taken_gets_what_another_leaves() -> None:
    async def body(world: World) -> None:
        world.controllers("node-ipam-controller", cluster_cidr=("10.244.0.0/23",))
        for name in ("a", "b", "c"):
            world.api.put("nodes", node(name))
        await world.settle(3600)
        waiting = [meta.name(each) for each in world.api.all("nodes") if not each["spec"].get("podCIDR")]
        assert waiting == ["c"]
        assert world.events("CIDRNotAvailable")
        gone = world.api.one("nodes", "a")
        world.api.remove("nodes", "a")
        await world.settle(1)
        heir = world.api.one("nodes", "c")
        assert heir is not None and gone is not None
        assert heir["spec"]["podCIDRs"] == gone["spec"]["podCIDRs"]

    run(body)


def test_an_owner_in_another_namespace_is_none_and_that_is_told() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(GC)
        await cluster.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
        owner = await cluster.create("configmaps", config_map("owner", namespace="other"))
        await cluster.settle()
        await cluster.create("configmaps", config_map("child", owner))
        await cluster.settle()
        assert await cluster.get("configmaps", "default/child") is None
        assert await cluster.get("configmaps", "other/owner") is not None
        assert await cluster.events("OwnerRefInvalidNamespace") == [
            f"ownerRef [v1/ConfigMap, namespace: default, name: owner, uid: {meta.uid(owner)}] "
            'does not exist in namespace "default"'
        ]

    run_cluster(body)
