"""The log alone: groups, truncation, segments, torn tails, corruption, votes."""

import asyncio
from collections.abc import Callable

import pytest

from argosy.host import File, SeededRng
from etcd.wal import Wal, WalCorrupt, WalFailed
from etcd.writers import ThreadWriter
from tests.sim.virtual import SimDisk


def inline(work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
    try:
        work()
    except OSError as error:
        done(error)
    else:
        done(None)


def make(disk: SimDisk, owner: int = 7, segment_bytes: int = 4096, retain_bytes: int = 0) -> Wal:
    return Wal(disk, "/w", owner, inline, segment_bytes=segment_bytes, retain_bytes=retain_bytes)


def entries(wal: Wal) -> list[tuple[bytes, int, int]]:
    return wal[:]


def fill(wal: Wal, start: int, end: int, term: int = 1) -> None:
    for index in range(start, end):
        wal.add(b"command %d" % index, index, term)
        wal.flush()


def segments(disk: SimDisk) -> list[str]:
    return [name for name in disk.listdir("/w") if name.endswith(".wal")]


def test_what_is_flushed_survives_a_power_cut() -> None:
    disk = SimDisk()
    wal = make(disk)
    fill(wal, 1, 30)
    wal.add(b"never flushed", 30, 1)
    assert (wal.durable, wal.last_index) == (29, 30)
    disk.power_cut()
    again = make(disk)
    assert (again.first_index, again.last_index, again.durable, again.last_term) == (1, 29, 29, 1)
    assert again[5] == (b"command 6", 6, 1)
    assert again.term_at(29) == 1 and again.term_at(30) is None


def test_truncation_is_remembered() -> None:
    disk = SimDisk()
    wal = make(disk)
    fill(wal, 1, 10)
    wal.deleteEntriesFrom(5)
    assert wal.durable == 5
    fill(wal, 6, 8, term=2)
    disk.power_cut()
    assert [(index, term) for _, index, term in entries(make(disk))][4:] == [(5, 1), (6, 2), (7, 2)]


def test_committed_entries_are_never_cut_off() -> None:
    wal = make(SimDisk())
    fill(wal, 1, 10)
    failures: list[BaseException] = []
    wal.on_failure = failures.append
    wal.committed = lambda: 8
    with pytest.raises(WalFailed):
        wal.deleteEntriesFrom(3)
    assert wal.last_index == 9 and failures


def test_a_late_sync_of_entries_cut_off_does_not_count() -> None:
    pending: list[tuple[Callable[[], None], Callable[[BaseException | None], None]]] = []
    wal = Wal(SimDisk(), "/w", 1, lambda work, done: pending.append((work, done)))
    for index in range(1, 6):
        wal.add(b"x", index, 1)
    wal.flush()
    wal.deleteEntriesFrom(2)
    work, done = pending.pop()
    work()
    done(None)
    assert wal.durable == 0, "entry 3 of the group is gone; the next group will say"
    work, done = pending.pop()
    work()
    done(None)
    assert wal.durable == 2


def test_segments_go_once_a_snapshot_covers_them() -> None:
    disk = SimDisk()
    wal = make(disk)
    fill(wal, 1, 400)
    many = len(segments(disk))
    assert many > 3
    wal.deleteEntriesTo(350)
    assert len(segments(disk)) < many and wal.first_index == 351
    disk.power_cut()
    again = make(disk)
    assert again.first_index <= 351 and again.last_index == 399
    again.trim(351)
    assert again[0] == (b"command 351", 351, 1)


def test_some_entries_stay_before_a_snapshot() -> None:
    wal = make(SimDisk(), retain_bytes=110)
    fill(wal, 1, 50)
    wal.deleteEntriesTo(40)
    assert wal.first_index == 30


def test_a_snapshot_can_replace_the_log() -> None:
    disk = SimDisk()
    wal = make(disk)
    fill(wal, 1, 20)
    wal.reset([(b"p", 99, 3), (b"q", 100, 3)])
    disk.power_cut()
    assert entries(make(disk)) == [(b"p", 99, 3), (b"q", 100, 3)]


def _content(disk: SimDisk, name: str) -> bytearray:
    return disk._names[f"/w/{name}"].written


@pytest.mark.parametrize("seed", range(60))
def test_any_torn_last_group_is_cut_off(seed: int) -> None:
    """The last group's bytes reach the disk in any pieces; all groups before it survive."""
    rng = SeededRng(seed)
    disk = SimDisk()
    wal = make(disk, segment_bytes=64 << 10)
    fill(wal, 1, 10)
    name = segments(disk)[-1]
    before = bytes(_content(disk, name))
    for index in range(10, 14):
        wal.add(rng.token(300), index, 1)
    wal.flush()
    content = _content(disk, name)
    for start in range(0, len(content), 128):
        if rng.random() < 0.5:
            content[start : start + 128] = before[start : start + 128]
    torn = make(disk, segment_bytes=64 << 10)
    assert 9 <= torn.last_index <= 13
    last = torn.last_index
    fill(torn, last + 1, last + 5, term=2)
    again = entries(make(disk, segment_bytes=64 << 10))
    assert again[-4:] == [(b"command %d" % index, index, 2) for index in range(last + 1, last + 5)]


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_is_never_served(seed: int) -> None:
    """One flipped bit anywhere in the records: refused, or in the last group and cut off, or in the zeros."""
    rng = SeededRng(seed)
    disk = SimDisk()
    wal = make(disk)
    fill(wal, 1, 60)
    good = entries(wal)
    name = rng.choice(segments(disk))
    content = _content(disk, name)
    at = rng.randrange(len(content.rstrip(b"\0")))
    content[at] ^= 1 << rng.randrange(8)
    try:
        found = entries(make(disk))
    except WalCorrupt:
        return
    assert found == good[: len(found)] and len(found) >= 58


def test_a_missing_segment_and_a_strange_owner() -> None:
    disk = SimDisk()
    fill(make(disk), 1, 300)
    with pytest.raises(WalCorrupt, match="another member or cluster"):
        make(disk, owner=8)
    disk.unlink(f"/w/{segments(disk)[1]}")
    with pytest.raises(WalCorrupt, match="missing"):
        make(disk)


def test_term_and_vote() -> None:
    disk = SimDisk()
    wal = make(disk)
    assert (wal.getCurrentTerm(), wal.getVotedForNodeId()) == (0, None)
    for term in range(1, 6):
        wal.setCurrentTerm(term, f"m{term}" if term % 2 else None)
    disk.power_cut()
    again = make(disk)
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (5, "m5")
    again.setCurrentTerm(6, None)
    _content(disk, "vote")[0:20] = bytes(20)  # a torn write of the newest slot leaves the one before
    disk.power_cut()
    _content(disk, "vote")[0:20] = bytes([1]) * 20
    torn = make(disk)
    assert torn.getCurrentTerm() == 5
    _content(disk, "vote")[:] = b"\1" * 8192
    with pytest.raises(WalCorrupt):
        make(disk)


def test_a_full_disk_stops_the_log() -> None:
    disk = SimDisk()
    wal = make(disk)
    fill(wal, 1, 5)
    failures: list[BaseException] = []
    wal.on_failure = failures.append
    disk.full = True
    wal.add(b"x", 5, 1)
    wal.flush()
    assert failures and wal.durable == 4
    with pytest.raises(WalFailed):
        wal.setCurrentTerm(9, "me")
    disk.full = False
    disk.power_cut()
    assert make(disk).last_index == 4


def test_a_thread_syncs_groups() -> None:
    class Slow(SimDisk):
        syncs = 0

        def open(self, path: str, *, create: bool = False) -> File:
            return super().open(path, create=create)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        writer = ThreadWriter(loop.call_soon_threadsafe)
        wal = Wal(Slow(), "/w", 1, writer.submit)
        done = loop.create_future()

        def durable() -> None:
            if wal.durable == 1000 and not done.done():
                done.set_result(None)

        wal.on_durable = durable
        for index in range(1, 1001):
            wal.add(b"x", index, 1)
            wal.flush()
        await done
        assert wal.syncs <= 3, "what came while the first group was written shares the second"
        writer.stop()

    asyncio.run(body())
