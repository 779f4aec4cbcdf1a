"""What controllers and scheduler do, as kubectl shows it: rollouts, custom Endpoints, placement and deletion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from argosy.testing import Cluster

IMAGE = "myregistry/api:v2.1.0"
SPACE = ("-n", "workloads")


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[Cluster]:
    """A namespace of its own, gone afterwards with all that is in it."""
    cluster.kubectl("create", "namespace", "workloads")
    yield cluster
    cluster.kubectl("delete", "namespace", "workloads", "--timeout=60s")


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "api", "image": IMAGE, "ports": [{"name": "http", "containerPort": 8080}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "workloads"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
            **spec,
        },
    }


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": IMAGE, **spec.pop("container", {})}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    metadata = {"name": name, "namespace": "workloads"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def conditions(obj: dict[str, Any]) -> dict[str, tuple[str, str]]:
    found = obj["status"].get("conditions", ())
    return {item["type"]: (item["status"], item.get("reason", "")) for item in found}


def events(cluster: Cluster, name: str, reason: str) -> list[str]:
    items = cluster.get("events", *SPACE, "--field-selector", f"involvedObject.name={name},reason={reason}")["items"]
    return [item["message"] for item in items]


def test_a_rollout_is_paused_resumed_undone_and_found_stuck(space: Cluster) -> None:
    def rollout(verb: str, *flags: str) -> str:
        return space.kubectl("rollout", verb, "deployment/web", *SPACE, *flags)

    def status() -> str:
        return rollout("status", "--timeout=60s")

    space.apply(deployment("web", progressDeadlineSeconds=10))
    assert "successfully rolled out" in status()
    refused = space.kubectl_result(
        "patch", "deployment", "web", *SPACE, "--type=merge", "-p",
        json.dumps({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}}}),
    )  # fmt: skip
    assert refused.returncode == 1
    assert "may not be 0 when `maxSurge` is 0" in refused.stderr

    rollout("pause")
    space.kubectl("set", "env", "deployment/web", *SPACE, "A=1")
    space.eventually(
        lambda: conditions(space.get("deployment", "web", *SPACE))["Progressing"],
        equals=("Unknown", "DeploymentPaused"),
    )
    assert len(space.get("replicasets", *SPACE, "-l", "app=web")["items"]) == 1
    rollout("resume")
    assert "successfully rolled out" in status()
    rollout("undo", "--to-revision=1")
    assert "successfully rolled out" in status()
    assert [line.split()[0] for line in rollout("history").splitlines()[2:] if line] == ["2", "3"]

    space.kubectl("set", "image", "deployment/web", *SPACE, "api=myregistry/none:1")
    stuck = space.kubectl_result("rollout", "status", "deployment/web", *SPACE, "--timeout=60s")
    assert "exceeded its progress deadline" in stuck.stderr
    found = space.get("deployment", "web", *SPACE)
    assert conditions(found)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert conditions(found)["Available"] == ("True", "MinimumReplicasAvailable")
    rollout("undo")
    assert "successfully rolled out" in status()
    assert conditions(space.get("deployment", "web", *SPACE))["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_endpoints_that_people_write_are_mirrored(space: Cluster) -> None:
    metadata = {"name": "outside", "namespace": "workloads"}
    ports = [{"name": "http", "port": 8080}]
    spec = {"ports": [{"name": "http", "port": 80}]}
    space.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "v1", "kind": "Endpoints", "metadata": metadata,
            "subsets": [{"addresses": [{"ip": "10.9.9.9"}], "ports": ports}],
        },
    )  # fmt: skip

    def mirrored() -> list[Any]:
        found = space.get("endpointslices", *SPACE, "-l", "kubernetes.io/service-name=outside")["items"]
        return [[item["addresses"] for item in each.get("endpoints") or ()] for each in found]

    space.eventually(mirrored, equals=[[["10.9.9.9"]]])
    space.kubectl(
        "patch", "endpoints", "outside", *SPACE, "--type=merge", "-p",
        json.dumps({"subsets": [{"addresses": [{"ip": "10.9.9.8"}], "ports": ports}]}),
    )  # fmt: skip
    space.eventually(mirrored, equals=[[["10.9.9.8"]]])
    space.kubectl("delete", "service", "outside", *SPACE)
    space.eventually(mirrored, equals=[])
    space.eventually(lambda: space.kubectl_result("get", "endpoints", "outside", *SPACE).returncode, equals=1)


def test_who_is_not_placed_is_told_why(space: Cluster) -> None:
    space.apply(
        pod("big", container={"resources": {"requests": {"cpu": "9999"}}}),
        pod("gated", schedulingGates=[{"name": "example.com/wait"}]),
        pod("elsewhere", schedulerName="mine"),
    )
    nodes = len(space.get("nodes")["items"])
    wanted = (
        f"0/{nodes} nodes are available: {nodes} Insufficient cpu. "
        f"preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
    )

    def told() -> bool:
        assert wanted in events(space, "big", "FailedScheduling")
        return True

    space.eventually(told)
    space.eventually(
        lambda: conditions(space.get("pod", "big", *SPACE)).get("PodScheduled"), equals=("False", "Unschedulable")
    )
    assert conditions(space.get("pod", "gated", *SPACE))["PodScheduled"] == ("False", "SchedulingGated")
    assert "PodScheduled" not in conditions(space.get("pod", "elsewhere", *SPACE))
    space.kubectl(
        "patch", "pod", "gated", *SPACE, "--type=json", "-p", '[{"op":"remove","path":"/spec/schedulingGates"}]'
    )
    space.wait("pod/gated", "condition=Ready", *SPACE)
    space.kubectl("delete", "pod", "big", "gated", "elsewhere", *SPACE, "--now")


def test_an_owner_is_deleted_in_three_ways(space: Cluster) -> None:
    def owned(cascade: str) -> list[dict[str, Any]]:
        """What is left of the only dependent when its owner has gone so."""
        space.kubectl("create", "configmap", "owner", *SPACE)
        uid = space.get("configmap", "owner", *SPACE)["metadata"]["uid"]
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "blockOwnerDeletion": True}
        metadata = {"name": "kid", "namespace": "workloads", "ownerReferences": [reference], "labels": {"kid": "yes"}}
        space.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        space.kubectl("delete", "configmap", "owner", *SPACE, f"--cascade={cascade}")
        found: list[dict[str, Any]] = space.get("configmaps", *SPACE, "-l", "kid=yes")["items"]
        return found

    assert owned("foreground") == [], "it went before its owner"
    [orphan] = owned("orphan")
    assert "ownerReferences" not in orphan["metadata"]
    space.kubectl("delete", "configmap", "kid", *SPACE)
    owned("background")
    space.eventually(lambda: space.get("configmaps", *SPACE, "-l", "kid=yes")["items"], equals=[])


def test_a_namespace_says_what_keeps_it(cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", "kept")
    held = {"name": "x", "namespace": "kept", "finalizers": ["example.com/hold"]}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    cluster.kubectl("delete", "namespace", "kept", "--wait=false")
    cluster.eventually(
        lambda: conditions(cluster.get("namespace", "kept")).get("NamespaceFinalizersRemaining"),
        equals=("True", "SomeFinalizersRemain"),
    )
    cluster.kubectl("patch", "configmap", "x", "-n", "kept", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    cluster.kubectl("wait", "namespace/kept", "--for=delete", "--timeout=60s")


def test_a_replication_controller_keeps_its_number_of_pods(space: Cluster) -> None:
    made = deployment("old")
    spec = {**made["spec"], "selector": {"app": "old"}}
    space.apply({**made, "apiVersion": "v1", "kind": "ReplicationController", "spec": spec})
    owner = space.get("rc", "old", *SPACE)["metadata"]["uid"]

    def pods() -> set[str]:
        found = space.get("pods", *SPACE, "-l", "app=old")["items"]
        staying = [item for item in found if "deletionTimestamp" not in item["metadata"]]
        assert all(item["metadata"]["ownerReferences"][0]["uid"] == owner for item in staying)
        return {item["metadata"]["name"] for item in staying}

    def ready(replicas: int) -> bool:
        status = space.get("rc", "old", *SPACE)["status"]
        assert (status["replicas"], status.get("readyReplicas")) == (replicas, replicas)
        return len(pods()) == replicas

    space.eventually(lambda: ready(2))
    lost, kept = sorted(pods())
    space.kubectl("delete", "pod", lost, *SPACE, "--wait=false")
    space.eventually(lambda: lost not in pods() and kept in pods() and ready(2), what="another in its place")
    space.kubectl("scale", "rc", "old", *SPACE, "--replicas=3")
    space.eventually(lambda: ready(3))
    space.kubectl("scale", "rc", "old", *SPACE, "--replicas=1")
    space.eventually(lambda: ready(1))
    space.kubectl("delete", "rc", "old", *SPACE)
    space.eventually(lambda: space.get("pods", *SPACE, "-l", "app=old")["items"], equals=[])
