"""The node autoscaler on a real cluster: pods that do not fit bring real nodes, which go when not needed.

A small cluster of its own, as nodes come and go in it: one node of one CPU, and a group that begins with none.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.objects import meta
from argosy.testing import Cluster

SPACE = "default"
GROUP = "small=0:2,cpus=1,memory=1Gi,labels=pool=small,taints=pool=small:NoSchedule"
FLAGS = [
    *("--node-cpus", "1", "--node-memory", "1Gi", "--node-group", GROUP),
    *("--flag", "autoscaler:--scan-interval=1"),
    *("--flag", "autoscaler:--scale-down-unneeded-time=3"),
    *("--flag", "autoscaler:--scale-down-delay-after-add=3"),
    *("--flag", "autoscaler:--node-delete-delay-after-taint=1"),
    *("--flag", "controllers:--pod-gc-period=2"),
]


@pytest.fixture(scope="module")
def small(cluster_kubectl: str) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("a real cluster needs root")
    running = Cluster.start(nodes=1, stores=1, flags=FLAGS, kubectl=cluster_kubectl)
    try:
        yield running
    finally:
        running.stop()


def deployment(replicas: int, cpu: str = "600m") -> dict:
    container = {
        "name": "app", "image": "busybox:1.35", "command": ["sleep", "100000"],
        "resources": {"requests": {"cpu": cpu}},
    }  # fmt: skip
    spec = {
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {"pool": "small"},
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": SPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec},
        },
    }


def nodes(cluster: Cluster) -> list[str]:
    """Those of the group."""
    found = cluster.get("nodes", "-l", "argosy.dev/node-group=small")["items"]
    return sorted(item["metadata"]["name"] for item in found)


def events(cluster: Cluster, reason: str) -> list[str]:
    found = cluster.get("events", "-A", f"--field-selector=reason={reason}")["items"]
    return [item["message"] for item in found]


def ready(cluster: Cluster) -> list[str]:
    """Nodes on which ready pods of the deployment run."""
    found = cluster.get("pods", "-n", SPACE, "-l", "app=web")["items"]
    return sorted(
        pod["spec"]["nodeName"]
        for pod in found
        if any(item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions", ()))
    )


def nothing_left(cluster: Cluster) -> bool:
    """Whether the machine and the cluster have nothing more of nodes of the group; a failure says what they have."""
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    found = [line for line in spaces.splitlines() if f"argosy-{cluster.name}-node-small" in line]
    found += [str(path) for path in (cluster.state / "nodes").glob("node-small-*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/argosy/{cluster.name}/node-small-*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"argosy/{cluster.name}/node-small-*")]
    found += [name for name in cluster.processes() if name.startswith("node-small-")]
    leases = cluster.get("leases", "-n", "kube-node-lease")["items"]
    found += [
        f"lease {meta.name(item)}: {item['metadata']}" for item in leases if meta.name(item).startswith("node-small-")
    ]
    assert found == []
    return True


def test_nodes_come_for_pods_and_go_with_them(small: Cluster) -> None:
    assert nodes(small) == []
    small.apply(deployment(3))
    small.eventually(lambda: len(nodes(small)) == 2, what="two nodes, the group's maximum")
    small.eventually(lambda: ready(small) == nodes(small), what="a pod runs on each")
    assert "pod triggered scale-up: [{small 0->2 (max: 2)}]" in events(small, "TriggeredScaleUp")
    said = "pod didn't trigger scale-up: 1 max node group size reached"
    small.eventually(lambda: said in events(small, "NotTriggerScaleUp"), what="the third pod is told why")
    own = {"key": "pool", "value": "small", "effect": "NoSchedule"}
    node = nodes(small)[0]
    # The one that evicts from nodes that are not ready goes with the node controller's next round.
    small.eventually(lambda: small.get("node", node)["spec"]["taints"], equals=[own])

    status = small.get("configmap", "cluster-autoscaler-status", "-n", "kube-system")["data"]["status"]
    assert "cloudProviderTarget: 2" in status

    small.kubectl("scale", "deployment/web", "-n", SPACE, "--replicas=0")
    small.eventually(lambda: nodes(small) == [], what="no node of the group is left")
    small.eventually(lambda: nothing_left(small), what="nothing of the nodes is left")
    assert "node removed by cluster autoscaler" in events(small, "ScaleDown")


def test_a_node_is_drained_and_its_pod_moves(small: Cluster) -> None:
    """Two nodes at 40 % each become one; the supervisor's death meanwhile changes nothing."""
    small.apply(deployment(2, cpu="600m"))
    small.eventually(lambda: len(ready(small)) == 2, what="a node each")
    first = nodes(small)
    small.kill("supervisor")
    small.argosy("up", "--no-uplink")
    assert nodes(small) == first
    assert set(first) <= set(small.processes()), "taken over by the new supervisor"

    small.apply(deployment(2, cpu="300m"))
    small.eventually(lambda: len(nodes(small)) == 1, what="one node is drained and goes")
    small.eventually(lambda: ready(small) == nodes(small) * 2, what="both pods run on the other")
    small.kubectl("delete", "deployment", "web", "-n", SPACE)
    small.eventually(lambda: nodes(small) == [], what="down to zero")
    small.eventually(lambda: nothing_left(small), what="nothing of the nodes is left")
