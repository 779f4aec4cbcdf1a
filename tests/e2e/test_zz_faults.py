"""Things die: processes under load, the supervisor, a node. Runs after the other end-to-end tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from argosy.testing import Cluster, CommandFailed
from tests.e2e.conftest import Demo


@contextmanager
def writes(cluster: Cluster, name: str) -> Iterator[list[int]]:
    """ConfigMap keys written one after the other; gives the numbers that were acknowledged so far."""
    acknowledged: list[int] = []
    stop = threading.Event()
    cluster.kubectl("create", "configmap", name)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            patch = f'{{"data":{{"k{number}":"{number}"}}}}'
            try:
                cluster.kubectl("patch", "configmap", name, "--type=merge", "-p", patch, timeout_s=30)
            except CommandFailed:
                continue
            acknowledged.append(number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join()
        stored = cluster.get("configmap", name)["data"]
        cluster.kubectl("delete", "configmap", name)
        lost = [number for number in acknowledged if stored.get(f"k{number}") != str(number)]
        assert not lost, f"acknowledged and lost: {lost}"


def containers(demo: Demo) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["containerID"] for pod in demo.pods()}


@pytest.mark.parametrize(
    "process",
    [
        "etcd-1",
        "apiserver-1",
        "controllers-1",
        "scheduler-1",
        "node-1/agent",
        "node-1/proxy",
        "node-1/containerd",
    ],
)
def test_a_killed_process_comes_back_and_nothing_is_lost(demo: Demo, process: str, load) -> None:
    cluster = demo.cluster
    before = containers(demo)
    generator = load("node-2", f"http://{demo.vip()}:{demo.vip_port()}/", 50)
    with writes(cluster, "written-" + process.replace("/", "-")) as acknowledged:
        cluster.eventually(lambda: len(acknowledged) >= 3)
        old = cluster.kill(process)

        def back() -> bool:
            found = cluster.processes()[process]
            return found.pid not in (0, old) and found.healthy

        cluster.eventually(back)
        seen = len(acknowledged)
        cluster.eventually(lambda: len(acknowledged) >= seen + 3)
    result = generator.finish()
    assert result["failed"] == 0, result["errors"]
    cluster.eventually(lambda: len(demo.ready_pods()), equals=3)
    assert containers(demo) == before


def test_the_supervisor_dies_and_a_new_one_adopts_its_children(demo: Demo) -> None:
    cluster = demo.cluster
    before = {name: item.pid for name, item in cluster.processes().items() if name != "supervisor"}
    cluster.kill("supervisor")
    cluster.argosy("up", "--no-uplink")

    def adopted() -> bool:
        return {name: item.pid for name, item in cluster.processes().items() if name != "supervisor"} == before

    cluster.eventually(adopted)
    old = cluster.kill("scheduler-1")
    cluster.eventually(lambda: cluster.processes()["scheduler-1"].pid not in (0, old))


def test_a_crashed_node_is_evicted_and_rejoins(demo: Demo) -> None:
    cluster = demo.cluster
    cluster.argosy("node crash", "node-2")

    def ready(node: str) -> str:
        conditions = cluster.get("node", node)["status"]["conditions"]
        return next(item["status"] for item in conditions if item["type"] == "Ready")

    cluster.eventually(lambda: ready("node-2") != "True", timeout_s=90)
    cluster.eventually(
        lambda: len([pod for pod in demo.ready_pods() if pod["spec"]["nodeName"] != "node-2"]),
        equals=3,
        timeout_s=120,
    )
    cluster.argosy("node start", "node-2")
    cluster.eventually(lambda: ready("node-2"), equals="True", timeout_s=60)

    def leaving() -> list[bool]:
        pods = cluster.get("pods", "-n", "production", "-l", "app=api-server")["items"]
        return ["deletionTimestamp" in pod["metadata"] for pod in pods]

    cluster.eventually(leaving, equals=[False] * 3, timeout_s=60)
