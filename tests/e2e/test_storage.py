"""Claims, volumes and the class local-path with real containers and real folders."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.testing import Cluster

SPACE = "storage-e2e"
Json = dict


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[str]:
    cluster.kubectl("create", "namespace", SPACE)
    yield SPACE
    cluster.kubectl("delete", "namespace", SPACE, "--timeout=60s")


def claim(name: str, **spec: object) -> Json:
    full = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}, **spec}
    metadata = {"name": name, "namespace": SPACE}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": full}


def pod(name: str, script: str, volume: Json, **spec: object) -> Json:
    container = {
        "name": "c",
        "image": "busybox:1.35",
        "command": ["sh", "-c", f"{script}; sleep 3600"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    full = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "data", **volume}],
        **spec,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": SPACE}, "spec": full}


def of_claim(name: str) -> Json:
    return {"persistentVolumeClaim": {"claimName": name}}


def volume_of(cluster: Cluster, name: str) -> Json:
    found = cluster.get("pvc", name, "-n", SPACE)
    return cluster.get("pv", found["spec"]["volumeName"])


def folder_of(cluster: Cluster, volume: Json) -> Path:
    """Where a node's folder is on the machine under the cluster."""
    (expression,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]
    path = volume["spec"]["local"]["path"]
    return Path(f"{cluster.state}/nodes/{expression['values'][0]}{path}")


def written(folder: Path) -> str:
    """What the pod has written by now: it is Ready before its script has come so far."""
    file = folder / "file"
    return file.read_text() if file.exists() else ""


def gone(cluster: Cluster, *what: str) -> bool:
    return not cluster.kubectl("get", *what, "--ignore-not-found", "-o", "name").strip()


def events(cluster: Cluster, name: str) -> str:
    return cluster.kubectl("get", "events", "-n", SPACE, "--field-selector", f"involvedObject.name={name}")


def test_data_outlives_the_pod_and_goes_with_the_claim(cluster: Cluster, space: str) -> None:
    cluster.apply(claim("data"))
    cluster.eventually(lambda: "waiting for first consumer to be created before binding" in events(cluster, "data"))
    assert cluster.get("pvc", "data", "-n", space)["status"]["phase"] == "Pending"
    cluster.apply(pod("first", "echo kept > /data/file", of_claim("data")))
    cluster.wait("pod/first", "condition=Ready", "-n", space)
    volume = volume_of(cluster, "data")
    folder = folder_of(cluster, volume)
    cluster.eventually(lambda: written(folder), equals="kept\n")
    table = cluster.kubectl("get", "pvc", "data", "-n", space)
    assert re.search(rf"data +Bound +{volume['metadata']['name']} +8Mi +RWO +local-path ", table)
    grown = cluster.kubectl_result(
        "patch", "pvc", "data", "-n", space, "-p", '{"spec":{"resources":{"requests":{"storage":"9Mi"}}}}'
    )
    assert grown.returncode == 1
    assert "only dynamically provisioned pvc can be resized and the storageclass that provisions" in grown.stderr

    cluster.kubectl("delete", "pod", "first", "-n", space)
    cluster.apply(pod("second", "cat /data/file", of_claim("data")))
    cluster.wait("pod/second", "condition=Ready", "-n", space)
    cluster.eventually(lambda: cluster.kubectl("logs", "second", "-n", space), equals="kept\n")
    first_node = folder.parts[folder.parts.index("nodes") + 1]
    assert cluster.get("pod", "second", "-n", space)["spec"]["nodeName"] == first_node

    # In use, the claim stays until its pod is gone; then volume and folder follow.
    cluster.kubectl("delete", "pvc", "data", "-n", space, "--wait=false")
    assert "Terminating" in cluster.kubectl("get", "pvc", "data", "-n", space)
    assert (folder / "file").exists()
    cluster.kubectl("delete", "pod", "second", "-n", space)
    cluster.eventually(lambda: gone(cluster, "pvc", "data", "-n", space))
    cluster.eventually(lambda: gone(cluster, "pv", volume["metadata"]["name"]))
    assert not folder.exists()


def test_a_retained_volume_keeps_its_data(cluster: Cluster, space: str) -> None:
    kept_class = {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "kept"},
        "provisioner": "argosy.io/local-path", "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    }  # fmt: skip
    keeper = pod("keeper", "echo kept > /data/file", of_claim("kept"))
    keeper["spec"]["volumes"].append({"name": "passing", **of_claim("passing")})
    cluster.apply(kept_class, claim("kept", storageClassName="kept"), claim("passing"))
    try:
        cluster.apply(keeper)
        cluster.wait("pod/keeper", "condition=Ready", "-n", space)
        volume, passing = volume_of(cluster, "kept"), folder_of(cluster, volume_of(cluster, "passing"))
        name, folder = volume["metadata"]["name"], folder_of(cluster, volume)
        cluster.eventually(lambda: written(folder), equals="kept\n")
        assert passing.is_dir() and passing.parent == folder.parent
        cluster.kubectl("delete", "pod/keeper", "pvc/kept", "-n", space)
        cluster.wait(f"pv/{name}", "jsonpath={.status.phase}=Released")
        cluster.kubectl("delete", "pv", name)
        # What the node was told of later it has removed: by then it would have removed the other, too.
        cluster.kubectl("delete", "pvc", "passing", "-n", space)
        cluster.eventually(lambda: not passing.exists(), what="the folder of a volume with the policy Delete goes")
        assert (folder / "file").read_text() == "kept\n"
    finally:
        cluster.kubectl("delete", "storageclass", "kept")


