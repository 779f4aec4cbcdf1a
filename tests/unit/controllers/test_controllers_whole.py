"""All controllers together on the real API server: the life of an application, and a leader that dies."""

from pathlib import Path

from argosy.discovery import discover
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers.all import ALL
from control_plane.controllers.garbage_collector import is_collected
from control_plane.controllers.manager import select
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.world import deployment, template

SERVICE: JsonObject = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
}


async def ready_addresses(cluster: Cluster) -> list[str]:
    return [
        address
        for each in await cluster.list("endpointslices.discovery.k8s.io")
        if meta.labels(each).get("kubernetes.io/service-name") == "web"
        for item in each.get("endpoints") or ()
        if item["conditions"]["ready"]
        for address in item["addresses"]
    ]


def test_the_life_of_an_application(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        ca = tmp_path / "ca.crt"
        ca.write_text("PEM")
        cluster.controllers(cluster_cidr=("10.244.0.0/16",), root_ca=str(ca), node_startup_grace_period=1e6)
        for name in ("a", "b", "c"):
            await cluster.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        cluster.kubelet("a", "b", "c")
        await cluster.settle(1)
        assert await cluster.get("configmaps", "default/kube-root-ca.crt") is not None
        await cluster.create("deployments.apps", deployment())
        await cluster.create("services", SERVICE)
        await cluster.settle(5)
        assert len(await ready_addresses(cluster)) == 3
        least: list[int] = []

        async def observe() -> None:
            async for _ in cluster.resource("endpointslices.discovery.k8s.io").watch():
                least.append(len(await ready_addresses(cluster)))

        cluster.start(observe())
        await cluster.settle(1)
        await cluster.patch("deployments.apps", "default/web", {"spec": {"template": template("app:2")}})
        await cluster.settle(20)
        assert min(least) >= 3
        assert len(least) > 6
        found = await cluster.get("deployments.apps", "default/web")
        assert found is not None
        progressing = conditions.get(found, "Progressing")
        assert progressing is not None and progressing["reason"] == "NewReplicaSetAvailable"
        assert meta.annotations(found)["deployment.kubernetes.io/revision"] == "2"
        images = {each["spec"]["containers"][0]["image"] for each in await cluster.list("pods")}
        assert images == {"app:2"}
        endpoints = await cluster.get("endpoints", "default/web")
        assert endpoints is not None and len(endpoints["subsets"][0]["addresses"]) == 3

    run(body, tmp_path)


async def versions(cluster: Cluster) -> dict[str, str]:
    """Every object there is but Events, which end by themselves."""
    return {
        f"{kind.plural} {meta.key(obj)}": meta.resource_version(obj)
        for kind in (await discover(cluster.client)).resources
        if is_collected(kind)
        for obj in (await cluster.client.resource(kind.group, kind.version, kind.plural).list()).items
    }


def test_a_quiet_cluster_is_not_written_to() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("*", "-node-lifecycle-controller", cluster_cidr=("10.244.0.0/16",))
        await cluster.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}})
        cluster.kubelet("a")
        await cluster.settle(1)
        await cluster.create("deployments.apps", deployment())
        await cluster.create("services", SERVICE)
        await cluster.settle(60)
        before = await versions(cluster)
        await cluster.settle(3600)
        assert len(before) > 50
        assert await versions(cluster) == before

    run(body)


def test_another_takes_over_from_a_leader_that_died() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.kubelet("a")
        first = cluster.controllers(
            "deployment-controller", "replicaset-controller", leader_elect=True, identity="one"
        )
        await cluster.settle(3)
        second = cluster.controllers(
            "deployment-controller", "replicaset-controller", leader_elect=True, identity="two"
        )
        await cluster.create("deployments.apps", deployment())
        await cluster.settle(10)
        assert len(await cluster.list("pods")) == 3
        assert first.controllers and not second.controllers
        await cluster.crash(first)
        await cluster.patch("deployments.apps", "default/web", {"spec": {"replicas": 5}})
        await cluster.settle(10)
        assert len(await cluster.list("pods")) == 3
        await cluster.settle(15)
        assert second.controllers
        assert len(await cluster.list("pods")) == 5
        lease = await cluster.get("leases.coordination.k8s.io", "kube-system/kube-controller-manager")
        assert lease is not None and lease["spec"]["holderIdentity"] == "two"

    run(body)


def test_controllers_are_selected_by_name() -> None:
    names = [kind.name for kind in ALL]
    assert len(set(names)) == len(names)
    assert [kind.name for kind in select(["*", "-deployment-controller"])] == names[1:]
    assert [kind.name for kind in select(["deployment-controller"])] == ["deployment-controller"]
