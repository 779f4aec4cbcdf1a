"""Claims and volumes on the real API server: binding, phases, reclaiming, protection, ephemeral volumes."""

from pathlib import Path
from typing import Any

import pytest

from argosy.objects import meta, storage
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.world import node, pod

PVS, PVCS, CLASSES = "persistentvolumes", "persistentvolumeclaims", "storageclasses.storage.k8s.io"
NAMES = (
    "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
    "ephemeral-volume-controller",
)


def volume(name: str, size: str = "1Gi", **spec: Any) -> JsonObject:
    full = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": full}


def claim(name: str, size: str = "1Gi", **spec: Any) -> JsonObject:
    full = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        "storageClassName": "",
        **spec,
    }
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": full}


def storage_class(name: str, mode: str = "Immediate", *, default: bool = False, **fields: Any) -> JsonObject:
    metadata: JsonObject = {"name": name}
    if default:
        metadata["annotations"] = {storage.DEFAULT_CLASS: "true"}
    return {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata,
        "provisioner": "example.com/disk", "volumeBindingMode": mode, **fields,
    }  # fmt: skip


async def claim_state(cluster: Cluster, name: str) -> tuple[str, str]:
    found = await cluster.get(PVCS, f"default/{name}")
    assert found is not None
    return str(meta.status(found).get("phase")), str(meta.spec(found).get("volumeName", ""))


async def phase(cluster: Cluster, name: str) -> str:
    found = await cluster.get(PVS, name)
    return "gone" if found is None else str(meta.status(found).get("phase"))


def test_the_smallest_volume_that_will_do_is_bound() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        for name, size in (("big", "10Gi"), ("fit", "2Gi"), ("small", "500Mi")):
            await cluster.create(PVS, volume(name, size))
        await cluster.create(PVS, volume("many", "2Gi", accessModes=["ReadWriteOnce", "ReadWriteMany"]))
        await cluster.create(PVS, volume("other", "2Gi", storageClassName="slow"))
        await cluster.settle()
        assert await phase(cluster, "fit") == "Available"
        await cluster.create(PVCS, claim("a"))
        await cluster.create(PVCS, claim("b", accessModes=["ReadWriteMany"]))
        await cluster.create(PVCS, claim("c", volumeMode="Block"))
        await cluster.settle()
        assert await claim_state(cluster, "a") == ("Bound", "fit")
        assert await claim_state(cluster, "b") == ("Bound", "many")
        assert await claim_state(cluster, "c") == ("Pending", "")
        found = await cluster.get(PVCS, "default/a")
        assert found is not None
        assert meta.status(found)["capacity"] == {"storage": "2Gi"}
        assert meta.annotations(found)[storage.BIND_COMPLETED] == "yes"
        taken = await cluster.get(PVS, "fit")
        assert taken is not None
        assert meta.spec(taken)["claimRef"]["uid"] == meta.uid(found)
        assert meta.status(taken)["phase"] == "Bound"
        assert await phase(cluster, "big") == "Available"
        assert (await cluster.events("FailedBinding"))[0].startswith("no persistent volumes available for this claim")

    run(body)


def test_no_volume_is_given_away_twice() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        for number in range(5):
            await cluster.create(PVS, volume(f"v{number}"))
        for number in range(8):
            await cluster.create(PVCS, claim(f"c{number}"))
        await cluster.settle(10)
        states = [await claim_state(cluster, f"c{number}") for number in range(8)]
        assert sorted(name for found, name in states if found == "Bound") == [f"v{number}" for number in range(5)]
        await cluster.create(PVS, volume("late"))
        await cluster.settle()
        states = [await claim_state(cluster, f"c{number}") for number in range(8)]
        assert ("Bound", "late") in states

    run(body)


