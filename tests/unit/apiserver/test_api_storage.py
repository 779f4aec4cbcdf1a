"""What nodes may do to claims and volumes: their own, and nothing else; and the class a cluster starts with."""

from __future__ import annotations

import pytest

from argosy.objects import meta, storage
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent.local_path import volume_for


def claim(name: str, node: str = "") -> JsonObject:
    notes = {storage.SELECTED_NODE: node} if node else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default", "annotations": notes},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


async def refused(awaitable, word: str = "") -> None:
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == 403, caught.value.status
    assert word in caught.value.message


def test_a_cluster_starts_with_a_default_class(with_api) -> None:
    async def body(api) -> None:
        classes = api.client().resource("storage.k8s.io", "v1", "storageclasses")
        found = await classes.get("local-path")
        assert storage.is_default_class(found)
        assert found["volumeBindingMode"] == "WaitForFirstConsumer"
        made = await api.client().resource("", "v1", "persistentvolumeclaims").create(claim("c"))
        assert meta.spec(made)["storageClassName"] == "local-path"
        assert meta.finalizers(made) == [storage.PVC_PROTECTION]

    with_api(body)


def test_the_default_class_can_be_left_out(with_api) -> None:
    async def body(api) -> None:
        classes = api.client().resource("storage.k8s.io", "v1", "storageclasses")
        assert (await classes.list()).items == []

    with_api(body, local_path_storage=False)


def test_a_node_sees_its_own_claims_and_volumes(with_api) -> None:
    async def body(api) -> None:
        node = api.client("system:node:n1", "system:nodes")
        claims = api.client().resource("", "v1", "persistentvolumeclaims")
        for name, where in (("mine", "n1"), ("theirs", "n2"), ("free", "")):
            await claims.create(claim(name, where))
        own = node.resource("", "v1", "persistentvolumeclaims")
        found = await own.list(fields=f"{storage.SELECTED_NODE_FIELD}=n1")
        assert [meta.name(item) for item in found.items] == ["mine"]
        for fields in ("", f"{storage.SELECTED_NODE_FIELD}=n2", f"{storage.SELECTED_NODE_FIELD}!=n1"):
            await refused(own.list(fields=fields))
        volumes = node.resource("", "v1", "persistentvolumes")
        assert (await volumes.list(fields=f"{storage.NODE_FIELD}=n1")).items == []
        await refused(volumes.list())
        await refused(volumes.list(fields=f"{storage.NODE_FIELD}=n2"))
        await refused(own.update(await claims.get("mine", namespace="default")))

    with_api(body)


def test_a_node_makes_only_the_volumes_that_its_claims_ask_for(with_api) -> None:
    async def body(api) -> None:
        claims = api.client().resource("", "v1", "persistentvolumeclaims")
        classes = api.client().resource("storage.k8s.io", "v1", "storageclasses")
        mine = await claims.create(claim("mine", "n1"))
        theirs = await claims.create(claim("theirs", "n2"))
        local = await classes.get("local-path")
        volumes = api.client("system:node:n1", "system:nodes").resource("", "v1", "persistentvolumes")
        good = volume_for(mine, local, "n1", "/var/lib/local-path/x")

        def changed(**spec: object) -> JsonObject:
            return {**good, "spec": {**good["spec"], **spec}}

        for wrong, word in (
            (volume_for(theirs, local, "n1", "/x"), "for claims whose selected node it is"),
            (volume_for(theirs, local, "n2", "/x"), "on its own disk"),
            (changed(nodeAffinity=storage.local_affinity("n2")), "on its own disk"),
            (changed(claimRef={**good["spec"]["claimRef"], "uid": "other"}), "for claims whose selected node it is"),
            (changed(storageClassName="other"), "that the claim asks for"),
            ({**good, "metadata": {**good["metadata"], "name": "other"}}, "that the claim asks for"),
            ({**good, "metadata": {**good["metadata"], "annotations": {}}}, "on its own disk"),
            ({**good, "spec": {**changed(hostPath={"path": "/"})["spec"], "local": None}}, "on its own disk"),
        ):
            await refused(volumes.create(wrong), word)
        made = await volumes.create(good)
        assert storage.PV_PROTECTION in meta.finalizers(made)
        await refused(volumes.update({**made, "spec": {**made["spec"], "persistentVolumeReclaimPolicy": "Retain"}}))
        fewer = {**made, "metadata": {**made["metadata"], "finalizers": []}}
        other = api.client("system:node:n2", "system:nodes").resource("", "v1", "persistentvolumes")
        await refused(other.update(fewer))
        await refused(other.delete(meta.name(made)))
        await refused(other.get(meta.name(made)), "no relationship found")
        await volumes.update(fewer)
        await volumes.delete(meta.name(made))
        assert (await api.client().resource("", "v1", "persistentvolumes").list()).items == []

    with_api(body)


def test_a_node_reads_the_volumes_of_its_pods(with_api) -> None:
    async def body(api) -> None:
        await api.account()
        admin = api.client()
        await admin.resource("", "v1", "persistentvolumes").create(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": "v"},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": "/d"},
                    "claimRef": {"namespace": "default", "name": "c"},
                },
            }
        )
        volumes = api.client("system:node:n1", "system:nodes").resource("", "v1", "persistentvolumes")
        await refused(volumes.get("v"))
        await api.pods.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p", "namespace": "default"},
                "spec": {
                    "nodeName": "n1",
                    "containers": [{"name": "c", "image": "i"}],
                    "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}],
                },
            }
        )
        assert meta.name(await volumes.get("v")) == "v"
        await refused(volumes.delete("v"))

    with_api(body)
