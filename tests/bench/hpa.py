"""The horizontal autoscaler's reaction with default periods: a pod gets busy; until more replicas are asked for.

The metrics server and, for each autoscaler since it was made, the controller look each 15 seconds. Several workloads,
made one after the other and busy one after the other in the opposite order, meet several phases of the two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from argosy.client import Client
from argosy.objects import meta, quantity
from argosy.objects.types import JsonObject
from argosy.testing import Cluster
from tests.bench.bench import Bench, median
from tests.bench.table import Table

NAMESPACE = "bench-hpa"
COUNT = 4
APART_S = 2.5
AIM_S = 20.0
LIMIT_S = 90.0
POLL_S = 0.2
REQUEST_MILLI = 50
BUSY = "trap exit TERM; mkfifo /tmp/go; read -r _ </tmp/go; while :; do :; done"


def measure(bench: Bench) -> Iterator[Table]:
    cluster = bench.cluster()
    cluster.kubectl("create", "namespace", NAMESPACE)
    names = [f"busy-{number}" for number in range(COUNT)]
    try:
        cluster.eventually(lambda: cluster.get("serviceaccount", "default", "-n", NAMESPACE), what="service account")
        for name in names:
            cluster.apply(_deployment(name), _autoscaler(name))
            time.sleep(APART_S)
        for name in names:
            # Its first numbers are there: what is measured is a change.
            cluster.wait(f"hpa/{name}", "condition=ScalingActive", "-n", NAMESPACE, timeout_s=LIMIT_S)
        found = asyncio.run(_react(cluster, names))
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=180.0)
    seen = [metric for metric, _ in found]
    asked = [replicas for _, replicas in found]
    after = [replicas - metric for metric, replicas in found]
    table = Table("HPA's reaction, default periods", ("", "median s", "longest s", "aim"))
    table.add("the metrics API shows the change, replicas asked for", median(after), max(after), AIM_S)
    table.add("the pod gets busy, the metrics API shows it", median(seen), max(seen), None)
    table.add("the pod gets busy, replicas asked for", median(asked), max(asked), None)
    table.notes.append(f"{COUNT} workloads, {APART_S} s apart; metrics server and autoscaler look each 15 s")
    yield table


def _deployment(name: str) -> JsonObject:
    container = {
        "name": "main",
        "image": "busybox:1.35",
        "command": ["sh", "-c", BUSY],
        "resources": {"requests": {"cpu": f"{REQUEST_MILLI}m"}, "limits": {"cpu": f"{2 * REQUEST_MILLI}m"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }


def _autoscaler(name: str) -> JsonObject:
    target = {"type": "Utilization", "averageUtilization": 50}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


async def _react(cluster: Cluster, names: list[str]) -> list[tuple[float, float]]:
    """Of each: seconds from its pod's getting busy until the metrics say so, and until replicas are asked for."""
    api = cluster.client()
    try:
        async with asyncio.timeout(LIMIT_S):
            metrics = asyncio.create_task(_metrics_seen(api, set(names)))
            replicas = asyncio.create_task(_replicas_seen(api, set(names)))
            began: dict[str, float] = {}
            for name in reversed(names):
                await asyncio.to_thread(
                    cluster.kubectl, "exec", "-n", NAMESPACE, f"deployment/{name}", "--", "sh", "-c", "echo >/tmp/go"
                )
                began[name] = time.monotonic()
                await asyncio.sleep(APART_S)
            seen, asked = await metrics, await replicas
        return [(seen[name] - began[name], asked[name] - began[name]) for name in names]
    finally:
        await api.close()


async def _metrics_seen(api: Client, waiting: set[str]) -> dict[str, float]:
    """When each one's usage was first served as high enough to act on."""
    metrics = api.resource("metrics.k8s.io", "v1beta1", "pods")
    result: dict[str, float] = {}
    while waiting:
        for item in (await metrics.list(namespace=NAMESPACE)).items:
            name = meta.name(item).rpartition("-")[0].rpartition("-")[0]
            milli = sum(quantity.milli(each["usage"]["cpu"]) for each in item["containers"])
            if name in waiting and milli > REQUEST_MILLI * 0.55:
                waiting.discard(name)
                result[name] = time.monotonic()
        await asyncio.sleep(POLL_S)
    return result


async def _replicas_seen(api: Client, waiting: set[str]) -> dict[str, float]:
    result: dict[str, float] = {}
    async for event in api.resource("apps", "v1", "deployments").follow(namespace=NAMESPACE):
        name = meta.name(event.object)
        if name in waiting and meta.spec(event.object).get("replicas", 1) > 1:
            waiting.discard(name)
            result[name] = time.monotonic()
        if not waiting:
            break
    return result
