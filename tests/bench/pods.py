"""Pod start: from the create call to Running as a watcher sees it, beside the bare CRI calls on one containerd."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from argosy.objects.types import JsonObject
from argosy.rpc import GrpcNetwork
from argosy.testing import Cluster
from deploy import launch
from deploy.layout import Layout
from node_agent.runtime import runtime as rt
from node_agent.runtime.cri import CriRuntime
from tests.bench.bench import Bench, CannotMeasure, median, quantile
from tests.bench.table import Table

ROUNDS = 12
BURST = 30
IMAGE = "busybox"
COMMAND = ["sleep", "3600"]
NAMESPACE = "bench-pods"
NODE = "node-1"


def measure(bench: Bench) -> Iterator[Table]:
    cluster = bench.cluster()
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        cluster.eventually(lambda: cluster.get("serviceaccount", "default", "-n", NAMESPACE), what="service account")
        bare, through, burst_s = asyncio.run(_all(cluster))
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=120.0)
    table = Table(
        f"pod start, image present (of {ROUNDS}, one after the other on {NODE})", ("", "median s", "90 % s", "ratio")
    )
    table.add("bare CRI: sandbox, create, start", median(bare), quantile(bare, 0.9), 1.0)
    table.add("API: create to Running", median(through), quantile(through, 0.9), median(through) / median(bare))
    table.notes.append(
        f"{BURST} pods at once over 3 nodes: all Running after {burst_s:.1f} s, {BURST / burst_s:.1f}/s"
    )
    yield table


async def _all(cluster: Cluster) -> tuple[list[float], list[float], float]:
    """In turn, so that both see the same machine."""
    path = launch.runtime_sockets(Layout(cluster.name), [NODE])[NODE]
    channel = GrpcNetwork().dial(f"unix:{path}")
    runtime = CriRuntime(channel)
    image = await runtime.image_status(IMAGE)
    if image is None:
        raise CannotMeasure(f"{IMAGE} is not on {NODE}")
    bare: list[float] = []
    through: list[float] = []
    try:
        for number in range(ROUNDS):
            bare.append(await _bare(runtime, image.id, number))
            through.append(await _through(cluster, [f"pod-{number}"], node=NODE))
        return bare, through, await _through(cluster, [f"burst-{number}" for number in range(BURST)])
    finally:
        await channel.close()


async def _bare(runtime: CriRuntime, image: str, number: int) -> float:
    uid = f"bench-{number}"
    labels = {rt.POD_NAME_LABEL: uid, rt.POD_NAMESPACE_LABEL: NAMESPACE, rt.POD_UID_LABEL: uid}
    sandbox = rt.SandboxConfig(
        uid, NAMESPACE, uid, 0, uid, f"/var/log/pods/{uid}", "/kubepods/bench", None, labels=labels
    )
    container = rt.ContainerConfig("main", 0, image, IMAGE, COMMAND, labels=labels, log_path="main.log")
    begun = time.monotonic()
    sandbox_id = await runtime.run_sandbox(sandbox)
    try:
        await runtime.start_container(await runtime.create_container(sandbox_id, container, sandbox))
        return time.monotonic() - begun
    finally:
        await runtime.stop_sandbox(sandbox_id)
        await runtime.remove_sandbox(sandbox_id)


async def _through(cluster: Cluster, names: list[str], *, node: str = "") -> float:
    """Seconds until a watcher has seen all of them Running; they are deleted then."""
    api = cluster.client()
    pods = api.resource("", "v1", "pods")
    waiting = set(names)
    version = (await pods.list(namespace=NAMESPACE)).resource_version

    async def follow() -> float:
        async for event in pods.watch(namespace=NAMESPACE, resource_version=version):
            if event.object.get("status", {}).get("phase") == "Running":
                waiting.discard(event.object["metadata"]["name"])
            if not waiting:
                break
        return time.monotonic()

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    try:
        begun = time.monotonic()
        await asyncio.gather(*(pods.create(_pod(name, node)) for name in names))
        async with asyncio.timeout(120):
            return await following - begun
    finally:
        following.cancel()
        for name in names:
            await pods.delete(name, namespace=NAMESPACE, grace_period_s=0)
        await api.close()


def _pod(name: str, node: str) -> JsonObject:
    spec: JsonObject = {
        "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": COMMAND}],
        "terminationGracePeriodSeconds": 0,
    }
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
