"""Pods resized in place on real nodes: cgroups follow, policies restart, what does not fit says so; VPA does it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from argosy.testing import Cluster
from tests.e2e import clients

SPACE = "resizing"
READ = """
cd /sys/fs/cgroup
if [ -e cpu/cpu.cfs_quota_us ]; then cat cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes
else cut -d' ' -f1 cpu.max; cat memory.max; fi
"""
SLEEP = ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
BUSY = ["sh", "-c", "trap exit TERM; while :; do :; done"]
SMALL = {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
LARGE = {"requests": {"cpu": "150m", "memory": "64Mi"}, "limits": {"cpu": "300m", "memory": "128Mi"}}
FIGURES = {"small": ["10000", str(32 << 20)], "large": ["30000", str(128 << 20)]}


@pytest.fixture
def space(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", SPACE)
    yield cluster
    cluster.kubectl("delete", "namespace", SPACE, "--wait=false")


def container(name: str, resources: dict, **more: object) -> dict:
    return {"name": name, "image": "busybox:1.35", "command": SLEEP, "resources": resources, **more}


def pod(name: str, *containers: dict, **spec: object) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [*containers], **spec},
    }


def resizing_kubectls() -> list[str]:
    """Those that know the subresource: 1.32 and newer."""
    return [path for path in clients.installed() if clients.minor(path) >= 32]


def resize(cluster: Cluster, name: str, *, binary: str = "", **resources: dict) -> None:
    listed = [{"name": key, "resources": value} for key, value in resources.items()]
    patch = json.dumps({"spec": {"containers": listed}})
    cluster.kubectl("patch", "pod", name, "-n", SPACE, "--subresource", "resize", "--patch", patch, binary=binary)


def replace(cluster: Cluster, name: str, resources: dict, *, index: int = 0, refused: bool = False) -> str:
    """As a kubectl that does not know the subresource can: PUT of the whole pod. Gives what was said of it."""
    found = cluster.get("pod", name, "-n", SPACE)
    found["spec"]["containers"][index]["resources"] = resources
    del found["metadata"]["resourceVersion"]  # its node writes status beside
    path = f"/api/v1/namespaces/{SPACE}/pods/{name}/resize"
    done = cluster.kubectl_result("replace", "--raw", path, "-f", "-", stdin=json.dumps(found))
    assert (done.returncode != 0) == refused, done.stderr
    return done.stderr


def status(cluster: Cluster, name: str, field: str = "main") -> dict:
    listed = cluster.get("pod", name, "-n", SPACE)["status"]["containerStatuses"]
    return next(item for item in listed if item["name"] == field)


def condition(cluster: Cluster, name: str, type_: str) -> dict:
    listed = cluster.get("pod", name, "-n", SPACE)["status"]["conditions"]
    return next((item for item in listed if item["type"] == type_), {})


def figures(cluster: Cluster, name: str) -> Callable[[], list[str]]:
    return lambda: cluster.kubectl("exec", name, "-n", SPACE, "-c", "main", "--", "sh", "-c", READ).split()


def vertical(cluster: Cluster) -> dict[str, str]:
    """A workload that needs more than it asks for, and an autoscaler to see to it; its pods' uids by name."""
    labels = {"app": "thin"}
    thin = container("main", {"requests": {"cpu": "10m", "memory": "10Mi"}, "limits": {"cpu": "60m"}})
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{**thin, "command": BUSY}]}}
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "thin", "namespace": SPACE},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "autoscaling.k8s.io/v1",
            "kind": "VerticalPodAutoscaler",
            "metadata": {"name": "thin", "namespace": SPACE},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "thin"},
                "updatePolicy": {"updateMode": "InPlaceOrRecreate"},
                "resourcePolicy": {
                    "containerPolicies": [
                        {"containerName": "*", "maxAllowed": {"memory": "64Mi"}, "controlledValues": "RequestsOnly"}
                    ]
                },
            },
        },
    )
    cluster.wait("deployment/thin", "condition=Available", "-n", SPACE)
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in thin_pods(cluster)}


