"""A leader that hands over: nothing is lost, nobody waits for an election, and a transfer that fails does no harm."""

from __future__ import annotations

import asyncio

import pytest

from argosy.pb import etcd_pb2 as pb
from etcd.errors import StoreError
from etcd.machine import Kind
from tests.sim import virtual
from tests.unit.etcd.sim_cluster import NAMES, Cluster


async def three(seed: int) -> tuple[Cluster, str, str]:
    """A cluster at rest, its leader and a follower."""
    cluster = Cluster(seed)
    for name in NAMES:
        cluster.boot(name)
    await asyncio.wait_for(cluster.until_converged(), 60)
    while not cluster.leader():
        await asyncio.sleep(0.1)
    old = cluster.leader()
    return cluster, old, next(name for name in NAMES if name != old)


async def write(cluster: Cluster, member: str, key: bytes, answered: list[bytes]) -> None:
    """One put after the other, for ever."""
    number = 0
    while True:
        number += 1
        put = pb.PutRequest(key=key, value=str(number).encode())
        await cluster.members[member].propose(Kind.PUT, put.SerializeToString())
        answered.append(put.value)


@pytest.mark.parametrize("seed", range(6))
def test_leadership_moves_at_once_while_everybody_writes(seed: int) -> None:
    async def main() -> None:
        cluster, old, new = await three(seed)
        loop = asyncio.get_running_loop()
        answers: list[list[bytes]] = [[] for _ in range(12)]
        writers = [
            loop.create_task(write(cluster, NAMES[number % 3], b"k%d" % number, answers[number]))
            for number in range(12)
        ]
        await asyncio.sleep(1.0)
        term, begun = cluster.members[old].raft.term, loop.time()
        await cluster.members[old].move_leader(cluster.members[new].machine.member_id)
        assert cluster.members[new].raft.is_leader
        assert cluster.members[new].raft.term == term + 1
        assert loop.time() - begun < 0.3
        before = [len(each) for each in answers]
        await asyncio.sleep(1.0)
        failed = [task.exception() for task in writers if task.done()]
        assert all(isinstance(error, StoreError) and "leader changed" in error.message for error in failed)
        assert any(len(each) > count for each, count in zip(answers, before, strict=True))
        for task in writers:
            task.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        await cluster.kill(*NAMES)

    virtual.run(main())


def test_a_leader_whose_target_does_not_take_over_takes_commands_again() -> None:
    async def main() -> None:
        cluster, old, new = await three(1)
        loop = asyncio.get_running_loop()
        member = cluster.members[old]
        for other in NAMES:
            if other != new:
                cluster.network.partition(other, new)
        moving = loop.create_task(member.move_leader(member.config.member_id(new)))
        await asyncio.sleep(0.01)
        begun = loop.time()
        put = pb.PutRequest(key=b"k", value=b"v").SerializeToString()
        await member.propose(Kind.PUT, put)
        assert 1.0 < loop.time() - begun < 2.0
        with pytest.raises(StoreError, match="timed out"):
            await moving
        assert not member.raft._transport.refuses
        await cluster.kill(*NAMES)

    virtual.run(main())
