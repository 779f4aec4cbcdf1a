"""DaemonSet on real nodes: one pod on each, a node that joins gets one, nodes are updated one after the other."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from argosy.testing import Cluster

NAMESPACE = "daemons"
SPACE = ("-n", NAMESPACE)
Json = dict[str, Any]
OLD, NEW = "myregistry/api:v2.1.0", "myregistry/api:v2.2.0"
NODES = {"node-1", "node-2", "node-3"}
EXTRA = "node-8"


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def daemon_set(name: str, **pod: Any) -> Json:
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1}
    container = {"name": "c", "image": OLD, "readinessProbe": probe}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }


def places(cluster: Cluster, name: str = "agent") -> dict[str, tuple[str, str]]:
    """Node → image and name, of the pods that are ready and stay."""
    return {
        pod["spec"]["nodeName"]: (pod["spec"]["containers"][0]["image"], pod["metadata"]["name"])
        for pod in cluster.get("pods", *SPACE, "-l", f"app={name}")["items"]
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    }


@contextmanager
def watching(cluster: Cluster) -> Iterator[list[Json]]:
    """The statuses that the set goes through."""
    line = [cluster.kubectl_binary, "--kubeconfig", str(cluster.kubeconfig), "get", "ds", "agent", *SPACE, "-w"]
    process = subprocess.Popen([*line, "-o", "json"], stdout=subprocess.PIPE, text=True)
    seen: list[Json] = []

    def read() -> None:
        assert process.stdout is not None
        decoder, text = json.JSONDecoder(), ""
        for part in process.stdout:
            text += part
            if part.startswith("}"):
                obj, _ = decoder.raw_decode(text.strip())
                seen.append(obj["status"])
                text = ""

    reader = threading.Thread(target=read)
    reader.start()
    try:
        cluster.eventually(lambda: seen, what="the watch shows the set")
        yield seen
    finally:
        process.kill()
        process.wait()
        reader.join()


def test_each_node_has_one_and_a_node_that_joins_gets_one(space: Cluster) -> None:
    space.apply(daemon_set("agent"))
    space.kubectl("rollout", "status", "ds/agent", *SPACE, "--timeout=60s")
    assert set(places(space)) == NODES
    shown = space.kubectl("get", "ds", "agent", *SPACE, "--no-headers").split()
    assert shown[:7] == ["agent", "3", "3", "3", "3", "3", "<none>"]
    space.argosy("node add", EXTRA)
    try:
        space.wait(f"node/{EXTRA}", "condition=Ready")
        space.eventually(lambda: set(places(space)), equals={*NODES, EXTRA})
    finally:
        space.argosy("node remove", EXTRA)
    space.eventually(lambda: space.get("ds", "agent", *SPACE)["status"]["desiredNumberScheduled"], equals=3)
    # Pods of a node that is gone are collected after a quarantine of 40 s; that is another test's matter.
    space.kubectl("delete", "pods", *SPACE, "--field-selector", f"spec.nodeName={EXTRA}")
    space.eventually(lambda: set(places(space)), equals=NODES)


def test_a_pod_that_is_lost_comes_back_on_its_node(space: Cluster) -> None:
    _, name = space.eventually(lambda: places(space)["node-2"])
    space.kubectl("delete", "pod", name, *SPACE, "--wait=false")
    space.eventually(lambda: places(space)["node-2"][1] != name)
    # A cordon does not keep daemons away, nor does a drain take them.
    try:
        space.kubectl("drain", "node-2", "--ignore-daemonsets", "--pod-selector", "app=agent", "--timeout=60s")
        _, name = places(space)["node-2"]
        space.kubectl("delete", "pod", name, *SPACE, "--wait=false")
        space.eventually(lambda: places(space)["node-2"][1] != name, what="a new daemon on the cordoned node")
        assert space.get("node", "node-2")["spec"]["unschedulable"] is True
    finally:
        space.kubectl("uncordon", "node-2")


def test_an_update_goes_node_by_node_and_back(space: Cluster) -> None:
    with watching(space) as seen:
        space.kubectl("set", "image", "ds/agent", f"c={NEW}", *SPACE)
        space.kubectl("rollout", "status", "ds/agent", *SPACE, "--timeout=60s")
    assert {image for image, _ in places(space).values()} == {NEW}
    assert min(status.get("numberAvailable", 0) for status in seen) >= 2
    assert {status.get("updatedNumberScheduled", 0) for status in seen} >= {1, 2, 3}
    history = space.kubectl("rollout", "history", "ds/agent", *SPACE).split("\n")
    assert [line.split()[0] for line in history[2:] if line] == ["1", "2"]

    # Half-way through a bad update, going back restarts only what was updated.
    space.kubectl("set", "image", "ds/agent", "c=nowhere.test/none:1", *SPACE)
    space.eventually(lambda: len(places(space)), equals=2)
    kept = {name for _, name in places(space).values()}
    space.kubectl("rollout", "undo", "ds/agent", *SPACE)
    space.kubectl("rollout", "status", "ds/agent", *SPACE, "--timeout=60s")
    after = places(space)
    assert {image for image, _ in after.values()} == {NEW}
    assert kept < {name for _, name in after.values()}
    numbers = {item["revision"] for item in space.get("controllerrevisions", *SPACE)["items"]}
    assert numbers == {1, 3, 4}


def test_labels_and_taints_decide_where(space: Cluster) -> None:
    space.apply(daemon_set("special", nodeSelector={"disk": "fast"}))
    space.eventually(lambda: space.get("ds", "special", *SPACE)["status"].get("observedGeneration"), equals=1)
    assert space.get("ds", "special", *SPACE)["status"]["desiredNumberScheduled"] == 0
    try:
        space.kubectl("label", "node", "node-1", "node-3", "disk=fast")
        space.eventually(lambda: set(places(space, "special")), equals={"node-1", "node-3"})
        space.kubectl("label", "node", "node-3", "--overwrite", "disk=slow")
        space.eventually(lambda: set(places(space, "special")), equals={"node-1"})
        space.kubectl("taint", "node", "node-1", "e2e.test/away=:NoExecute")
        space.eventually(lambda: places(space, "special"), equals={})
        space.eventually(lambda: space.get("ds", "special", *SPACE)["status"]["desiredNumberScheduled"], equals=0)
        tolerations = [{"key": "e2e.test/away", "operator": "Exists"}]
        space.apply(daemon_set("tolerant", nodeSelector={"disk": "fast"}, tolerations=tolerations))
        space.eventually(lambda: set(places(space, "tolerant")), equals={"node-1"})
        assert places(space, "special") == {}
    finally:
        space.kubectl_result("taint", "node", "node-1", "e2e.test/away-")
        space.kubectl("label", "node", "--all", "disk-")
    space.kubectl("delete", "ds", "special", "tolerant", "agent", *SPACE, "--cascade=foreground", "--timeout=30s")
    assert space.get("pods,controllerrevisions", *SPACE)["items"] == []
