"""Three members on virtual time, with partitions, crashes and power cuts: acknowledged steps survive, reads are
linearizable, watches have no gaps, replicas converge."""

import asyncio
from collections.abc import Sequence

import pytest

from etcd import raft, sim_member
from etcd.snapshot import SnapshotCorrupt
from etcd.wal import Wal, WalCorrupt, WalFailed
from tests.sim import virtual
from tests.unit.etcd import sim_cluster
from tests.unit.etcd.sim_cluster import NAMES, Client, Cluster, watch_all

KEYS = [b"a", b"b", b"c"]


async def faults(cluster: Cluster, until: float, kinds: Sequence[int] = range(6)) -> None:
    loop = asyncio.get_running_loop()
    rng = cluster.rng
    while loop.time() < until:
        await asyncio.sleep(0.5 + 3 * rng.random())
        kind = rng.choice(kinds)
        for one in cluster.members.values():
            if hasattr(one, "raft") and rng.random() < 0.7:
                one.raft.compact()
        victim = rng.choice(NAMES)
        if kind == 0:
            cluster.network.partition(victim, rng.choice([name for name in NAMES if name != victim]))
        elif kind == 1:
            for other in NAMES:
                if other != victim:
                    cluster.network.partition(victim, other, one_way=rng.random() < 0.3)
        elif kind == 2:
            victim = cluster.leader() or victim
            await cluster.kill(victim, power=rng.random() < 0.7)
            await asyncio.sleep(3 * rng.random())
            cluster.boot(victim)
        elif kind == 3:
            await cluster.kill(victim)
            cluster.boot(victim)
        elif kind == 4:
            await cluster.kill(*NAMES)
            for name in NAMES:
                cluster.boot(name)
        else:
            cluster.network.heal()
    cluster.network.heal()


async def scenario(seed: int, duration_s: float = 40.0, lies: bool = False, kinds: Sequence[int] = range(6)) -> str:
    sim_cluster.SEEN.clear()
    cluster = Cluster(seed)
    for name in NAMES:
        cluster.boot(name)
    loop = asyncio.get_running_loop()
    if lies:
        loop.call_later(5.0, cluster.lie)
    until = loop.time() + duration_s
    clients = [Client(cluster, f"client{number}") for number in range(4)]
    events: list[tuple[int, bytes, bytes]] = []
    watcher = loop.create_task(watch_all(cluster, "m2", events))
    work = [loop.create_task(client.work(KEYS, until)) for client in clients]
    breaking = loop.create_task(faults(cluster, until, kinds))
    for task in [*work, breaking]:
        await task
    for name in NAMES:
        if name not in cluster.members:
            cluster.boot(name)
        elif cluster.tasks[name].done():
            await cluster.tasks[name]
    await asyncio.wait_for(cluster.until_converged(), 60)
    steps = [step for client in clients for step in client.steps]
    assert len(steps) == len(set(steps)), "a step was acknowledged twice"
    finals = {key: await _read(clients[0], key) for key in KEYS}
    for key, number in steps:
        assert number <= finals[key], f"step {number} of {key!r} is lost: {finals}"
    hashes = {one.machine.hash(0) for one in cluster.members.values()}
    assert len(hashes) == 1, "replicas differ"
    await asyncio.sleep(6)
    watcher.cancel()
    for key in KEYS:
        numbers = [int(value) for _, changed, value in events if changed == key]
        assert numbers == list(range(1, finals[key] + 1)), f"the watch of {key!r} has gaps or repeats"
    checksum = next(iter(hashes))
    await cluster.close()
    failures = sum(client.failures for client in clients)
    assert len(steps) > 50
    return f"{checksum:x} {len(steps)} steps {failures} failures {cluster.boots} boots t={loop.time():.6f}"


async def _read(client: Client, key: bytes) -> int:
    for _ in range(20):
        try:
            return await client.read(key)
        except virtual_errors:
            await asyncio.sleep(0.5)
    raise AssertionError("no member answers")


virtual_errors = (sim_cluster.RpcError,)


@pytest.mark.parametrize("seed", range(3))
def test_acknowledged_steps_survive(seed: int) -> None:
    virtual.run(scenario(seed))


def test_the_same_seed_gives_the_same_run() -> None:
    assert virtual.run(scenario(11, 15.0)) == virtual.run(scenario(11, 15.0))


def test_the_slowest_heartbeat_that_the_flag_allows() -> None:
    """pysyncobj refuses elections that take longer than its own transport's patience, which is not used here."""

    async def main() -> str:
        cluster = Cluster(1, heartbeat_interval_s=1)
        for name in NAMES:
            cluster.boot(name)
        await asyncio.sleep(40)
        leader = cluster.leader()
        await cluster.close()
        return leader

    assert virtual.run(main()) in NAMES


def caught(lies: bool = False, kinds: Sequence[int] = range(6)) -> bool:
    """Whether one of some seeds notices a planted bug."""
    for seed in range(8):
        try:
            virtual.run(scenario(seed, 30.0, lies, kinds))
        except (AssertionError, TimeoutError, WalCorrupt, WalFailed, SnapshotCorrupt):
            return True
    return False


def test_a_disk_that_lies_is_noticed() -> None:
    assert caught(lies=True)


def test_an_early_acknowledgement_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    early = property(lambda self: self.last_index, lambda self, value: None)
    monkeypatch.setattr(sim_member, "DISK_S", 0.2)
    virtual.run(scenario(1, 30.0, kinds=[4]))
    monkeypatch.setattr(Wal, "durable", early, raising=False)
    assert caught(kinds=[4])


def test_stock_truncation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft._Transport, "_strip", lambda self, message: None)
    assert caught()


def test_a_member_that_a_full_disk_ended_clears_its_alarm_when_it_is_back() -> None:
    async def main() -> None:
        cluster = Cluster(1)
        for name in NAMES:
            cluster.boot(name)
        await asyncio.wait_for(cluster.until_converged(), 60)
        await asyncio.sleep(5)
        victim = next(name for name in NAMES if name != cluster.leader())
        cluster.disks[victim].full = True
        while not cluster.tasks[victim].done():
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        assert cluster.members[cluster.leader()].machine.alarms
        with pytest.raises(WalFailed):
            await cluster.kill(victim)
        cluster.disks[victim].full = False
        cluster.boot(victim)
        async with asyncio.timeout(30):
            while any(member.machine.alarms for member in cluster.members.values()):
                await asyncio.sleep(0.1)
        await cluster.close()

    virtual.run(main())
