"""Linearizable reads without log entries (Raft dissertation 6.4, "ReadIndex").

A read takes the leader's commit index, the leader then proves by one round of pings to a majority that it still
leads, and the read waits until its member has applied that index. A round is shared by all reads that came before
it began; those that come while it runs wait for the next. Followers ask the leader for the index, sharing in the
same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush

from etcd import errors

TIMEOUT_S = 5.0


class Rounds:
    """Shared work: whoever calls `join` gets the result of a round that began after the call."""

    def __init__(self, begin: Callable[[], None]) -> None:
        """`begin` starts a round; the owner calls `end` when it is over."""
        self._begin = begin
        self._running: list[asyncio.Future[int]] = []
        self._next: list[asyncio.Future[int]] = []
        self._active = False
        self._since = 0.0

    @property
    def age_s(self) -> float:
        """How long the running round has taken; 0 without one."""
        return asyncio.get_running_loop().time() - self._since if self._active else 0.0

    def again(self) -> None:
        """Whatever the running round waited for has changed or is lost: begin it anew."""
        if self._active:
            self._begin()

    def join(self) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._next.append(future)
        if not self._active:
            self._start()
        return future

    def end(self, index: int | None, error: errors.StoreError | None = None) -> None:
        """The round gave an index, or failed with `error`."""
        if not self._active:
            return
        self._active = False
        waiting, self._running = self._running, []
        for future in waiting:
            if future.done():
                continue
            if index is not None:
                future.set_result(index)
            else:
                future.set_exception(error or errors.leader_changed())
        self._next = [future for future in self._next if not future.done()]
        if self._next:
            self._start()

    def _start(self) -> None:
        self._running, self._next = self._next, []
        self._active = True
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        loop.call_soon(self.again)


class Quorum:
    """The leader's proof: counts the pongs of one numbered round."""

    def __init__(self, members: int) -> None:
        self._need = members // 2
        self._number = 0
        self._term = 0
        self._heard: dict[str, None] = {}

    @property
    def number(self) -> int:
        return self._number

    def begin(self, term: int) -> int:
        """A new round; gives its number."""
        self._number += 1
        self._term = term
        self._heard.clear()
        return self._number

    def pong(self, peer: str, term: int, number: int) -> bool:
        """True when this pong completes the round."""
        if number != self._number or term != self._term or peer in self._heard:
            return False
        self._heard[peer] = None
        return len(self._heard) == self._need


class AppliedWaiters:
    """Futures that wait for this member to have applied an index."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, asyncio.Future[None], float]] = []
        self._count = 0

    def wait(self, index: int) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._count += 1
        heappush(self._heap, (index, self._count, future, loop.time() + TIMEOUT_S))
        return future

    def advance(self, applied: int) -> None:
        while self._heap and self._heap[0][0] <= applied:
            future = heappop(self._heap)[2]
            if not future.done():
                future.set_result(None)

    def sweep(self) -> None:
        """Called now and then: who waited too long fails."""
        now = asyncio.get_running_loop().time()
        for _, _, future, deadline in self._heap:
            if deadline <= now and not future.done():
                future.set_exception(errors.timed_out())
