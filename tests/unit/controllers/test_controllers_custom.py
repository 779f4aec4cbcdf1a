"""Custom resources in the hands of the controllers that know every resource: garbage collection and namespaces."""

import itertools
from typing import Any

from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers.garbage_collector import GarbageCollector
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.test_controllers_collection import config_map, names

WIDGETS = "widgets.example.com"
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
DEFINITION: JsonObject = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": WIDGETS},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def widget(name: str, *owners: JsonObject, **metadata: Any) -> JsonObject:
    made = config_map(name, *owners, **metadata)
    return {**made, "apiVersion": "example.com/v1", "kind": "Widget"}


async def widgets(cluster: Cluster, namespace: str = "default") -> list[str]:
    return sorted(meta.name(each) for each in await cluster.list(WIDGETS, namespace))


async def define(cluster: Cluster) -> None:
    await cluster.create(DEFINITIONS, DEFINITION)
    await cluster.settle(1)
    found = await cluster.get(DEFINITIONS, WIDGETS)
    assert found is not None and conditions.is_true(found, "Established")


def test_owners_and_dependents_may_be_of_a_kind_that_came_later() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("garbage-collector-controller")
        await cluster.settle(2)
        await define(cluster)
        top = await cluster.create(WIDGETS, widget("top"))
        middle = await cluster.create("configmaps", config_map("middle", top))
        await cluster.create(WIDGETS, widget("leaf", middle))
        await cluster.settle()
        assert await names(cluster) == ["middle"] and await widgets(cluster) == ["leaf", "top"]
        await cluster.delete(WIDGETS, "default/top", propagation="Background")
        await cluster.settle()
        assert await names(cluster) == [] and await widgets(cluster) == []

    run(body)


def test_foreground_and_orphan_deletion_of_custom_resources() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("garbage-collector-controller")
        await define(cluster)
        top = await cluster.create(WIDGETS, widget("top"))
        await cluster.create("configmaps", config_map("held", top, finalizers=["example.com/hold"]))
        await cluster.settle()
        await cluster.delete(WIDGETS, "default/top", propagation="Foreground")
        await cluster.settle(10)
        assert await widgets(cluster) == ["top"]
        await cluster.patch("configmaps", "default/held", {"metadata": {"finalizers": None}})
        await cluster.settle()
        assert await widgets(cluster) == [] and await names(cluster) == []
        top = await cluster.create(WIDGETS, widget("top"))
        await cluster.create("configmaps", config_map("kept", top))
        await cluster.settle()
        await cluster.delete(WIDGETS, "default/top", propagation="Orphan")
        await cluster.settle()
        kept = await cluster.get("configmaps", "default/kept")
        assert kept is not None and not meta.owner_references(kept) and await widgets(cluster) == []

    run(body)


def test_dependents_of_objects_whose_definition_goes_are_collected() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("garbage-collector-controller")
        await define(cluster)
        top = await cluster.create(WIDGETS, widget("top"))
        await cluster.create("configmaps", config_map("below", top))
        await cluster.settle()
        await cluster.delete(DEFINITIONS, WIDGETS)
        await cluster.settle(40)
        assert await cluster.get(DEFINITIONS, WIDGETS) is None
        assert await names(cluster) == []

    run(body)


def test_a_namespace_takes_its_custom_resources_along() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("namespace-controller")
        await define(cluster)
        await cluster.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "short"}})
        made = widget("held", finalizers=["example.com/hold"])
        made["metadata"]["namespace"] = "short"
        await cluster.create(WIDGETS, made)
        await cluster.delete("namespaces", "short")
        await cluster.settle(5)
        found = await cluster.get("namespaces", "short")
        assert found is not None
        remaining = conditions.get(found, "NamespaceContentRemaining")
        assert remaining is not None and "widgets.example.com has 1 resource instances" in remaining["message"]
        await cluster.patch(WIDGETS, "short/held", {"metadata": {"finalizers": None}})
        await cluster.settle(20)
        assert await cluster.get("namespaces", "short") is None
        assert await widgets(cluster, "short") == []

    run(body)


def test_a_group_that_is_away_is_asked_for_again_ever_less_often() -> None:
    async def body(cluster: Cluster) -> None:
        manager = cluster.controllers("garbage-collector-controller")
        await cluster.settle(2)
        collector = next(each for each in manager.controllers if isinstance(each, GarbageCollector))
        asked: list[float] = []
        discover = collector._discover

        async def counted() -> bool:
            asked.append(cluster.host.clock.monotonic())
            return await discover()

        collector._discover = counted  # type: ignore[method-assign]
        await cluster.settle(100)
        assert len(asked) in (3, 4), "every 30 s"
        asked.clear()
        spec = {"group": "away.example.com", "version": "v1", "groupPriorityMinimum": 1500, "versionPriority": 15}
        spec["service"] = {"namespace": "default", "name": "nobody"}  # type: ignore[assignment]
        made = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "spec": spec}
        await cluster.create(
            "apiservices.apiregistration.k8s.io", {**made, "metadata": {"name": "v1.away.example.com"}}
        )
        await cluster.settle(100)
        gaps = [round(later - earlier) for earlier, later in itertools.pairwise(asked)]
        assert [gap for gap in gaps if gap][:6] == [1, 2, 4, 8, 16, 30]
        assert len(gaps) < 10
        asked.clear()
        await cluster.delete("apiservices.apiregistration.k8s.io", "v1.away.example.com")
        await cluster.settle(1)
        assert asked and not collector._away

    run(body)


def test_a_resource_that_is_away_for_a_while_costs_nobody_its_dependents() -> None:
    async def body(cluster: Cluster) -> None:
        manager = cluster.controllers("garbage-collector-controller")
        await define(cluster)
        top = await cluster.create(WIDGETS, widget("top"))
        await cluster.create("configmaps", config_map("below", top))
        await cluster.settle()
        collector = next(each for each in manager.controllers if isinstance(each, GarbageCollector))
        (known,) = [each for each in collector._sources if each.plural == "widgets"]
        await collector._unfollow(known)
        await cluster.settle(60)
        assert await names(cluster) == ["below"]
        assert known in collector._sources, "and it was discovered again"
        await cluster.delete(WIDGETS, "default/top")
        await cluster.settle()
        assert await names(cluster) == []

    run(body)
