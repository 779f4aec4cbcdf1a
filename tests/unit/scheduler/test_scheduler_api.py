"""The scheduler on a real API server, as the user it is in a cluster: rights, bindings, conditions, events, lease."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.scheduler.config import Config
from control_plane.scheduler.scheduler import Scheduler
from tests.unit.apiserver.conftest import Api, running
from tests.unit.scheduler.scheduler_world import node, pod

PATIENCE_S = 20.0


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """What `check` gives once it gives something true."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await check()
            if found:
                return found
            await asyncio.sleep(0.02)


def plain(obj: JsonObject) -> JsonObject:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "uid"}
    return {**obj, "metadata": metadata}


def test_pods_are_bound_and_told_about(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as api:
            await api.account()
            scheduler = await _started(api)
            nodes = api.client().resource("", "v1", "nodes")
            await nodes.create(plain(node("small", cpu="1")))
            await _status(api, "small", "1")
            await api.pods.create(plain(pod("fits", "500m")), namespace="default")

            async def bound(name: str) -> str:
                return str((await api.pods.get(name, namespace="default"))["spec"].get("nodeName", ""))

            assert await until(lambda: bound("fits")) == "small"
            found = await api.pods.get("fits", namespace="default")
            assert conditions.is_true(found, "PodScheduled")

            await api.pods.create(plain(pod("large", "2")), namespace="default")

            async def told() -> JsonObject | None:
                return conditions.get(await api.pods.get("large", namespace="default"), "PodScheduled")

            condition = await until(told)
            assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
            assert condition["message"].startswith(
                "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes"
            )
            await nodes.create(plain(node("big", cpu="4")))
            await _status(api, "big", "4")
            assert await until(lambda: bound("large")) == "big"

            events = api.client().resource("", "v1", "events")

            async def said() -> list[str] | None:
                found = [event["reason"] for event in (await events.list(namespace="default")).items]
                return sorted(found) if len(found) >= 3 else None

            assert await until(said) == ["FailedScheduling", "Scheduled", "Scheduled"]
            lease = (
                await api.client()
                .resource("coordination.k8s.io", "v1", "leases")
                .get("kube-scheduler", namespace="kube-system")
            )
            assert lease["spec"]["holderIdentity"] == "scheduler-1"
            scheduler.cancel()
            await asyncio.gather(scheduler, return_exceptions=True)

    asyncio.run(main())


async def _status(api: Api, name: str, cpu: str) -> None:
    """What the node's agent and the node controller do: say what it has, and take the taint of new nodes off."""
    nodes = api.client().resource("", "v1", "nodes")
    found = await nodes.get(name)
    found = await nodes.update({**found, "spec": {**meta.spec(found), "taints": []}})
    amounts = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    await nodes.update_status({**found, "status": {"capacity": amounts, "allocatable": amounts}})
    assert meta.status(await nodes.get(name))["allocatable"]["cpu"] == cpu


async def _started(api: Api) -> asyncio.Task[None]:
    config = Config(api_servers=(api.address,), identity="scheduler-1")
    return asyncio.create_task(Scheduler(config, api.host, api.client("system:kube-scheduler", "x")).run())


def test_room_is_made_on_a_real_api(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as api:
            await api.account()
            classes = api.client().resource("scheduling.k8s.io", "v1", "priorityclasses")
            await classes.create(
                {
                    "apiVersion": "scheduling.k8s.io/v1",
                    "kind": "PriorityClass",
                    "metadata": {"name": "high"},
                    "value": 9,
                }
            )
            nodes = api.client().resource("", "v1", "nodes")
            await nodes.create(plain(node("only", cpu="1")))
            await _status(api, "only", "1")
            scheduler = await _started(api)
            await api.pods.create(plain(pod("low", "1")), namespace="default")

            async def low_bound() -> bool:
                found = await api.pods.get("low", namespace="default")
                return found["spec"].get("nodeName") == "only"

            await until(low_bound)
            await api.pods.create(plain(pod("high", "1", priorityClassName="high")), namespace="default")

            async def low_leaves() -> JsonObject | None:
                found = await api.pods.get("low", namespace="default")
                return found if meta.is_deleting(found) else None

            leaving = await until(low_leaves)
            assert conditions.is_true(leaving, "DisruptionTarget")
            assert conditions.is_true(leaving, "PodScheduled")
            await api.pods.delete("low", namespace="default", grace_period_s=0)

            async def high_bound() -> JsonObject | None:
                found = await api.pods.get("high", namespace="default")
                return found if found["spec"].get("nodeName") else None

            placed = await until(high_bound)
            assert meta.spec(placed)["priority"] == 9
            scheduler.cancel()
            await asyncio.gather(scheduler, return_exceptions=True)

    asyncio.run(main())