def test_selectors_and_names_on_either_side() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        labelled = volume("labelled")
        labelled["metadata"]["labels"] = {"kind": "fast"}
        await cluster.create(PVS, labelled)
        await cluster.create(PVS, volume("kept", claimRef={"namespace": "default", "name": "mine"}))
        await cluster.create(PVS, volume("asked", "5Gi"))
        await cluster.settle()
        await cluster.create(PVCS, claim("picky", selector={"matchLabels": {"kind": "fast"}}))
        await cluster.create(PVCS, claim("asks", volumeName="asked"))
        await cluster.create(PVCS, claim("greedy", "50Gi", volumeName="kept"))
        await cluster.create(PVCS, claim("mine"))
        await cluster.settle()
        assert await claim_state(cluster, "picky") == ("Bound", "labelled")
        assert await claim_state(cluster, "asks") == ("Bound", "asked")
        assert await claim_state(cluster, "mine") == ("Bound", "kept")
        assert await claim_state(cluster, "greedy") == ("Pending", "kept")
        kept = await cluster.get(PVS, "kept")
        assert kept is not None
        assert storage.BOUND_BY_CONTROLLER not in meta.annotations(kept)
        await cluster.create(PVS, volume("tiny", "1Mi"))
        await cluster.create(PVCS, claim("large", volumeName="tiny"))
        await cluster.settle()
        assert await cluster.events("VolumeMismatch") == [
            'Cannot bind to requested volume "tiny": requested PV is too small'
        ]

    run(body)


