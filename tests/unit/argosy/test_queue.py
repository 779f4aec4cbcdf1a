"""The work queue: no key twice, no key by two at once, failures wait longer each time."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.queue import WorkQueue, run_workers
from tests.sim import virtual


def test_a_key_waits_once_however_often_it_is_added() -> None:
    async def main() -> list[str]:
        queue = WorkQueue()
        for key in ("a", "b", "a", "a"):
            queue.add(key)
        return [await queue.get() for _ in range(len(queue))]

    assert virtual.run(main()) == ["a", "b"]


def test_a_key_added_while_worked_on_comes_again_after_done_only() -> None:
    async def main() -> None:
        queue = WorkQueue()
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        assert len(queue) == 0
        queue.done(key)
        assert len(queue) == 1
        assert await queue.get() == "a"
        queue.done("a")
        assert queue.idle

    virtual.run(main())


def test_of_several_delays_the_earliest_counts() -> None:
    async def main() -> list[float]:
        loop, queue = asyncio.get_running_loop(), WorkQueue()
        queue.add_after("a", 10)
        queue.add_after("a", 3)
        queue.add_after("a", 7)
        await queue.get()
        first = loop.time()
        queue.done("a")
        await asyncio.sleep(60)
        return [first, float(len(queue))]

    assert virtual.run(main()) == [pytest.approx(3), 0]


def test_back_off_doubles_to_its_bound_and_forget_resets_it() -> None:
    async def main() -> list[float]:
        queue = WorkQueue()
        pauses = [queue.add_failed("a") for _ in range(20)]
        queue.forget("a")
        return [*pauses, queue.add_failed("a")]

    pauses = virtual.run(main())
    assert pauses[:4] == pytest.approx([0.005, 0.01, 0.02, 0.04])
    assert pauses[19] == 1000.0
    assert pauses[20] == pytest.approx(0.005)


def test_workers_repeat_failures_and_requeue_after() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, queue = asyncio.get_running_loop(), WorkQueue()
        seen: list[tuple[str, float]] = []

        async def reconcile(key: str) -> float | None:
            seen.append((key, round(loop.time(), 3)))
            if len(seen) < 3:
                raise RuntimeError("not yet")
            return 5.0 if len(seen) == 3 else None

        task = loop.create_task(run_workers(queue, reconcile, count=2, name="test"))
        queue.add("a")
        await asyncio.sleep(60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return seen

    assert virtual.run(main()) == [("a", 0.0), ("a", 0.005), ("a", 0.015), ("a", 5.015)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=40), st.integers(1, 4))
def test_no_key_is_worked_on_twice_at_once_and_the_last_change_is_seen(
    adds: list[tuple[str, int]], workers: int
) -> None:
    async def main() -> None:
        loop, queue = asyncio.get_running_loop(), WorkQueue()
        version = dict.fromkeys("abc", 0)
        done = dict.fromkeys("abc", 0)
        busy = dict.fromkeys("abc", 0)

        async def reconcile(key: str) -> None:
            busy[key] += 1
            assert busy[key] == 1
            seen = version[key]
            await asyncio.sleep(2)
            done[key] = seen
            busy[key] -= 1

        task = loop.create_task(run_workers(queue, reconcile, count=workers, name="test"))
        for key, pause in adds:
            version[key] += 1
            queue.add(key)
            await asyncio.sleep(pause)
        await asyncio.sleep(600)
        assert queue.idle
        assert done == version
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual.run(main())
