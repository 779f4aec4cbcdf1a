"""The whole cluster under seeded faults: what was acknowledged survives, and what was asked for comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from argosy.objects import conditions
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from tests.sim import virtual
from tests.sim.world import IMAGE, NODES, STORES, World

SEEDS = range(12)
FAULTS = 6
WRITES_BETWEEN_FAULTS = 180
REPLICAS = 5


def deployment() -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}]},
            },
        },
    }


async def until(check: Callable[[], Awaitable[bool]], what: str, patience_s: float = 600.0) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while True:
        try:
            if await check():
                return
        except ApiError:
            pass
        assert loop.time() < deadline, what
        await asyncio.sleep(0.5)


async def fault(world: World) -> None:
    """One fault, healed after a while."""
    kind = world.rng.choice(("store", "api", "controllers", "scheduler", "node", "cut"))
    pause_s = 2 + 28 * world.rng.random()
    if kind == "cut":
        one, two = world.rng.choice(STORES), world.rng.choice((*STORES, "api"))
        if one != two:
            world.network.partition(one, two, one_way=world.rng.random() < 0.3)
        await asyncio.sleep(pause_s)
        world.network.heal()
        return
    name = world.rng.choice(STORES) if kind == "store" else world.rng.choice(NODES) if kind == "node" else kind
    await world.crash(name)
    await asyncio.sleep(pause_s)
    await world.boot(name)


async def live(seed: int) -> str:
    world = World(seed)
    await world.boot_all()
    client = world.client("checker")
    pods, nodes = client.resource("", "v1", "pods"), client.resource("", "v1", "nodes")

    async def nodes_ready() -> bool:
        found = (await nodes.list()).items
        return len(found) == len(NODES) and all(conditions.is_true(node, "Ready") for node in found)

    async def replicas_ready() -> bool:
        found = (await pods.list(namespace="default")).items
        return len(found) == REPLICAS and all(conditions.is_true(pod, "Ready") for pod in found)

    await until(nodes_ready, "the nodes never became ready")
    await client.resource("apps", "v1", "deployments").create(deployment())
    await until(replicas_ready, "the replicas never became ready")
    number = 0
    for _ in range(FAULTS):
        broken = asyncio.get_running_loop().create_task(fault(world))
        for _ in range(WRITES_BETWEEN_FAULTS):
            number += 1
            await world.write(number % 50, f"v{number}")
            await asyncio.sleep(0.1)
        await broken
        await asyncio.sleep(90)
    await until(nodes_ready, "the nodes are not ready after healing")
    await until(replicas_ready, "the replicas did not converge after healing")
    lost = await world.lost()
    assert not lost, lost
    assert len(world.acknowledged) == 50
    found = (await pods.list(namespace="default")).items
    return f"{asyncio.get_running_loop().time():.6f} {sorted(pod['metadata']['name'] for pod in found)}"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_acknowledged_survives_and_replicas_converge(seed: int) -> None:
    virtual.run(live(seed))
