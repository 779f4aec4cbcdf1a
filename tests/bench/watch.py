"""Watch fan-out: events per second that reach 1 and 100 watchers of one resource, every event to each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from argosy.client import Client
from tests.bench import usage
from tests.bench.bench import Bench
from tests.bench.table import Table

WATCHERS = (1, 100)
WRITES = 600
WRITERS = 16
NAMESPACE = "bench-watch"


def measure(bench: Bench) -> Iterator[Table]:
    cluster = bench.cluster()
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        server = cluster.processes()["apiserver-1"].pid
        table = Table(
            f"watch: {WRITES} writes by {WRITERS} writers, each seen by every watcher (gRPC)",
            ("watchers", "writes/s", "events/s", "API server cpu-s"),
        )
        for watchers in WATCHERS:
            before = usage.read(server)
            seconds = asyncio.run(_fan_out(cluster.client, watchers))
            after = usage.read(server)
            assert before is not None and after is not None
            cpu_s = after.cpu_s - before.cpu_s
            table.add(watchers, WRITES / seconds, watchers * WRITES / seconds, cpu_s)
        yield table
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=120.0)


async def _fan_out(connect: Callable[[], Client], watchers: int) -> float:
    """Seconds from the first write until every watcher has seen every one."""
    api = connect()
    maps = api.resource("", "v1", "configmaps")
    prefix = f"w-{watchers}-"
    version = (await maps.list(namespace=NAMESPACE)).resource_version

    async def follow() -> None:
        seen = 0
        async for batch in maps.watch_batches(namespace=NAMESPACE, resource_version=version):
            seen += sum(1 for event in batch if event.object["metadata"]["name"].startswith(prefix))
            if seen >= WRITES:
                return

    numbers = iter(range(WRITES))

    async def write() -> None:
        for number in numbers:
            metadata = {"name": f"{prefix}{number}", "namespace": NAMESPACE}
            await maps.create(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": "x" * 256}}
            )

    following = [asyncio.create_task(follow()) for _ in range(watchers)]
    await asyncio.sleep(0.5)
    begun = time.monotonic()
    try:
        async with asyncio.timeout(120):
            await asyncio.gather(*(write() for _ in range(WRITERS)), *following)
        return time.monotonic() - begun
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await api.close()
