"""What can go wrong: each fault breaks something of a World for a while and mends it again.

A fault is a coroutine function that takes the World; it returns when it has healed what it broke. Several may be
under way at once, so each mends only its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from etcd import sim_member
from tests.sim.world import LATENCY_S, NODES, STORES, World

Fault = Callable[[World], Awaitable[None]]

CUT_S = 30.0
OUTAGE_S = 20.0


async def _pause(world: World, up_to_s: float) -> None:
    await asyncio.sleep(up_to_s * (0.1 + 0.9 * world.rng.random()))


async def _restart(world: World, *names: str, outage_s: float = OUTAGE_S, power: bool = False) -> None:
    await world.crash(*names, power=power, silent=world.rng.random() < 0.3)
    await _pause(world, outage_s)
    for name in names:
        world.boot(name)


async def store_crash(world: World) -> None:
    await _restart(world, world.rng.choice(STORES), power=world.rng.random() < 0.7)


async def leader_crash(world: World) -> None:
    await _restart(world, world.leader(), power=world.rng.random() < 0.7)


async def all_stores_crash(world: World) -> None:
    """The power goes: all three at once, every disk cut back to what was synced."""
    await _restart(world, *STORES, power=True, outage_s=5.0)


async def rolling_store_crash(world: World) -> None:
    """One after the other, each as soon as the one before is back."""
    for name in STORES:
        await _restart(world, name, power=True, outage_s=3.0)


async def api_crash(world: World) -> None:
    await _restart(world, world.rng.choice(world.apis))


async def all_apis_crash(world: World) -> None:
    await _restart(world, *world.apis, outage_s=10.0)


async def controllers_crash(world: World) -> None:
    await _restart(world, world.rng.choice((*world.controllers, *world.autoscalers)))


async def scheduler_crash(world: World) -> None:
    await _restart(world, world.rng.choice(world.schedulers))


async def agent_crash(world: World) -> None:
    """The containers run on."""
    await _restart(world, world.rng.choice(NODES))


async def node_crash(world: World) -> None:
    """Everything on the node is gone."""
    await _restart(world, world.rng.choice(NODES), power=True)


async def node_lost(world: World) -> None:
    """Long enough that its pods are evicted."""
    await world.crash(world.rng.choice(NODES), power=True, silent=True)
    await asyncio.sleep(70 + 30 * world.rng.random())
    for name in NODES:
        world.boot(name)


async def cut_pair(world: World) -> None:
    """No message between two hosts, or none in one direction."""
    one = world.rng.choice(world.hosts)
    two = world.rng.choice([host for host in world.hosts if host != one])
    await _cut(world, [(one, two)], world.rng.random() < 0.4)


async def cut_stores(world: World) -> None:
    """Two stores, or the API servers from one store."""
    one = world.rng.choice(STORES)
    two = world.rng.choice([name for name in (*STORES, *world.apis) if name != one])
    await _cut(world, [(one, two)], world.rng.random() < 0.4)


async def isolate(world: World) -> None:
    """One host from all others."""
    host = world.rng.choice(world.hosts)
    await _cut(world, [(host, other) for other in world.hosts if other != host], world.rng.random() < 0.3)


async def isolate_leader(world: World) -> None:
    """The leading store from the other stores only: clients still reach it."""
    host = world.leader()
    await _cut(world, [(host, other) for other in STORES if other != host], world.rng.random() < 0.3)


async def split(world: World) -> None:
    """The hosts fall into two groups."""
    left = [host for host in world.hosts if world.rng.random() < 0.5]
    pairs = [(one, two) for one in left for two in world.hosts if two not in left]
    await _cut(world, pairs, False)


async def _cut(world: World, pairs: list[tuple[str, str]], one_way: bool) -> None:
    if world.rng.random() < 0.5:
        pairs = [(two, one) for one, two in pairs]
    for one, two in pairs:
        world.network.partition(one, two, one_way=one_way)
    arrow = ">" if one_way else "|"
    world.trace.line("cut", links=",".join(f"{one}{arrow}{two}" for one, two in pairs))
    await _pause(world, CUT_S)
    for one, two in pairs:
        world.network.heal(one, two)
    world.trace.line("healed", links=",".join(f"{one}{arrow}{two}" for one, two in pairs))


async def delay(world: World) -> None:
    """Every message of one host takes long."""
    host, latency_s = world.rng.choice(world.hosts), 0.02 + 0.4 * world.rng.random()
    world.trace.line("slow", host=host, latency_s=latency_s)
    for other in world.hosts:
        if other != host:
            world.network.set_latency(host, other, latency_s)
    await _pause(world, CUT_S)
    for other in world.hosts:
        if other != host:
            world.network.set_latency(host, other, LATENCY_S)
    world.trace.line("fast", host=host)


async def slow_disk(world: World) -> None:
    host = world.rng.choice(STORES)
    world.disk_s[host] = 0.05 + world.rng.random()
    world.trace.line("slow disk", host=host, write_s=world.disk_s[host])
    await _pause(world, CUT_S)
    world.disk_s[host] = sim_member.DISK_S
    world.trace.line("fast disk", host=host)


async def fill_disk(world: World) -> None:
    """Writes fail; the member ends, and comes back for good once there is room."""
    host = world.rng.choice(STORES)
    world.disks[host].full = True
    world.trace.line("full disk", host=host)
    await _pause(world, OUTAGE_S)
    world.disks[host].full = False
    world.trace.line("room on disk", host=host)


async def skew_clock(world: World) -> None:
    """One host's wall clock jumps, forwards or back, and stays there over its restarts."""
    host = world.rng.choice(world.hosts)
    skew_s = 600 * (world.rng.random() - 0.5)
    world.skews_s[host] = skew_s
    if host in world.clocks:
        world.clocks[host].skew_s = skew_s
    world.trace.line("clock", host=host, skew_s=skew_s)
    await _pause(world, CUT_S)


STORE_FAULTS: tuple[Fault, ...] = (store_crash, leader_crash, all_stores_crash, rolling_store_crash, isolate_leader)
ALL: tuple[Fault, ...] = (
    *STORE_FAULTS,
    leader_crash,
    api_crash,
    all_apis_crash,
    controllers_crash,
    scheduler_crash,
    agent_crash,
    node_crash,
    node_lost,
    cut_pair,
    cut_stores,
    cut_stores,
    isolate,
    isolate,
    split,
    delay,
    slow_disk,
    fill_disk,
    skew_clock,
)
