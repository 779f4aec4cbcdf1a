"""Compaction: forgetting old revisions, at once for readers and bit by bit in memory.

A compact command takes effect immediately: reads and watches below its revision are refused. The versions it frees
are dropped in slices between other work, for a million changes in one go would hold the event loop for a second.
The slices need not run at the same moments on all members: what they drop, nobody can see any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from etcd import errors
from etcd.history import History

SLICE_CHANGES = 2000
"""About 2 ms of work."""


def check_compaction(history: History, revision: int) -> None:
    """Raises StoreError for a revision already compacted or still to come."""
    if revision <= history.compacted:
        raise errors.compacted()
    if revision > history.revision:
        raise errors.future_revision()


class Dropper:
    """Runs `History.drop` on the event loop until nothing is left, pausing while a snapshot is being written."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._scheduled = False
        self._paused = 0
        self._waiting: list[Callable[[], None]] = []

    def kick(self) -> None:
        """After commands were applied: there may be something to drop."""
        if not self._scheduled and not self._paused:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._slice)

    def pause(self) -> None:
        self._paused += 1

    def resume(self) -> None:
        self._paused -= 1
        self.kick()

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call back once everything compacted so far has been dropped (physical compaction)."""
        self._waiting.append(callback)
        self.kick()

    def _slice(self) -> None:
        self._scheduled = False
        if self._paused:
            return
        if self._history.drop(SLICE_CHANGES):
            self.kick()
        else:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()
