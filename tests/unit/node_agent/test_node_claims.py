"""Claims as volumes of pods, and the provisioner of volumes on the node's own disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.objects import meta, storage
from argosy.objects.types import JsonObject
from node_agent.local_path import FINALIZER, LocalFolder, LocalPath, Unsupported, refuse
from node_agent.seams import VolumeError
from node_agent.volumes.claim import own_tree
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.test_controllers_volumes import NAMES, PVCS, PVS
from tests.unit.controllers.test_controllers_volumes import claim as new_claim
from tests.unit.node_agent.test_node_volumes import Node, needs_root, with_volume

CLAIMED = {"persistentVolumeClaim": {"claimName": "c"}}


def bound(node: Node, source: JsonObject, **spec: Any) -> JsonObject:
    """A claim `c` that is bound to a volume of `source`."""
    claim = {
        "metadata": {"name": "c", "namespace": "default", "uid": "u"},
        "spec": {"volumeName": "v"},
        "status": {"phase": "Bound"},
    }
    reference = {"namespace": "default", "name": "c", "uid": "u"}
    node.objects.claims["c"] = claim
    node.objects.volumes["v"] = {"metadata": {"name": "v"}, "spec": {"claimRef": reference, **source, **spec}}
    return claim


def complaint(node: Node, source: JsonObject | None = None) -> str:
    with pytest.raises(VolumeError) as caught:
        node.set_up(with_volume(source or CLAIMED))
    return caught.value.message


def test_a_claims_volume_is_mounted_where_it_is(tmp_path: Path) -> None:
    node = Node(tmp_path / "node")
    (tmp_path / "data").mkdir()
    bound(node, {"local": {"path": str(tmp_path / "data")}}, nodeAffinity=storage.local_affinity("node-1"))
    pod = with_volume(CLAIMED)
    node.set_up(pod)
    assert node.path(pod) == tmp_path / "data"
    (tmp_path / "data/file").write_text("kept")
    assert (node.path(pod, {"subPath": "deeper"})).is_dir()
    node.volumes.tear_down("uid-1")
    assert (tmp_path / "data/file").read_text() == "kept"
    bound(node, {"hostPath": {"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}})
    node.set_up(pod)
    assert node.path(pod) == tmp_path / "made"


def test_read_only_claims_are_read_only_everywhere(tmp_path: Path) -> None:
    node = Node(tmp_path)
    bound(node, {"hostPath": {"path": str(tmp_path), "type": ""}})
    pod = with_volume({"persistentVolumeClaim": {"claimName": "c", "readOnly": True}})
    node.set_up(pod)
    container = {"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    assert node.volumes.mounts(pod, container, {})[0].readonly


def test_claims_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    node = Node(tmp_path)
    assert complaint(node) == 'error processing PVC default/c: persistentvolumeclaim "c" not found'
    claim = bound(node, {"hostPath": {"path": str(tmp_path), "type": ""}})
    claim["status"]["phase"] = "Pending"
    assert complaint(node) == "error processing PVC default/c: PVC is not bound"
    claim = bound(node, {"hostPath": {"path": str(tmp_path), "type": ""}})
    claim["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z"
    assert complaint(node) == "error processing PVC default/c: PVC is being deleted"
    running = with_volume(CLAIMED)
    running["status"] = {"containerStatuses": [{"containerID": "x"}]}
    node.set_up(running)
    bound(node, {"local": {"path": str(tmp_path / "gone")}})
    assert complaint(node) == f'path "{tmp_path}/gone" does not exist'
    bound(node, {"local": {"path": "/a/../b"}})
    assert "must be absolute" in complaint(node)
    bound(node, {"nfs": {"server": "a", "path": "/b"}})
    assert complaint(node) == "volume source nfs of PersistentVolume 'v' is not supported on this node"
    bound(node, {"local": {"path": str(tmp_path)}}, volumeMode="Block")
    assert complaint(node) == "volumeMode Block is not supported on this node"
    bound(node, {"local": {"path": str(tmp_path)}}, mountOptions=["ro"])
    assert "mountOptions" in complaint(node)
    bound(node, {"local": {"path": str(tmp_path)}}, nodeAffinity=storage.local_affinity("node-2"))
    assert "NodeAffinity check failed" in complaint(node)
    bound(node, {"local": {"path": str(tmp_path)}})
    node.objects.volumes["v"]["spec"]["claimRef"]["uid"] = "other"
    assert 'PV "v" is not bound to it' in complaint(node)


def test_an_ephemeral_volumes_claim_is_the_pods_own(tmp_path: Path) -> None:
    node = Node(tmp_path)
    source = {"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}
    claim = bound(node, {"hostPath": {"path": str(tmp_path), "type": ""}})
    claim["metadata"]["name"] = "web-v"
    node.objects.volumes["v"]["spec"]["claimRef"]["name"] = "web-v"
    node.objects.claims = {"web-v": claim}
    assert "pod is not owner" in complaint(node, source)
    claim["metadata"]["ownerReferences"] = [{"controller": True, "uid": "uid-1"}]
    node.set_up(with_volume(source))


@needs_root
def test_the_pods_group_owns_the_volume_and_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "outside"
    secret.write_text("x")
    secret.chmod(0o600)
    volume = tmp_path / "volume"
    (volume / "deep").mkdir(parents=True)
    (volume / "deep/file").write_text("x")
    (volume / "deep/file").chmod(0o600)
    (volume / "link").symlink_to(secret)
    own_tree(str(volume), 1234, "Always")
    status = os.stat(volume / "deep/file")
    assert (status.st_gid, status.st_mode & 0o777) == (1234, 0o660)
    assert os.stat(volume / "deep").st_mode & 0o2770 == 0o2770
    assert (os.stat(secret).st_gid, os.stat(secret).st_mode & 0o777) == (0, 0o600)
    (volume / "late").write_text("x")
    own_tree(str(volume), 1234, "OnRootMismatch")
    assert os.stat(volume / "late").st_mode & 0o777 != 0o660, "the root was right already"


def test_only_folders_of_volumes_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    folder = LocalFolder(str(root))
    outside = tmp_path / "outside"
    outside.mkdir()
    good = str(root / "pvc-1_default_c")
    folder.make(good)
    folder.make(good)
    assert os.stat(good).st_mode & 0o777 == 0o777
    (root / "pvc-link").symlink_to(outside)
    for path in (
        f"{root}/../outside",
        str(outside),
        str(root),
        f"{root}/pvc-link",
        f"{root}/pvc-1/../../outside",
        "",
    ):
        with pytest.raises(PermissionError):
            folder.remove(path)
    Path(good, "file").write_text("x")
    folder.remove(good)
    assert not os.path.exists(good) and outside.is_dir()
    long = {"metadata": {"uid": "u" * 36, "namespace": "n" * 63, "name": "c" * 253}}
    folder.make(folder.path_for(long))


@pytest.mark.parametrize(
    ("spec", "fields", "word"),
    [
        ({"selector": {"matchLabels": {"a": "b"}}}, {}, "Selector"),
        ({"dataSource": {"kind": "PersistentVolumeClaim", "name": "o"}}, {}, "DataSource"),
        ({"volumeMode": "Block"}, {}, "Filesystem"),
        ({"accessModes": ["ReadWriteMany"]}, {}, "ReadWriteOnce"),
        ({}, {"parameters": {"path": "/etc"}}, "parameters of a StorageClass are not supported: path"),
        ({}, {"mountOptions": ["ro"]}, "mountOptions"),
    ],
)
def test_what_a_local_volume_cannot_be(spec: JsonObject, fields: JsonObject, word: str) -> None:
    with pytest.raises(Unsupported, match=word):
        refuse({"spec": spec}, fields)
    refuse({"spec": {"accessModes": ["ReadWriteOnce"]}}, {"provisioner": "x"})


async def here(work: Callable[[], None]) -> None:
    """The simulator has no threads."""
    work()


def select(node: str) -> JsonObject:
    return {"metadata": {"annotations": {storage.SELECTED_NODE: node}}}


def test_a_node_makes_and_removes_the_volumes_of_its_claims(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        folder = LocalFolder(str(tmp_path / "root"))
        cluster.start(LocalPath("node-1", folder, cluster.host, cluster.client, here).run())
        for name in ("mine", "other", "many"):
            modes = ["ReadWriteMany"] if name == "many" else ["ReadWriteOnce"]
            await cluster.create(PVCS, new_claim(name, storageClassName="local-path", accessModes=modes))
            await cluster.patch(PVCS, f"default/{name}", select("node-2" if name == "other" else "node-1"))
        await cluster.settle()
        mine = await cluster.get(PVCS, "default/mine")
        assert mine is not None
        assert meta.status(mine)["phase"] == "Bound"
        volume = await cluster.get(PVS, meta.spec(mine)["volumeName"])
        assert volume is not None
        path = Path(meta.spec(volume)["local"]["path"])
        assert path.is_dir() and path.parent == tmp_path / "root"
        assert FINALIZER in meta.finalizers(volume)
        assert meta.spec(volume)["nodeAffinity"] == storage.local_affinity("node-1")
        assert len(await cluster.list(PVS)) == 1
        assert (await cluster.events("ProvisioningFailed"))[0].endswith("ReadWriteOncePod are supported")
        (path / "file").write_text("x")
        # Somebody deletes the volume: it stays while it is bound, and its folder goes before it.
        await cluster.delete(PVS, meta.name(volume))
        await cluster.settle()
        assert (path / "file").exists()
        await cluster.delete(PVCS, "default/mine")
        await cluster.settle()
        assert not path.exists()
        assert await cluster.list(PVS) == []

    run(body)


def test_a_retained_volume_keeps_its_folder(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        folder = LocalFolder(str(tmp_path / "root"))
        cluster.start(LocalPath("node-1", folder, cluster.host, cluster.client, here).run())
        await cluster.create(PVCS, new_claim("c", storageClassName="local-path"))
        await cluster.patch(PVCS, "default/c", select("node-1"))
        await cluster.settle()
        (volume,) = await cluster.list(PVS)
        name, path = meta.name(volume), Path(meta.spec(volume)["local"]["path"])
        await cluster.patch(PVS, name, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
        await cluster.delete(PVCS, "default/c")
        await cluster.settle()
        found = await cluster.get(PVS, name)
        assert found is not None
        assert meta.status(found)["phase"] == "Released"
        assert path.is_dir()
        await cluster.delete(PVS, name)
        await cluster.settle()
        assert await cluster.get(PVS, name) is None
        assert path.is_dir()

    run(body)


def test_errors_of_the_disk_are_told_and_tried_again(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers(*NAMES)
        root = tmp_path / "root"
        root.write_text("a file is in the way")
        cluster.start(LocalPath("node-1", LocalFolder(str(root)), cluster.host, cluster.client, here).run())
        await cluster.create(PVCS, new_claim("c", storageClassName="local-path"))
        await cluster.patch(PVCS, "default/c", select("node-1"))
        await cluster.settle()
        assert "File exists" in (await cluster.events("ProvisioningFailed"))[0]
        root.unlink()
        await cluster.settle(60)
        found = await cluster.get(PVCS, "default/c")
        assert found is not None
        assert meta.status(found)["phase"] == "Bound"

    run(body)
