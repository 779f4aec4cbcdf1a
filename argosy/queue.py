"""A work queue of keys: no key twice, no key by two workers at once, failures with growing pauses.

    queue = WorkQueue(); queue.add("default/web")
    await run_workers(queue, reconcile, count=5, name="replicaset")

Informer handlers add keys, workers reconcile them. A key that is added while it is being worked on is done once more
afterwards, so that no change is lost (the rules of client-go `util/workqueue`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from argosy import logs
from argosy.objects.status import ApiError

log = logs.get("argosy.queue")

BACKOFF_BASE_S: Final = 0.005
BACKOFF_MAX_S: Final = 1000.0

Reconcile = Callable[[str], Awaitable[float | None]]
"""Brings the thing of that key to its wanted state. Gives seconds after which to come again, or None; raises to be
tried again after a pause."""


class WorkQueue:
    """Bounded by the number of distinct keys. Not thread-safe: one event loop."""

    def __init__(self, *, base_s: float = BACKOFF_BASE_S, max_s: float = BACKOFF_MAX_S) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._dirty: dict[str, None] = {}
        self._working: dict[str, None] = {}
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return self._ready.qsize()

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being worked on (timers may still be set)."""
        return not self._dirty and not self._working

    def add(self, key: str) -> None:
        if key in self._dirty:
            return
        self._dirty[key] = None
        if key not in self._working:
            self._ready.put_nowait(key)

    def add_after(self, key: str, delay_s: float) -> None:
        """Add in `delay_s` seconds; of several wishes for a key the earliest counts."""
        if delay_s <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + delay_s
        old = self._timers.get(key)
        if old is not None:
            if old.when() <= when:
                return
            old.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def add_failed(self, key: str) -> float:
        """Add after the key's back-off: 5 ms, doubling with each failure, up to 1,000 s. Gives the pause."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause_s = min(self._max_s, self._base_s * float(1 << min(failures, 40)))
        self.add_after(key, pause_s)
        return pause_s

    def forget(self, key: str) -> None:
        """The key succeeded: its next failure starts with the shortest pause."""
        self._failures.pop(key, None)

    def failures(self, key: str) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """The next key; it is the caller's until `done`."""
        key = await self._ready.get()
        self._dirty.pop(key, None)
        self._working[key] = None
        return key

    def done(self, key: str) -> None:
        self._working.pop(key, None)
        if key in self._dirty:
            self._ready.put_nowait(key)

    def close(self) -> None:
        """Drop all timers; keys that wait stay."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)


async def run_workers(queue: WorkQueue, reconcile: Reconcile, *, count: int, name: str) -> None:
    """Work the queue with `count` workers until cancelled. A failing key is tried again; no failure ends a worker."""
    tasks = [
        asyncio.get_running_loop().create_task(_work(queue, reconcile, name), name=f"{name} worker {number}")
        for number in range(count)
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        queue.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _work(queue: WorkQueue, reconcile: Reconcile, name: str) -> None:
    while True:
        key = await queue.get()
        try:
            again_s = await reconcile(key)
        except ApiError as error:
            pause_s = queue.add_failed(key)
            level = log.debug if error.reason in ("Conflict", "AlreadyExists") else log.warning
            level("reconcile failed", queue=name, key=key, pause_s=pause_s, code=error.code, error=error.message)
        except Exception:
            pause_s = queue.add_failed(key)
            log.exception("reconcile failed", queue=name, key=key, pause_s=pause_s)
        else:
            queue.forget(key)
            if again_s is not None:
                queue.add_after(key, again_s)
        finally:
            queue.done(key)
