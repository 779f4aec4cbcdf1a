"""One cluster for all end-to-end tests; the demo runs on it from the first test that asks for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from argosy.testing import Cluster
from tests.e2e import clients
from tests.e2e.registry import PRIVATE_PORT, PUBLIC_PORT

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "deploy" / "examples"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def cluster_kubectl() -> str:
    return clients.newest()


@pytest.fixture(scope="session")
def cluster_flags() -> list[str]:
    """A node's loss is noticed and acted on within seconds instead of upstream's minutes; registries on the LAN."""
    return [
        "--ingress",
        *("--registry", f"public.test=http://10.77.0.1:{PUBLIC_PORT}"),
        *("--registry", f"private.test=http://10.77.0.1:{PRIVATE_PORT}"),
        *("--flag", "controllers:--node-monitor-grace-period=12"),
        *("--flag", "controllers:--node-monitor-period=2", "--flag", "controllers:--pod-gc-period=5"),
        *("--flag", "apiserver:--apiservice-resync-s=2"),
        *("--flag", "apiserver:--default-not-ready-toleration-seconds=5"),
        *("--flag", "apiserver:--default-unreachable-toleration-seconds=5"),
        *("--flag", "metrics:--metric-resolution=2"),
        *("--flag", "metrics:--metrics-relist-interval=2"),
        *("--flag", "autoscaler:--horizontal-pod-autoscaler-sync-period=2"),
        *("--flag", "autoscaler:--horizontal-pod-autoscaler-downscale-stabilization=4"),
        *("--flag", "autoscaler:--horizontal-pod-autoscaler-cpu-initialization-period=4"),
        *("--flag", "autoscaler:--vertical-pod-autoscaling"),
        *("--flag", "autoscaler:--event-driven-scaling"),
        *("--flag", "autoscaler:--recommender-interval=2"),
        *("--flag", "autoscaler:--updater-interval=2"),
    ]


@dataclass
class Demo:
    """The Deployment `api-server` in namespace production, three pods Ready, with its Services."""

    cluster: Cluster

    def pods(self) -> list[dict]:
        found = self.cluster.get("pods", "-n", "production", "-l", "app=api-server")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self) -> list[dict]:
        return [
            pod
            for pod in self.pods()
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        ]

    def vip(self) -> str:
        return self.cluster.get("service", "api-server", "-n", "production")["spec"]["clusterIP"]

    def node_port(self) -> int:
        services = self.cluster.get("services", "-n", "production")["items"]
        (service,) = (item for item in services if item["spec"]["type"] == "NodePort")
        return service["spec"]["ports"][0]["nodePort"]

    def vip_port(self) -> int:
        return self.cluster.get("service", "api-server", "-n", "production")["spec"]["ports"][0]["port"]


def in_node(cluster: Cluster, node: str, *command: str) -> list[str]:
    """The command line that runs `command` in a node's network namespace."""
    pid = cluster.processes()[node].pid
    return ["nsenter", f"--net=/proc/{pid}/ns/net", *command]


@pytest.fixture(scope="session")
def demo(cluster: Cluster) -> Demo:
    cluster.kubectl("create", "namespace", "production")
    for name in ("api-server.yaml", "api-server-services.yaml"):
        cluster.kubectl("apply", "-f", str(EXAMPLES / name))
    cluster.wait("deployment/api-server", "condition=Available", "-n", "production", timeout_s=90)
    result = Demo(cluster)
    cluster.eventually(lambda: len(result.ready_pods()), equals=3)
    return result


class Load:
    """Requests at a steady rate, each on a new connection, from inside a node, until `finish`."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def finish(self) -> dict:
        """Stop; gives {"sent", "failed", "errors", "answers": {body: count}, "seconds"}."""
        out, _ = self._process.communicate("", timeout=30)
        return json.loads(out)


@pytest.fixture
def load(cluster: Cluster) -> Iterator[object]:
    running: list[Load] = []

    def start(node: str, url: str, rate: int = 200) -> Load:
        script = str(ROOT / "tests" / "load.py")
        running.append(Load(in_node(cluster, node, sys.executable, script, url, str(rate))))
        return running[-1]

    yield start
    for item in running:
        item._process.kill()
        item._process.wait()