def test_claims_of_a_class_wait_for_its_provisioner_and_for_their_pod(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        await cluster.create(CLASSES, storage_class("now"))
        await cluster.create(CLASSES, storage_class("later", storage.WAIT_FOR_FIRST_CONSUMER))
        await cluster.create(CLASSES, storage_class("by-hand", provisioner=storage.NO_PROVISIONER))
        for name in ("now", "later", "missing", "by-hand"):
            await cluster.create(PVCS, claim(f"c-{name}", storageClassName=name))
        await cluster.settle()
        found = await cluster.get(PVCS, "default/c-now")
        assert found is not None
        assert meta.annotations(found)[storage.STORAGE_PROVISIONER] == "example.com/disk"
        waiting = await cluster.get(PVCS, "default/c-later")
        assert waiting is not None
        assert storage.STORAGE_PROVISIONER not in meta.annotations(waiting)
        assert await cluster.events("WaitForFirstConsumer") == [
            "waiting for first consumer to be created before binding"
        ]
        assert sorted(await cluster.events("ProvisioningFailed")) == [
            "no volume plugin matched name: kubernetes.io/no-provisioner",
            'storageclass.storage.k8s.io "missing" not found',
        ]
        assert (await cluster.events("ExternalProvisioning"))[0].startswith("Waiting for a volume to be created")
        await cluster.patch(PVCS, "default/c-later", {"metadata": {"annotations": {storage.SELECTED_NODE: "node-1"}}})
        await cluster.settle()
        waiting = await cluster.get(PVCS, "default/c-later")
        assert waiting is not None
        assert meta.annotations(waiting)[storage.STORAGE_PROVISIONER] == "example.com/disk"
        # As the provisioner does it.
        await cluster.create(
            PVS,
            volume(
                "made",
                storageClassName="later",
                claimRef={"namespace": "default", "name": "c-later", "uid": meta.uid(waiting)},
            ),
        )
        await cluster.settle()
        assert await claim_state(cluster, "c-later") == ("Bound", "made")

    run(body, tmp_path)


def test_the_default_class_is_given_at_once_or_as_soon_as_there_is_one() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        unsaid = claim("early")
        del unsaid["spec"]["storageClassName"]
        for existing in await cluster.list(CLASSES):
            await cluster.delete(CLASSES, meta.name(existing))
        await cluster.create(PVCS, unsaid)
        await cluster.settle()
        await cluster.create(CLASSES, storage_class("older", default=True))
        await cluster.settle()
        found = await cluster.get(PVCS, "default/early")
        assert found is not None
        assert meta.spec(found)["storageClassName"] == "older"
        await cluster.create(CLASSES, storage_class("newer", default=True))
        unsaid["metadata"]["name"] = "late"
        made = await cluster.create(PVCS, unsaid)
        assert meta.spec(made)["storageClassName"] == "newer"
        none = await cluster.create(PVCS, claim("none"))
        assert meta.spec(none)["storageClassName"] == ""

    run(body)


def test_a_lost_volume_and_a_released_one() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        for name, policy in (("keep", "Retain"), ("drop", "Delete"), ("clean", "Recycle")):
            await cluster.create(
                PVS,
                volume(name, persistentVolumeReclaimPolicy=policy, claimRef={"namespace": "default", "name": name}),
            )
            await cluster.create(PVCS, claim(name))
        await cluster.settle()
        for name in ("keep", "drop", "clean"):
            assert await claim_state(cluster, name) == ("Bound", name)
            await cluster.delete(PVCS, f"default/{name}")
        await cluster.settle()
        assert await phase(cluster, "keep") == "Released"
        for name, reason in (("drop", "VolumeFailedDelete"), ("clean", "VolumeFailedRecycle")):
            found = await cluster.get(PVS, name)
            assert found is not None
            assert meta.status(found)["phase"] == "Failed"
            assert await cluster.events(reason) == [meta.status(found)["message"]]
        # A new claim does not get a released volume.
        await cluster.create(PVCS, claim("keep"))
        await cluster.settle()
        assert await claim_state(cluster, "keep") == ("Pending", "")
        # An administrator frees it.
        await cluster.patch(PVS, "keep", {"spec": {"claimRef": None}})
        await cluster.settle()
        assert await claim_state(cluster, "keep") == ("Bound", "keep")

    run(body)


def test_a_claim_loses_its_volume() -> None:
    async def body(cluster: Cluster) -> None:
        manager = cluster.controllers(*NAMES)
        await cluster.create(PVS, volume("v"))
        await cluster.create(PVCS, claim("c"))
        await cluster.settle()
        assert await claim_state(cluster, "c") == ("Bound", "v")
        await cluster.crash(manager)
        await cluster.delete(PVS, "v")
        await cluster.patch(PVS, "v", {"metadata": {"finalizers": None}})
        cluster.controllers(*NAMES)
        await cluster.settle()
        assert await claim_state(cluster, "c") == ("Lost", "v")
        assert await cluster.events("ClaimLost") == [
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        ]

    run(body)


def test_claims_and_volumes_in_use_stay(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        await cluster.create("nodes", node("node-1"))
        await cluster.create(PVS, volume("v"))
        made = await cluster.create(PVCS, claim("c"))
        assert meta.finalizers(made) == [storage.PVC_PROTECTION]
        await cluster.settle()
        using = pod("p", spec={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]})
        using["spec"]["nodeName"] = "node-1"
        await cluster.create("pods", using)
        await cluster.delete(PVCS, "default/c")
        await cluster.delete(PVS, "v")
        await cluster.settle()
        assert await claim_state(cluster, "c") == ("Bound", "v")
        assert await phase(cluster, "v") == "Bound"
        await cluster.delete("pods", "default/p", grace_period_s=0)
        await cluster.settle()
        assert await cluster.get(PVCS, "default/c") is None
        assert await phase(cluster, "v") == "gone"

    run(body, tmp_path)


def test_claims_grow_only_where_their_class_allows() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        bigger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        for name, grows in (("fixed", False), ("grows", True)):
            await cluster.create(CLASSES, storage_class(name, allowVolumeExpansion=grows))
            await cluster.create(PVS, volume(name, storageClassName=name))
            await cluster.create(PVCS, claim(name, storageClassName=name))
        await cluster.settle()
        with pytest.raises(ApiError) as caught:
            await cluster.patch(PVCS, "default/fixed", bigger)
        assert caught.value.code == 403
        assert caught.value.message == (
            'persistentvolumeclaims "fixed" is forbidden: only dynamically provisioned pvc can be resized and the '
            "storageclass that provisions the pvc must support resize"
        )
        grown = await cluster.patch(PVCS, "default/grows", bigger)
        assert meta.spec(grown)["resources"]["requests"] == {"storage": "2Gi"}

    run(body)


def test_a_pods_own_claims_are_made_and_owned(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        await cluster.settle(1)
        template = {"metadata": {"labels": {"a": "b"}}, "spec": claim("x")["spec"]}
        volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
        await cluster.create(PVCS, claim("other-scratch"))
        owner = await cluster.create("pods", pod("p", spec={"volumes": volumes}))
        await cluster.create("pods", pod("other", spec={"volumes": volumes}))
        await cluster.settle()
        made = await cluster.get(PVCS, "default/p-scratch")
        assert made is not None
        assert meta.labels(made) == {"a": "b"}
        assert meta.controller_of(made) == {
            "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": meta.uid(owner), "controller": True,
            "blockOwnerDeletion": True,
        }  # fmt: skip
        taken = await cluster.get(PVCS, "default/other-scratch")
        assert taken is not None
        assert meta.owner_references(taken) == []
        # Once the stranger is gone the pod gets its own.
        await cluster.delete(PVCS, "default/other-scratch")
        await cluster.settle(20)
        taken = await cluster.get(PVCS, "default/other-scratch")
        assert taken is not None
        assert (meta.controller_of(taken) or {})["name"] == "other"

    run(body, tmp_path)
