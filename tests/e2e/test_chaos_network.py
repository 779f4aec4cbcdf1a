"""Members cut off from each other: the store's leader, nodes, the API server. Nothing acknowledged is lost, nothing
that runs is disturbed, and nothing runs twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from argosy.testing import Cluster, run
from deploy import launch
from deploy.layout import Layout
from tests.e2e.conftest import ROOT, Demo
from tests.e2e.stream import Stream
from tests.e2e.test_store import etcdctl, leader

SPACE = "chaos"
IMAGE = "busybox:1.35"
MEMBERS = ["etcd-1", "etcd-2", "etcd-3"]
GRACE_S = 1


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", SPACE)
    yield cluster
    cluster.kubectl("delete", "namespace", SPACE, "--timeout=60s")


@pytest.mark.parametrize("one_way", [False, True])
def test_the_leader_of_the_store_is_cut_off_from_its_peers(cluster: Cluster, one_way: bool) -> None:
    label = "one-way" if one_way else "cut-off"
    with Stream(cluster, label) as stream:
        stream.flows()
        old = cluster.eventually(lambda: leader(cluster))
        peers = [name for name in MEMBERS if name != old]
        with cluster.chaos.partition(old, from_=peers, one_way=one_way):
            cluster.eventually(lambda: leader_of(cluster, peers) in peers, what="the others elect one of them")
            stream.flows()
        stream.flows()
    assert not stream.lost()
    cluster.eventually(lambda: same_history(cluster), what="one history")


def leader_of(cluster: Cluster, members: list[str]) -> str:
    """Which of them believes to lead; the one that is cut off may do so too."""
    found = set()
    for item in json.loads(etcdctl(cluster, "endpoint", "status", "-w", "json")):
        name = "etcd-" + item["Endpoint"].removesuffix(":2379").rpartition(".")[2]
        if name in members and item["Status"]["header"]["member_id"] == item["Status"]["leader"]:
            found.add(name)
    assert len(found) == 1, f"leaders: {found}"
    return found.pop()


def same_history(cluster: Cluster) -> bool:
    """Every member has the same versions of everything at the same revision."""
    hashes = json.loads(etcdctl(cluster, "endpoint", "hashkv", "-w", "json"))
    found = {(item["HashKV"]["hash"], item["HashKV"]["header"]["revision"]) for item in hashes}
    assert len(hashes) == 3 and len(found) == 1, f"{found}"
    return True


def template(app: str) -> dict[str, Any]:
    """A pod per node, as far as nodes take them."""
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": app}},
    }
    command = ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {
            "terminationGracePeriodSeconds": GRACE_S,
            "topologySpreadConstraints": [spread],
            "containers": [{"name": "c", "image": IMAGE, "command": command}],
        },
    }


def workloads() -> list[dict[str, Any]]:
    def of(kind: str, app: str, **more: Any) -> dict[str, Any]:
        spec = {"replicas": 3, "selector": {"matchLabels": {"app": app}}, "template": template(app), **more}
        return {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": app, "namespace": SPACE},
            "spec": spec,
        }

    database = of("StatefulSet", "db", serviceName="db", podManagementPolicy="Parallel")
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor",  # nodes that are cut off do not count
        "labelSelector": {"matchLabels": {"app": "db"}},
    }
    inner = database["spec"]["template"]
    database["spec"]["template"] = {**inner, "spec": {**inner["spec"], "topologySpreadConstraints": [spread]}}
    return [of("Deployment", "web"), database]


def pods(cluster: Cluster, app: str) -> dict[str, dict[str, Any]]:
    found = cluster.get("pods", "-n", SPACE, "-l", f"app={app}")["items"]
    return {item["metadata"]["name"]: item for item in found}


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return "deletionTimestamp" not in pod["metadata"] and any(
        item["type"] == "Ready" and item["status"] == "True" for item in conditions
    )


def running(cluster: Cluster, node: str) -> set[str]:
    """Ids of the containers that run on a node, whatever the API believes."""
    sock = launch.runtime_sockets(Layout(cluster.name), [node])[node]
    return set(run(["ctr", "--address", sock, "-n", "k8s.io", "tasks", "ls", "-q"]).stdout.split())


def container(pod: dict[str, Any]) -> str:
    return pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]


def node_is(cluster: Cluster, node: str, status: str) -> bool:
    conditions = cluster.get("node", node)["status"]["conditions"]
    return next(item["status"] for item in conditions if item["type"] == "Ready") == status


def test_nodes_cut_off_from_the_api_server(space: Cluster) -> None:
    """A Deployment's pods are replaced elsewhere; a StatefulSet's only once nothing of the old ones can run."""
    cluster = space
    cluster.apply(*workloads())
    cluster.eventually(
        lambda: sum(map(is_ready, [*pods(cluster, "web").values(), *pods(cluster, "db").values()])), equals=6
    )
    before = pods(cluster, "db")
    by_node = {pod["spec"]["nodeName"]: name for name, pod in before.items()}
    assert set(by_node) == {"node-1", "node-2", "node-3"}
    kept, given_up = before[by_node["node-3"]], before[by_node["node-2"]]

    def uid(pod: dict[str, Any]) -> str:
        now = pods(cluster, "db").get(pod["metadata"]["name"])
        return now["metadata"]["uid"] if now else ""

    with cluster.chaos.partition("node-2", "node-3", from_=["apiserver-1"]):
        cluster.eventually(
            lambda: sum(
                is_ready(pod) and pod["spec"]["nodeName"] == "node-1" for pod in pods(cluster, "web").values()
            ),
            equals=3,
            timeout_s=90,
            what="the Deployment is whole again without the nodes",
        )
        cluster.eventually(
            lambda: all(
                "deletionTimestamp" in pods(cluster, "db")[pod["metadata"]["name"]]["metadata"]
                for pod in (kept, given_up)
            )
        )
        assert container(kept) in running(cluster, "node-3"), "it runs on: the node does not know"
        assert (uid(kept), uid(given_up)) == (kept["metadata"]["uid"], given_up["metadata"]["uid"])
        # An administrator who knows that a node is off says so.
        cluster.kubectl("taint", "node", "node-2", "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
        try:
            cluster.eventually(lambda: uid(given_up) not in ("", given_up["metadata"]["uid"]), what="it is given up")
            assert uid(kept) == kept["metadata"]["uid"], "the other waits for its node"
        finally:
            cluster.kubectl("taint", "node", "node-2", "node.kubernetes.io/out-of-service-")

    def replaced() -> bool:
        new = uid(kept)
        if new in ("", kept["metadata"]["uid"]):
            return False
        assert container(kept) not in running(cluster, "node-3"), "two of one ordinal"
        return True

    cluster.eventually(replaced, what="the node confirmed, and the set went on")
    cluster.eventually(lambda: container(given_up) not in running(cluster, "node-2"), what="the old one is ended")
    cluster.eventually(lambda: all(node_is(cluster, f"node-{number}", "True") for number in (2, 3)))
    cluster.eventually(lambda: sorted(map(is_ready, pods(cluster, "db").values())), equals=[True] * 3)
    cluster.eventually(lambda: sorted(map(is_ready, pods(cluster, "web").values())), equals=[True] * 3)


OUTAGE_S = 60.0


def answers(cluster: Cluster) -> bool:
    return cluster.kubectl_result("get", "--raw", "/readyz", "--request-timeout=2s").returncode == 0


def test_traffic_goes_on_while_no_api_server_runs(demo: Demo, load: Any) -> None:
    cluster = demo.cluster
    cluster.eventually(lambda: len(demo.ready_pods()), equals=3)
    generator = load("node-2", f"http://{demo.vip()}:{demo.vip_port()}/", 50)
    down = cluster.chaos.kill("apiserver-1", hold=True)
    clock_s, asked_s = cluster._clock.monotonic, cluster._clock.monotonic()
    cluster.eventually(lambda: clock_s() - asked_s > OUTAGE_S, timeout_s=OUTAGE_S + 30)
    assert not cluster.processes()["apiserver-1"].pid
    assert not answers(cluster)
    down.heal()
    cluster.eventually(lambda: cluster.processes()["apiserver-1"].healthy)
    cluster.eventually(
        lambda: cluster.kubectl_result("get", "--raw", "/readyz", "--request-timeout=5s").returncode, equals=0
    )
    result = generator.finish()
    assert result["failed"] == 0 and result["sent"] > 200, result
    cluster.eventually(lambda: len(demo.ready_pods()), equals=3)


def test_the_tests_of_the_page_work_as_written(space: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """The python block of docs/faults.md, test by test."""
    cluster = space
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {}
    exec(compile(block, "docs/faults.md", "exec"), module)
    tests = {name: value for name, value in module.items() if name.startswith("test_")}
    assert len(tests) == block.count("def test_") == 2
    try:
        for test in tests.values():
            test(cluster)
            assert not cluster.chaos.active()
        _, *lines = capsys.readouterr().out.split("chaos seed 3:")[1].splitlines()
        planned = [line for line in lines if re.match(r" *[0-9.]+ s  (for|at once) ", line)]
        done = [line for line in lines if line not in planned]
        assert planned and done and " s  not " not in done[0], lines
    finally:
        cluster.kubectl("delete", "pod", "late", "--ignore-not-found", "--wait=false", "--grace-period=1")
        cluster.kubectl("annotate", "node", "node-1", "seen-")
    cluster.eventually(lambda: all(node_is(cluster, f"node-{number}", "True") for number in (1, 2, 3)))
