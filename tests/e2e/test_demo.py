"""The demo: the manifest to the letter, its Services, a rolling update without a lost request, self-healing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from argosy.testing import Cluster, run
from tests.e2e.conftest import Demo, in_node

NODES = ("node-1", "node-2", "node-3")


def nodes_of(demo: Demo) -> set[str]:
    """Where the demo's ready pods are."""
    return {pod["spec"]["nodeName"] for pod in demo.ready_pods()}


def ask(cluster: Cluster, node: str, url: str, times: int) -> set[str]:
    """The names of the pods that answered `times` requests from inside a node."""
    script = str(Path(__file__).with_name("ask.py"))
    done = run(in_node(cluster, node, sys.executable, script, url, str(times)))
    return {line.split()[0] for line in done.stdout.splitlines()}


def test_three_pods_are_ready_and_spread(demo: Demo) -> None:
    if len(nodes_of(demo)) != 3:
        # Faults and taints of tests before this one may have moved pods: what counts is where new ones go.
        demo.cluster.kubectl("delete", "pods", "-n", "production", "-l", "app=api-server")
    demo.cluster.eventually(lambda: len(demo.ready_pods()), equals=3)
    assert nodes_of(demo) == set(NODES)


def test_services_answer_on_every_node_from_every_pod(demo: Demo) -> None:
    names = {pod["metadata"]["name"] for pod in demo.ready_pods()}
    for node in NODES:
        address = next(
            item["address"]
            for item in demo.cluster.get("node", node)["status"]["addresses"]
            if item["type"] == "InternalIP"
        )
        for url in (f"http://{demo.vip()}:{demo.vip_port()}/", f"http://{address}:{demo.node_port()}/"):
            demo.cluster.eventually(
                lambda node=node, url=url: ask(demo.cluster, node, url, 40), equals=names, what=f"{url} from {node}"
            )


def test_pods_reach_the_service_by_name(demo: Demo) -> None:
    cluster = demo.cluster
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "asker", "namespace": "default"},
            "spec": {
                "containers": [
                    {
                        "name": "shell",
                        "image": "busybox",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["sleep", "3600"],
                    }
                ],
                "terminationGracePeriodSeconds": 0,
            },
        }
    )
    try:
        cluster.wait("pod/asker", "condition=Ready")
        for name in ("api-server.production", "api-server.production.svc.cluster.local"):
            url = f"http://{name}:{demo.vip_port()}/"
            answer = cluster.kubectl("exec", "asker", "--", "wget", "-q", "-O", "-", url)
            assert "v2." in answer
    finally:
        cluster.kubectl("delete", "pod", "asker", "--now")


def test_rolling_update_loses_no_request(demo: Demo, load) -> None:
    cluster = demo.cluster
    generator = load("node-1", f"http://{demo.vip()}:{demo.vip_port()}/", 200)
    cluster.kubectl("set", "image", "-n", "production", "deployment/api-server", "api=myregistry/api:v2.2.0")
    fewest = 3

    def rolled_out() -> bool:
        nonlocal fewest
        fewest = min(fewest, len(demo.ready_pods()))
        status = cluster.get("deployment", "api-server", "-n", "production")
        return (
            status["status"].get("observedGeneration") == status["metadata"]["generation"]
            and status["status"].get("updatedReplicas") == 3
            and status["status"].get("replicas") == 3
            and status["status"].get("availableReplicas") == 3
        )

    cluster.eventually(rolled_out, timeout_s=120)
    cluster.kubectl("rollout", "status", "-n", "production", "deployment/api-server", "--timeout=60s")
    result = generator.finish()
    assert result["failed"] == 0, result["errors"]
    assert result["sent"] >= 190 * result["seconds"]
    assert fewest >= 3
    assert any("v2.1.0" in body for body in result["answers"])
    assert any("v2.2.0" in body for body in result["answers"])


def test_history_and_undo(demo: Demo) -> None:
    cluster = demo.cluster
    history = cluster.kubectl("rollout", "history", "-n", "production", "deployment/api-server")
    revisions = [int(line.split()[0]) for line in history.splitlines() if re.match(r"\d+\s", line)]
    assert len(revisions) >= 2
    cluster.kubectl("rollout", "undo", "-n", "production", "deployment/api-server")
    cluster.kubectl("rollout", "status", "-n", "production", "deployment/api-server", "--timeout=90s")
    image = cluster.get("deployment", "api-server", "-n", "production")["spec"]["template"]["spec"]["containers"][0][
        "image"
    ]
    assert image == "myregistry/api:v2.1.0"


def test_a_killed_container_is_restarted(demo: Demo) -> None:
    cluster = demo.cluster
    name = demo.ready_pods()[0]["metadata"]["name"]

    def restarts() -> int:
        pod = cluster.get("pod", name, "-n", "production")
        return pod["status"]["containerStatuses"][0]["restartCount"]

    before = restarts()
    cluster.kubectl("exec", "-n", "production", name, "--", "/bin/sh", "-c", "kill -TERM 1")
    cluster.eventually(restarts, equals=before + 1)
    cluster.eventually(lambda: len(demo.ready_pods()), equals=3)


def test_readiness_decides_who_is_asked(demo: Demo) -> None:
    cluster = demo.cluster
    name = demo.ready_pods()[0]["metadata"]["name"]
    url = f"http://{demo.vip()}:{demo.vip_port()}/"
    cluster.kubectl("exec", "-n", "production", name, "--", "touch", "/tmp/unready")
    cluster.eventually(lambda: name not in ask(cluster, "node-2", url, 20))
    cluster.kubectl("exec", "-n", "production", name, "--", "rm", "/tmp/unready")
    cluster.eventually(lambda: name in ask(cluster, "node-2", url, 20))


def test_a_container_that_fails_its_liveness_probe_is_restarted(demo: Demo) -> None:
    cluster = demo.cluster
    name = demo.ready_pods()[0]["metadata"]["name"]

    def status() -> dict:
        return cluster.get("pod", name, "-n", "production")["status"]["containerStatuses"][0]

    before = status()
    cluster.kubectl("exec", "-n", "production", name, "--", "touch", "/tmp/unhealthy")
    cluster.eventually(lambda: status()["restartCount"], equals=before["restartCount"] + 1, timeout_s=90)
    assert status()["containerID"] != before["containerID"]
    events = ("get", "events", "-n", "production", "--field-selector", f"involvedObject.name={name}")

    def told() -> bool:
        assert "Liveness probe failed" in cluster.kubectl(*events)
        return True

    cluster.eventually(told)
    cluster.eventually(lambda: len(demo.ready_pods()), equals=3)