def thin_pods(cluster: Cluster) -> list[dict]:
    found: list[dict] = cluster.get("pods", "-n", SPACE, "-l", "app=thin")["items"]
    return found


def test_pods_are_resized_in_place(space: Cluster) -> None:
    uids = vertical(space)
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    space.apply(pod("web", container("main", SMALL), container("again", SMALL, resizePolicy=policy)))
    space.wait("pod/web", "condition=Ready", "-n", SPACE)
    assert figures(space, "web")() == FIGURES["small"]

    # Larger, by whatever client, and smaller again, without a restart.
    replace(space, "web", LARGE)
    space.eventually(lambda: figures(space, "web")() == FIGURES["large"], what="the cgroup grew")
    space.eventually(lambda: status(space, "web")["resources"] == LARGE)
    for binary in resizing_kubectls():
        resize(space, "web", binary=binary, main=SMALL)
        space.eventually(lambda: figures(space, "web")() == FIGURES["small"], what="the cgroup shrank")
        resize(space, "web", binary=binary, main=LARGE)
    replace(space, "web", SMALL)
    told = space.eventually(lambda: (found := status(space, "web"))["resources"] == SMALL and found)
    assert (told["allocatedResources"], told["restartCount"]) == (SMALL["requests"], 0)

    # A container whose policy says so starts anew, for the resource that it says.
    replace(space, "web", LARGE, index=1)
    space.eventually(lambda: status(space, "web", "again")["restartCount"] == 1)
    space.eventually(lambda: status(space, "web", "again")["resources"] == LARGE)
    assert status(space, "web")["restartCount"] == 0

    does_not_fit(space, space.get("pod", "web", "-n", SPACE)["spec"]["nodeName"])

    def grown() -> bool:
        pods = thin_pods(space)
        requests = [item["spec"]["containers"][0]["resources"]["requests"] for item in pods]
        in_force = [item["status"]["containerStatuses"][0]["resources"]["requests"] for item in pods]
        return requests == in_force and all(
            item["cpu"] != "10m" and item["memory"] == str(64 << 20) for item in requests
        )

    space.eventually(grown, timeout_s=90, what="both pods were given what was recommended")
    assert {item["metadata"]["name"]: item["metadata"]["uid"] for item in thin_pods(space)} == uids
    assert all(item["status"]["containerStatuses"][0]["restartCount"] == 0 for item in thin_pods(space))


def does_not_fit(space: Cluster, node: str) -> None:
    """More than the node ever has is refused; more than it has now waits, and is given up by asking for less."""
    there = space.get("node", node)["status"]["allocatable"]["cpu"]
    milli = int(there[:-1]) if there.endswith("m") else int(there) * 1000
    space.apply(
        pod("beside", container("main", SMALL), nodeName=node), pod("grows", container("main", SMALL), nodeName=node)
    )
    space.wait("pod/beside", "condition=Ready", "-n", SPACE)
    space.wait("pod/grows", "condition=Ready", "-n", SPACE)

    def asking(cpu_milli: int) -> dict:
        text = f"{cpu_milli}m"
        return {"requests": {**SMALL["requests"], "cpu": text}, "limits": {**SMALL["limits"], "cpu": text}}

    complaint = replace(space, "grows", asking(milli + 1), refused=True)
    said = f"Node didn't have enough allocatable resources: cpu, requested: {milli + 1}, allocatable: {milli}"
    assert said in complaint
    replace(space, "grows", asking(milli))
    waits = space.eventually(lambda: condition(space, "grows", "PodResizePending"))
    assert (waits["status"], waits["reason"]) == ("True", "Deferred")
    assert f"cpu, requested: {milli}, used:" in waits["message"]
    assert figures(space, "grows")() == FIGURES["small"]
    killed = space.kill(f"{node}/agent")
    space.eventually(lambda: space.processes()[f"{node}/agent"].pid not in (None, killed), what="a new agent runs")
    assert figures(space, "grows")() == FIGURES["small"]
    assert status(space, "grows")["resources"] == SMALL
    replace(space, "grows", LARGE)
    space.eventually(lambda: figures(space, "grows")() == FIGURES["large"])
    assert condition(space, "grows", "PodResizePending") == {}