def by_path(name: str, **spec: object) -> Json:
    """A volume that an administrator makes: a folder of whichever node its pod is on."""
    full = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": f"/var/tmp/{name}", "type": "DirectoryOrCreate"},
        **spec,
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": full}


def test_a_volume_made_by_hand_and_one_of_the_pods_own(cluster: Cluster, space: str) -> None:
    by_hand = by_path("e2e-by-hand", persistentVolumeReclaimPolicy="Recycle")
    template = {"metadata": {"labels": {"of": "pod"}}, "spec": claim("x")["spec"]}
    security = {"fsGroup": 2000, "runAsUser": 1000}
    cluster.apply(by_hand, claim("by-hand", storageClassName=""))
    cluster.apply(pod("static", "hostname > /data/file", of_claim("by-hand")))
    own = {"ephemeral": {"volumeClaimTemplate": template}}
    cluster.apply(pod("own", "touch /data/file && stat -c %g:%a /data", own, securityContext=security))
    cluster.wait("pod/static", "condition=Ready", "-n", space)
    assert cluster.get("pv", "e2e-by-hand")["spec"]["claimRef"]["name"] == "by-hand"
    node = cluster.get("pod", "static", "-n", space)["spec"]["nodeName"]
    folder = Path(f"/proc/{cluster.processes()[node].pid}/root/var/tmp/e2e-by-hand")
    cluster.eventually(lambda: written(folder), equals="static\n")
    cluster.wait("pod/own", "condition=Ready", "-n", space)
    made = cluster.get("pvc", "own-data", "-n", space)
    assert made["metadata"]["labels"] == {"of": "pod"}
    assert made["metadata"]["ownerReferences"][0]["name"] == "own"
    cluster.eventually(lambda: cluster.kubectl("logs", "own", "-n", space), equals="2000:2777\n")
    cluster.kubectl("delete", "pod", "own", "static", "-n", space)
    cluster.eventually(lambda: gone(cluster, "pvc", "own-data", "-n", space), what="the pod's claim goes with it")
    cluster.kubectl("delete", "pvc", "by-hand", "-n", space)
    cluster.wait("pv/e2e-by-hand", "jsonpath={.status.phase}=Failed")
    assert "No recycler plugin found" in cluster.get("pv", "e2e-by-hand")["status"]["message"]
    assert written(folder) == "static\n"
    cluster.kubectl("delete", "pv", "e2e-by-hand")
    shutil.rmtree(folder)


def test_a_bound_volume_outlives_its_deletion_until_its_claim_goes(cluster: Cluster, space: str) -> None:
    cluster.apply(by_path("e2e-bound"), by_path("e2e-free"))
    cluster.apply(claim("bound", storageClassName="", volumeName="e2e-bound"))
    cluster.wait("pvc/bound", "jsonpath={.status.phase}=Bound", "-n", space)
    cluster.wait("pv/e2e-bound", "jsonpath={.status.phase}=Bound")
    cluster.kubectl("delete", "pv", "e2e-bound", "--wait=false")
    # The same controller lets a volume go that was deleted later: it has looked at the first, and kept it.
    cluster.kubectl("delete", "pv", "e2e-free", "--timeout=60s")
    volume = cluster.get("pv", "e2e-bound")
    assert "kubernetes.io/pv-protection" in volume["metadata"]["finalizers"]
    assert volume["metadata"]["deletionTimestamp"] and volume["status"]["phase"] == "Bound"
    assert re.search(r"e2e-bound .* Terminating ", cluster.kubectl("get", "pv", "e2e-bound"))
    assert cluster.get("pvc", "bound", "-n", space)["status"]["phase"] == "Bound"
    cluster.kubectl("delete", "pvc", "bound", "-n", space, "--timeout=60s")
    cluster.eventually(lambda: gone(cluster, "pv", "e2e-bound"), what="nothing holds the volume any more")


def test_pods_say_which_claim_they_wait_for(cluster: Cluster, space: str) -> None:
    cluster.apply(claim("never", storageClassName="no-such-class"))
    cluster.apply(pod("waits", "true", of_claim("never")), pod("misses", "true", of_claim("missing")))
    cluster.eventually(lambda: "pod has unbound immediate PersistentVolumeClaims" in events(cluster, "waits"))
    cluster.eventually(lambda: 'persistentvolumeclaim "missing" not found' in events(cluster, "misses"))
    cluster.eventually(lambda: 'storageclass.storage.k8s.io "no-such-class" not found' in events(cluster, "never"))
    cluster.kubectl("delete", "pod", "waits", "misses", "-n", space)
