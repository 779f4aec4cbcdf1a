"""One thing that the supervisor keeps running: a process or a node, restarted with back-off when it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from argosy import logs
from deploy.children import Running

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_LAST_S: Final = 10.0
STEADY_S: Final = 10.0
"""One that ran this long starts over with the shortest back-off."""
FAILED_STARTS: Final = 3
"""Restarts after which something that is down is said not to run; it is tried on."""
HOLD_POLL_S: Final = 0.1

log = logs.get("deploy.supervisor")


class State(Enum):
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Hooks:
    """What differs between a process and a node."""

    start: Callable[[], Awaitable[Running]]
    """Raises any exception when it cannot be started; it is tried again after the back-off."""
    ended: Callable[[], Awaitable[None]]
    """Called after it ended, before it is started again or given up."""
    held: Callable[[], bool] = lambda: False
    """Whether it is not to be started yet: a fault keeps it down."""


class Unit:
    """A kept process. `changed` is called whenever its pid changes."""

    def __init__(self, name: str, stop_order: int, hooks: Hooks, changed: Callable[[], None]) -> None:
        self.name = name
        self.stop_order = stop_order
        self.state = State.STARTING
        self.running: Running | None = None
        self.restarts = 0
        self.exit = ""
        self.started_s = 0.0
        self._hooks = hooks
        self._changed = changed
        self._wanted = True
        self._backoff_s = BACKOFF_FIRST_S
        self._stop_signal = signal.SIGTERM
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self.running.pid if self.running is not None else 0

    def begin(self, adopted: Running | None = None) -> None:
        """Start keeping it; `adopted` already runs."""
        self._task = asyncio.create_task(self._keep(adopted), name=self.name)

    async def stop(self, number: signal.Signals, grace_s: float) -> None:
        """End it for good: the signal, and SIGKILL after `grace_s`."""
        self._wanted = False
        self._stop_signal = number
        if self._task is None:
            return
        if self.running is not None:
            self.running.kill(number)
        elif self.state is State.WAITING:
            self._task.cancel()
        _, pending = await asyncio.wait([self._task], timeout=grace_s)
        if pending:
            log.warning("does not end, killed", process=self.name, grace_s=grace_s)
            self._stop_signal = signal.SIGKILL
            if self.running is not None:
                self.running.kill(signal.SIGKILL)
            await asyncio.wait([self._task])

    async def _keep(self, adopted: Running | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                while self._hooks.held():
                    self.state = State.WAITING
                    await asyncio.sleep(HOLD_POLL_S)
                self.state = State.STARTING
                if adopted is None:
                    try:
                        self.running = await self._hooks.start()
                    except Exception as error:
                        self.exit = f"not started: {error}"
                        log.error("cannot start", process=self.name, error=error)
                else:
                    self.running, adopted = adopted, None
                if self.running is not None:
                    await self._watch(self.running)
                if not self._wanted:
                    return
                if loop.time() - self.started_s >= STEADY_S:
                    self._backoff_s = BACKOFF_FIRST_S
                pause_s, self._backoff_s = self._backoff_s, min(self._backoff_s * 2, BACKOFF_LAST_S)
                self.state = State.WAITING
                await asyncio.sleep(pause_s)
                self.restarts += 1
        finally:
            self.state = State.STOPPED

    async def _watch(self, running: Running) -> None:
        loop = asyncio.get_running_loop()
        self.started_s = loop.time()
        self.state = State.RUNNING
        self._changed()
        if not self._wanted:
            running.kill(self._stop_signal)
        ended = asyncio.Event()
        loop.add_reader(running.pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(running.pidfd)
        self.exit = running.reap()
        self.running = None
        self._changed()
        (log.info if not self._wanted else log.warning)("ended", process=self.name, exit=self.exit)
        try:
            await self._hooks.ended()
        except Exception as error:
            log.error("cannot tidy up", process=self.name, error=error)
