"""100 Jobs of one short pod each on 3 nodes: from the first create call to the last Complete condition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from argosy.host import parse_rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from argosy.testing import Cluster
from tests.bench import usage
from tests.bench.bench import Bench, median, quantile
from tests.bench.table import Table

COUNT = 100
AIM_S = 60.0
NAMESPACE = "bench-jobs"
PARALLEL = 10


def measure(bench: Bench) -> Iterator[Table]:
    cluster = bench.cluster()
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        cluster.eventually(lambda: cluster.get("serviceaccount", "default", "-n", NAMESPACE), what="service account")
        before = usage.cpu_s(usage.tree(bench.supervisor_pid()).values())
        created_s, done_s, jobs, pods = asyncio.run(_run(cluster))
        busy_s = usage.cpu_s(usage.tree(bench.supervisor_pid()).values()) - before
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=180.0)
    table = Table(f"{COUNT} Jobs of one short pod each on 3 nodes", ("", "seconds", "aim"))
    table.add("all created", created_s, None)
    table.add("all Complete", done_s, AIM_S)
    took = [_seconds(job, "completionTime") for job in jobs]
    table.add("a Job, start to completion: median", median(took), None)
    table.add("a Job, start to completion: 90 %", quantile(took, 0.9), None)
    table.notes.append(f"{COUNT / done_s:.1f} Jobs/s; {busy_s / COUNT:.2f} s of processor time a Job, nodes included")
    nodes = sorted(meta.spec(pod).get("nodeName", "") for pod in pods)
    table.notes.append("pods: " + ", ".join(f"{nodes.count(node)} on {node}" for node in dict.fromkeys(nodes)))
    yield table


def _seconds(job: JsonObject, field: str) -> float:
    status = meta.status(job)
    return parse_rfc3339(status[field]) - parse_rfc3339(status["startTime"])


async def _run(cluster: Cluster) -> tuple[float, float, list[JsonObject], list[JsonObject]]:
    """(seconds to create all, seconds until all are Complete, the Jobs, their pods)."""
    api = cluster.client()
    jobs, pods = api.resource("batch", "v1", "jobs"), api.resource("", "v1", "pods")
    waiting = {f"job-{number}" for number in range(COUNT)}
    version = (await jobs.list(namespace=NAMESPACE)).resource_version

    async def follow() -> float:
        async for event in jobs.watch(namespace=NAMESPACE, resource_version=version):
            if conditions.is_true(event.object, "Complete"):
                waiting.discard(meta.name(event.object))
            if not waiting:
                break
        return time.monotonic()

    following = asyncio.create_task(follow())
    slots = asyncio.Semaphore(PARALLEL)

    async def create(name: str) -> None:
        async with slots:
            await jobs.create(_job(name))

    try:
        begun = time.monotonic()
        await asyncio.gather(*(create(name) for name in sorted(waiting)))
        created = time.monotonic()
        async with asyncio.timeout(300):
            ended = await following
        done, made = await jobs.list(namespace=NAMESPACE), await pods.list(namespace=NAMESPACE)
        return created - begun, ended - begun, done.items, made.items
    finally:
        following.cancel()
        await api.close()


def _job(name: str) -> JsonObject:
    container = {"name": "main", "image": "busybox:1.35", "imagePullPolicy": "IfNotPresent", "command": ["true"]}
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
