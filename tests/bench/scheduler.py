"""Pods bound per second: a control plane without real nodes, 500 Node objects, pods created as fast as they go in.

The whole way is measured (API server, store, watch, scheduling, binding), as upstream's scheduler_perf does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from argosy.client import Client
from argosy.objects.types import JsonObject
from argosy.testing import Cluster
from tests.bench import usage
from tests.bench.bench import Bench
from tests.bench.table import Table
from tests.ports import free_ports

NODES = 500
PODS = 1000
WRITERS = 16
UPSTREAM = 239.0
"""kube-scheduler 1.36, scheduler_perf basic at 500 nodes, pods/s."""
NAMESPACE = "default"


def measure(bench: Bench) -> Iterator[Table]:
    bench.need_root()
    cluster = Cluster(f"{bench.name}-s", Path(bench.folder) / "kubeconfig-s", "kubectl")
    try:
        # Nobody renews the nodes' leases: they must not be taken for dead. And each gets a /24 for pods.
        flags = ("--flag", "controllers:--node-monitor-grace-period=3600")
        flags += ("--flag", "controllers:--cluster-cidr=10.240.0.0/12")
        cluster.argosy("up", "--no-uplink", "--nodes", "0", "--port", str(free_ports(1)[0]), *flags, timeout_s=120.0)
        pid = cluster.processes()["scheduler-1"].pid
        nodes_s, bound_s, cpu_s = asyncio.run(_schedule(cluster.client, pid))
    finally:
        cluster.argosy("down", timeout_s=60.0)
    table = Table(f"scheduler: {PODS:,} pods on {NODES} hollow nodes", ("", "pods/s", "kube-scheduler"))
    table.add("created and bound", PODS / bound_s, UPSTREAM)
    table.add("the scheduler's own processor time allows", PODS / cpu_s, None)
    table.notes.append(
        f"{NODES} nodes registered in {nodes_s:.1f} s; kube-scheduler's figure was measured once, elsewhere"
    )
    yield table


async def _schedule(connect: Callable[[], Client], scheduler: int) -> tuple[float, float, float]:
    """Seconds to make the nodes, seconds until every pod is bound, the scheduler's processor seconds."""
    api = connect()
    nodes, pods = api.resource("", "v1", "nodes"), api.resource("", "v1", "pods")
    try:
        begun = time.monotonic()

        async def add_node(number: int) -> None:
            await nodes.create(_node(number))
            # Without a resourceVersion: a controller may have given the node its pod range in between.
            await nodes.update_status(_node(number))

        await _spread(add_node, NODES)
        nodes_s = time.monotonic() - begun
        async with asyncio.timeout(60):
            while not all(
                node["spec"].get("podCIDR") and not _not_ready(node) for node in (await nodes.list()).items
            ):
                await asyncio.sleep(0.2)
        version = (await pods.list(namespace=NAMESPACE)).resource_version
        bound: set[str] = set()

        async def follow() -> float:
            async for event in pods.watch(namespace=NAMESPACE, resource_version=version):
                if event.object["spec"].get("nodeName"):
                    bound.add(event.object["metadata"]["name"])
                if len(bound) == PODS:
                    break
            return time.monotonic()

        following = asyncio.create_task(follow())
        before = usage.read(scheduler)
        begun = time.monotonic()

        async def add_pod(number: int) -> None:
            await pods.create(_pod(number))

        await _spread(add_pod, PODS)
        async with asyncio.timeout(180):
            bound_s = await following - begun
        after = usage.read(scheduler)
        assert before is not None and after is not None
        return nodes_s, bound_s, after.cpu_s - before.cpu_s
    finally:
        await api.close()


async def _spread(work: Callable[[int], Awaitable[None]], count: int) -> None:
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(WRITERS)))


def _not_ready(node: JsonObject) -> bool:
    return any(taint["key"] == "node.kubernetes.io/not-ready" for taint in node["spec"].get("taints") or [])


def _node(number: int) -> JsonObject:
    amounts = {"cpu": "32", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    name = f"hollow-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Hollow", "message": ""}],
        },
    }


def _pod(number: int) -> JsonObject:
    requests = {"cpu": "100m", "memory": "100Mi"}
    container = {"name": "main", "image": "busybox", "resources": {"requests": requests}}
    metadata = {"name": f"pod-{number}", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
