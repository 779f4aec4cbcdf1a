"""Who runs a member's disk work: one thread, or the event loop itself where the simulator allows no threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

Work = Callable[[], None]
Done = Callable[["BaseException | None"], None]
Submit = Callable[[Work, Done], None]
"""Run work in order; then call `done` on the event loop with what it raised, if anything."""


class ThreadWriter:
    """Runs a Wal's disk work in one thread; groups that queue up meanwhile follow one another."""

    def __init__(self, call_soon_threadsafe: Callable[..., object]) -> None:
        self._call_soon = call_soon_threadsafe
        self._ready = threading.Condition()
        self._queue: list[tuple[Work, Done]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="wal", daemon=True)
        self._thread.start()

    def submit(self, work: Work, done: Done) -> None:
        with self._ready:
            self._queue.append((work, done))
            self._ready.notify()

    def stop(self) -> None:
        """Finish what is queued and join the thread."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._queue and not self._stopping:
                    self._ready.wait()
                if not self._queue:
                    return
                queue, self._queue = self._queue, []
            for work, done in queue:
                error: BaseException | None = None
                try:
                    work()
                except BaseException as caught:
                    error = caught
                try:
                    self._call_soon(done, error)
                except RuntimeError:
                    return


class LoopWriter:
    """The simulator's writer: on the event loop, a little later, so that a crash can come in between."""

    def __init__(self, delay_s: Callable[[], float]) -> None:
        self._delay_s = delay_s
        self._queue: deque[tuple[Work, Done]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, work: Work, done: Done) -> None:
        self._queue.append((work, done))
        self._arm()

    def stop(self) -> None:
        """Forget what is queued, as a crash does."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is None and self._queue:
            self._timer = asyncio.get_running_loop().call_later(self._delay_s(), self._run)

    def _run(self) -> None:
        self._timer = None
        work, done = self._queue.popleft()
        error: BaseException | None = None
        try:
            work()
        except OSError as caught:
            error = caught
        done(error)
        self._arm()
