"""One client's watch: a filter, and a bounded buffer between the cache and the connection.

The cache pushes and never waits; a client that falls too far behind is cut off and starts again from its last
resourceVersion (upstream does the same).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.cache.events import Change, Item, Type

CAPACITY: Final = 10_000

Match = Callable[[JsonObject], bool]


class Watcher:
    """`match` is None when everything in the bucket is wanted."""

    def __init__(self, match: Match | None, namespace: str = "", capacity: int = CAPACITY) -> None:
        self._match = match
        self._namespace = namespace
        self._capacity = capacity
        self._pending: list[Item] = []
        self._wake: asyncio.Future[None] | None = None
        self.closed = False
        self.bucket: tuple[str, str] = ("", "")
        """(index, value) under which the cache keeps this watcher."""

    def wants(self, entry: Entry) -> bool:
        if self._namespace and entry.obj["metadata"].get("namespace") != self._namespace:
            return False
        return self._match is None or self._match(entry.obj)

    def push_initial(self, entries: list[Entry]) -> None:
        """The state at the start; not counted against the buffer, it is bounded by the cache itself."""
        self._pending.extend(Item(Type.ADDED, entry) for entry in entries)
        self._capacity += len(entries)

    def push(self, change: Change) -> None:
        """Deliver a change as this watcher sees it: entering its selector is ADDED, leaving DELETED."""
        if self.closed:
            return
        old, new = change.old, change.new
        before = old is not None and self.wants(old)
        if new is not None and self.wants(new):
            item = Item(Type.MODIFIED if before else Type.ADDED, new, change)
        elif before:
            item = Item(Type.DELETED, change.gone(), change)
        else:
            return
        if len(self._pending) >= self._capacity:
            self.close()
            return
        self._pending.append(item)
        self._notify()

    def close(self) -> None:
        """No more events: the client is to come again."""
        self.closed = True
        self._notify()

    def nudge(self) -> None:
        """Let `next` return without events: whoever waits there has other work."""
        self._notify()

    @property
    def pending(self) -> bool:
        return bool(self._pending)

    def take(self) -> list[Item]:
        """What is pending; empties the buffer."""
        items, self._pending = self._pending, []
        return items

    async def next(self, timeout_s: float) -> list[Item]:
        """Pending events, waiting up to `timeout_s` for some; empty when there are none or it is closed."""
        if not self._pending and not self.closed:
            loop = asyncio.get_running_loop()
            self._wake = loop.create_future()
            timer = loop.call_later(max(timeout_s, 0.0), self._notify)
            try:
                await self._wake
            finally:
                timer.cancel()
                self._wake = None
        return self.take()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
