"""The demo on a cluster that is up: from `kubectl apply` to 3 pods Ready that all answer by VIP (aim: 15 s)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from argosy.testing import Cluster, run
from tests.bench.bench import EXAMPLES, Bench, need, until
from tests.bench.table import Table

AIM_S = 15.0
NAMESPACE = "production"
ASKER = str(Path(__file__).with_name("asker.py"))


def measure(bench: Bench) -> Iterator[Table]:
    need("kubectl")
    cluster = bench.cluster()
    inside = {node: bench.in_node(node, sys.executable, "-I", "-S", ASKER) for node in ("node-1", "node-2", "node-3")}
    begun = time.monotonic()
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        for name in ("api-server.yaml", "api-server-services.yaml"):
            cluster.kubectl("apply", "-f", str(EXAMPLES / name))
        applied_s = time.monotonic() - begun
        until(lambda: _ready(cluster) == 3, "3 pods Ready", 120.0, poll_s=0.05)
        ready_s = time.monotonic() - begun
        service = cluster.get("service", "api-server", "-n", NAMESPACE)["spec"]
        url = f"http://{service['clusterIP']}:{service['ports'][0]['port']}/"
        run([*inside["node-1"], url, "3"])
        answered_s = time.monotonic() - begun
        for node in ("node-2", "node-3"):
            run([*inside[node], url, "3"])
        everywhere_s = time.monotonic() - begun
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=90.0)
    table = Table(
        "the demo: 3 pods whose readiness is probed every 5 s", ("since kubectl began", "seconds", "aim at most")
    )
    table.add("applied", applied_s, None)
    table.add("3 pods Ready", ready_s, None)
    table.add("all 3 answer by VIP", answered_s, AIM_S)
    table.add("and from every node", everywhere_s, None)
    yield table


def _ready(cluster: Cluster) -> int:
    status = cluster.get("deployment", "api-server", "-n", NAMESPACE).get("status", {})
    return int(status.get("readyReplicas", 0))
