"""A StatefulSet of 3 with a volume each, from the create call to Ready; a DaemonSet's pod on a node that joins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from argosy.client import Client
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from argosy.testing import Cluster
from tests.bench.bench import Bench, median
from tests.bench.table import Table

NAMESPACE = "bench-sets"
ROUNDS = 3
AIM_SET_S = 12.0
AIM_DAEMON_S = 5.0
NODE = "node-50"
LIMIT_S = 180.0


def measure(bench: Bench) -> Iterator[Table]:
    cluster = bench.cluster()
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        cluster.eventually(lambda: cluster.get("serviceaccount", "default", "-n", NAMESPACE), what="service account")
        sets = asyncio.run(_with_client(cluster, _sets))
        daemons = [_daemon(cluster, round_) for round_ in range(ROUNDS)]
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=180.0)
    table = Table("sets of pods", ("", "seconds", "aim"))
    table.add("a StatefulSet of 3 with volumes, create to Ready", median(sets), AIM_SET_S)
    table.add("a DaemonSet's pod on a new node, node Ready to pod Ready", median(daemons), AIM_DAEMON_S)
    table.notes.append(f"medians of {ROUNDS}; images are on the nodes; pods come one after the other (OrderedReady)")
    yield table


async def _with_client(cluster: Cluster, body: object, *arguments: object) -> object:
    api = cluster.client()
    try:
        async with asyncio.timeout(LIMIT_S):
            return await body(api, *arguments)  # type: ignore[operator]
    finally:
        await api.close()


def _workload(kind: str, name: str, **spec: object) -> JsonObject:
    container = {"name": "c", "image": "busybox:1.35", "command": ["sleep", "100000"]}
    if kind == "StatefulSet":
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]  # type: ignore[assignment]
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
            **spec,
        },
    }


async def _sets(api: Client) -> list[float]:
    sets = api.resource("apps", "v1", "statefulsets")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    took = []
    for round_ in range(ROUNDS):
        claims = [{"metadata": {"name": "data"}, "spec": claim}]
        begun = time.monotonic()
        made = await sets.create(
            _workload("StatefulSet", f"db-{round_}", replicas=3, serviceName="db", volumeClaimTemplates=claims)
        )
        async for event in sets.watch(namespace=NAMESPACE, resource_version=meta.resource_version(made)):
            if meta.uid(event.object) == meta.uid(made) and meta.status(event.object).get("readyReplicas") == 3:
                break
        took.append(time.monotonic() - begun)
        await sets.delete(meta.name(made), namespace=NAMESPACE)
    return took


def _daemon(cluster: Cluster, round_: int) -> float:
    name = f"agent-{round_}"
    cluster.apply(_workload("DaemonSet", name))
    cluster.kubectl("rollout", "status", f"daemonset/{name}", "-n", NAMESPACE, "--timeout=60s")
    try:
        found = asyncio.run(_with_client(cluster, _joining, cluster))
        assert isinstance(found, float)
        return found
    finally:
        cluster.argosy("node remove", NODE)
        cluster.kubectl("delete", "daemonset", name, "-n", NAMESPACE)


async def _joining(api: Client, cluster: Cluster) -> float:
    """Seconds between the node's readiness and its pod's, as a watch shows them."""

    async def ready(plural: str, namespace: str, mine: object) -> float:
        resource = api.resource("", "v1", plural)
        version = (await resource.list(namespace=namespace)).resource_version
        async for event in resource.watch(namespace=namespace, resource_version=version):
            if mine(event.object) and conditions.is_true(event.object, "Ready"):  # type: ignore[operator]
                break
        return time.monotonic()

    waiting = [
        asyncio.create_task(ready("nodes", "", lambda node: meta.name(node) == NODE)),
        asyncio.create_task(ready("pods", NAMESPACE, lambda pod: meta.spec(pod).get("nodeName") == NODE)),
    ]
    await asyncio.to_thread(cluster.argosy, "node add", NODE)
    node_at, pod_at = await asyncio.gather(*waiting)
    return pod_at - node_at
