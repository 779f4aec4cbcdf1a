"""The pod as the unit: containers that share localhost and volumes; init containers and sidecars around them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from argosy.testing import Cluster

NAMESPACE = "pods"
SPACE = ("-n", NAMESPACE)
IMAGE = "busybox:1.35"
Json = dict[str, Any]
SHARED: Json = {"name": "shared", "emptyDir": {}}

# Appends a line to the shared diary, and says when it is told to end.
DIARY = 'note() { echo "$1" >>/shared/diary; }; '
UNTIL_TERM = "while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def container(name: str, script: str, **more: Any) -> Json:
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts, **more}


def pod(name: str, *containers: Json, **spec: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "terminationGracePeriodSeconds": 10, "volumes": [SHARED], "containers": list(containers), **spec,
        },
    }  # fmt: skip


def state(cluster: Cluster, name: str, of: str = "containerStatuses") -> dict[str, Json]:
    return {item["name"]: item for item in cluster.get("pod", name, *SPACE)["status"].get(of, ())}


def diary(cluster: Cluster, name: str, of: str) -> list[str]:
    return cluster.kubectl("exec", name, "-c", of, *SPACE, "--", "cat", "/shared/diary").split("\n")[:-1]


def test_two_containers_share_localhost_and_a_volume(space: Cluster) -> None:
    """One serves, on loopback only, what the other writes; each has its own files beside that."""
    web = container("web", "httpd -f -p 127.0.0.1:8080 -h /shared; exit 1")
    writer = container("writer", "echo from the writer >/shared/index.html; echo mine >/own; exec sleep 1000")
    space.apply(pod("pair", web, writer, terminationGracePeriodSeconds=0))
    space.wait("pod/pair", "condition=Ready", *SPACE)

    def inside(of: str, *command: str) -> str:
        return space.kubectl("exec", "pair", "-c", of, *SPACE, "--", *command)

    assert space.eventually(lambda: inside("writer", "wget", "-qO-", "http://localhost:8080/")) == "from the writer\n"
    assert inside("web", "hostname") == inside("writer", "hostname") == "pair\n"
    assert inside("web", "hostname", "-i") == inside("writer", "hostname", "-i")
    assert space.kubectl_result("exec", "pair", "-c", "web", *SPACE, "--", "cat", "/own").returncode != 0
    # One of them ends and starts again: the other, the address and the shared files stay.
    address = space.get("pod", "pair", *SPACE)["status"]["podIP"]
    inside("writer", "sh", "-c", "echo kept >/shared/kept")
    space.kubectl_result("exec", "pair", "-c", "web", *SPACE, "--", "killall", "httpd")
    space.eventually(
        lambda: state(space, "pair")["web"]["restartCount"] == 1 and state(space, "pair")["web"]["ready"]
    )
    assert state(space, "pair")["writer"]["restartCount"] == 0
    assert space.get("pod", "pair", *SPACE)["status"]["podIP"] == address
    assert space.eventually(lambda: inside("writer", "wget", "-qO-", "http://localhost:8080/kept")) == "kept\n"


def sidecar_pod() -> Json:
    inits = [
        container("first", DIARY + "note first"),
        container(
            "proxy",
            DIARY + f"trap 'note proxy-ends; cat /shared/diary; exit 0' TERM; sleep 1; note proxy-up; {UNTIL_TERM}",
            restartPolicy="Always",
            startupProbe={"exec": {"command": ["grep", "-q", "proxy-up", "/shared/diary"]}, "periodSeconds": 1},
            readinessProbe={"exec": {"command": ["test", "!", "-e", "/shared/unready"]}, "periodSeconds": 1},
        ),
        container("second", DIARY + "note second"),
    ]
    main = container("main", DIARY + f"trap 'sleep 1; note main-ends; exit 0' TERM; note main; {UNTIL_TERM}")
    return pod("mesh", main, initContainers=inits)


def test_init_containers_and_sidecars_start_in_order_and_end_in_reverse(space: Cluster) -> None:
    space.apply(sidecar_pod())
    space.wait("pod/mesh", "condition=Ready", *SPACE)
    # `second` waited for the sidecar's startup probe, `main` for all of them.
    space.eventually(lambda: diary(space, "mesh", "main"), equals=["first", "proxy-up", "second", "main"])
    inits = state(space, "mesh", "initContainerStatuses")
    assert [inits[name]["state"].get("terminated", {}).get("reason") for name in ("first", "second")] == [
        "Completed"
    ] * 2
    assert (inits["proxy"]["started"], inits["proxy"]["ready"]) == (True, True)
    shown = space.kubectl("get", "pod", "mesh", *SPACE, "--no-headers").split()
    assert shown[1:3] == ["2/2", "Running"]

    # A sidecar counts for the pod's readiness …
    space.kubectl("exec", "mesh", "-c", "main", *SPACE, "--", "touch", "/shared/unready")
    space.wait("pod/mesh", "condition=Ready=false", *SPACE)
    assert space.kubectl("get", "pod", "mesh", *SPACE, "--no-headers").split()[1] == "1/2"
    space.kubectl("exec", "mesh", "-c", "main", *SPACE, "--", "rm", "/shared/unready")
    # … and is started again on its own.
    space.kubectl("exec", "mesh", "-c", "proxy", *SPACE, "--", "sh", "-c", "kill -TERM 1")
    space.eventually(lambda: state(space, "mesh", "initContainerStatuses")["proxy"]["restartCount"], equals=1)
    space.wait("pod/mesh", "condition=Ready", *SPACE)
    assert state(space, "mesh")["main"]["restartCount"] == 0

    follower = subprocess.Popen(
        [space.kubectl_binary, "--kubeconfig", str(space.kubeconfig), "logs", "-f", "mesh", "-c", "proxy", *SPACE],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        space.kubectl("delete", "pod", "mesh", *SPACE)
        told, _ = follower.communicate(timeout=30)
    finally:
        follower.kill()
        follower.wait()
    # The sidecar outlives the main container, whatever that takes to end.
    assert told.split()[-2:] == ["main-ends", "proxy-ends"]


def test_a_sidecar_does_not_keep_a_pod_from_completing(space: Cluster) -> None:
    helper = container("helper", f"trap 'exit 0' TERM; touch /shared/up; {UNTIL_TERM}", restartPolicy="Always")
    task = container("task", "until [ -e /shared/up ]; do sleep 0.1; done; echo done")
    space.apply(pod("task", task, initContainers=[helper], restartPolicy="Never"))
    space.wait("pod/task", "jsonpath={.status.phase}=Succeeded", *SPACE)
    assert state(space, "task", "initContainerStatuses")["helper"]["restartCount"] == 0
    assert "terminated" in state(space, "task", "initContainerStatuses")["helper"]["state"]


def test_a_failing_init_container_holds_the_pod_back(space: Cluster) -> None:
    broken = container("broken", "[ -e /shared/again ] && exit 0; touch /shared/again; exit 3")
    space.apply(
        pod("patient", container("main", "exec sleep 1000"), initContainers=[broken], terminationGracePeriodSeconds=0)
    )
    space.wait("pod/patient", "condition=Ready", *SPACE)
    first = state(space, "patient", "initContainerStatuses")["broken"]
    assert first["restartCount"] == 1 and first["state"]["terminated"]["exitCode"] == 0
    space.apply(
        pod("hopeless", container("main", "true"), initContainers=[container("no", "exit 4")], restartPolicy="Never")
    )
    space.wait("pod/hopeless", "jsonpath={.status.phase}=Failed", *SPACE)
    assert "waiting" in state(space, "hopeless")["main"]["state"]
    shown = space.kubectl("get", "pod", "hopeless", *SPACE, "--no-headers").split()
    assert shown[1:3] == ["0/1", "Init:Error"]
