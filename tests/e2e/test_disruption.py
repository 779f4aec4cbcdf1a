"""Disruption budgets that hold a drain, and pods that make room for more important ones."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from argosy.testing import Cluster

SPACE = ("-n", "disruption")
NODE = "node-2"


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", "disruption")
    yield cluster
    cluster.kubectl("uncordon", NODE)
    release(cluster)
    cluster.kubectl("delete", "priorityclass", "urgent", "polite", "--ignore-not-found")
    cluster.kubectl("delete", "namespace", "disruption", "--timeout=90s")


def release(cluster: Cluster) -> None:
    """The victim, which was held to be looked at, may go."""
    change = json.dumps({"metadata": {"finalizers": None}})
    cluster.kubectl_result("patch", "pod", "lesser", *SPACE, "--type=merge", "-p", change)


def pod_spec(**spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox:1.35", "command": ["sleep", "3600"], **spec.pop("container", {})}
    return {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}


def running(cluster: Cluster, label: str) -> list[dict[str, Any]]:
    found = cluster.get("pods", *SPACE, "-l", label)["items"]
    return [
        pod for pod in found if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]


def condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((item for item in pod["status"].get("conditions", ()) if item["type"] == kind), {})


def test_a_budget_holds_a_drain_and_lets_it_go_on(space: Cluster) -> None:
    labels = {"app": "web"}
    # Both replicas on one node, which they prefer, so that draining it must move them one after the other.
    affinity = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "preference": {
                        "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]
                    },
                }
            ]
        }
    }
    space.apply(
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "disruption"},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod_spec(affinity=affinity)},
            },
        },
        {
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "disruption"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": labels}},
        },
    )  # fmt: skip
    space.eventually(lambda: len(running(space, "app=web")), equals=2)
    space.eventually(lambda: space.get("pdb", "web", *SPACE)["status"].get("currentHealthy"), equals=2)
    assert space.get("pdb", "web", *SPACE)["status"].get("disruptionsAllowed", 0) == 0
    there = [pod for pod in running(space, "app=web") if pod["spec"]["nodeName"] == NODE]
    assert there

    try:
        drain = ("drain", NODE, "--pod-selector=app=web", "--ignore-daemonsets", "--timeout=5s")
        held = space.kubectl_result(*drain)
        assert held.returncode != 0
        assert "Cannot evict pod as it would violate the pod's disruption budget" in held.stderr + held.stdout
        assert len(running(space, "app=web")) == 2, "no pod went"

        command = [space.kubectl_binary, "--kubeconfig", str(space.kubeconfig), *drain[:-1], "--timeout=60s"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as going:
            space.kubectl("patch", "pdb", "web", *SPACE, "--type=merge", "-p", '{"spec":{"minAvailable":1}}')
            printed, _ = going.communicate(timeout=90)
            assert going.returncode == 0, printed
        assert "evicted" in printed
        space.eventually(lambda: len(running(space, "app=web")), equals=2)
        assert all(pod["spec"]["nodeName"] != NODE for pod in running(space, "app=web"))
        space.eventually(lambda: space.get("pdb", "web", *SPACE)["status"]["disruptionsAllowed"], equals=1)
    finally:
        space.kubectl("uncordon", NODE)


def test_an_important_pod_pushes_a_lesser_one_off_a_full_node(space: Cluster) -> None:
    node = space.get("node", NODE)
    cpus = node["status"]["allocatable"]["cpu"]
    milli = int(cpus[:-1]) if cpus.endswith("m") else int(cpus) * 1000
    request = {"resources": {"requests": {"cpu": f"{milli * 6 // 10}m"}}}
    place = {"nodeSelector": {"kubernetes.io/hostname": NODE}, "container": request}
    meta = {"namespace": "disruption", "labels": {"for": "room"}}
    space.apply(
        *[
            {
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                "value": 1000, "preemptionPolicy": policy,
            }
            for name, policy in (("urgent", "PreemptLowerPriority"), ("polite", "Never"))
        ],
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {**meta, "name": "lesser", "finalizers": ["example.com/hold"]}, "spec": pod_spec(**place),
        },
    )  # fmt: skip
    space.eventually(lambda: len(running(space, "for=room")), equals=1)
    polite = {**pod_spec(**place), "priorityClassName": "polite"}
    space.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "name": "polite"}, "spec": polite})

    def unplaced() -> str:
        found: str = condition(space.get("pod", "polite", *SPACE), "PodScheduled").get("message", "")
        return found

    space.eventually(lambda: "Insufficient cpu" in unplaced())
    assert "preemptionPolicy=Never" in unplaced()
    assert len(running(space, "for=room")) == 1
    space.kubectl("delete", "pod", "polite", *SPACE, "--now")

    urgent = {**pod_spec(**place), "priorityClassName": "urgent"}
    space.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "name": "greater"}, "spec": urgent})

    def victim() -> dict[str, Any]:
        return condition(space.get("pod", "lesser", *SPACE), "DisruptionTarget")

    space.eventually(lambda: victim().get("reason"), equals="PreemptionByScheduler")
    assert victim()["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
    fields = "involvedObject.name=lesser,reason=Preempted"
    space.eventually(lambda: space.get("events", *SPACE, "--field-selector", fields)["items"])
    [event] = space.get("events", *SPACE, "--field-selector", fields)["items"]
    uid = space.get("pod", "greater", *SPACE)["metadata"]["uid"]
    assert event["message"] == f"Preempted by pod {uid} on node {NODE}"
    release(space)
    space.eventually(lambda: [pod["metadata"]["name"] for pod in running(space, "for=room")], equals=["greater"])
    space.eventually(lambda: space.get("pod", "greater", *SPACE)["status"].get("nominatedNodeName"), equals=None)
    space.kubectl("delete", "pod", "greater", *SPACE, "--now")
