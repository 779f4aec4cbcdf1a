"""The simulator's own machine does what it says."""

import asyncio

import pytest

from tests.sim import virtual


def test_time_jumps_instead_of_passing() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
        return loop.time() - start

    assert virtual.run(main()) == pytest.approx(7200)


def test_waiting_for_nothing_is_a_deadlock() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(virtual.Deadlock):
        virtual.run(main())


def test_threads_are_refused() -> None:
    async def main() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(RuntimeError, match="wants a thread"):
        virtual.run(main())


def test_power_cut_keeps_only_what_was_synced() -> None:
    disk = virtual.SimDisk()
    disk.makedirs("/d")
    for name in ("kept", "nameless"):
        file = disk.open(f"/d/{name}", create=True)
        file.pwrite(b"durable", 0)
        file.datasync()
        if name == "kept":
            disk.sync_dir("/d")
    disk.open("/d/kept").pwrite(b"lost", 7)
    disk.power_cut()
    assert disk.listdir("/d") == ["kept"]
    assert disk.open("/d/kept").pread(100, 0) == b"durable"
