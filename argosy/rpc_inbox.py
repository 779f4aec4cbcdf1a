"""The receiving end of a simulated call: messages that arrived and wait to be read, or are handed over at once.

Part of `argosy.rpc_memory`, which makes them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from argosy.rpc import RpcError

WINDOW_MESSAGES = 64
"""A stream's sender waits while this many of its messages are unread."""


class Inbox:
    """Messages that arrived at one end of a call, then its end; bounded by its sender's window."""

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._ended = False
        self._error: RpcError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writers: deque[asyncio.Future[None]] = deque()
        self._outstanding = 0

    async def reserve(self) -> None:
        """Called by the sender before each message; waits while the window is full."""
        while self._outstanding >= WINDOW_MESSAGES and not self._ended:
            waiter = asyncio.get_running_loop().create_future()
            self._writers.append(waiter)
            await waiter
        self._outstanding += 1

    def push(self, message: bytes) -> None:
        if not self._ended:
            self._items.append(message)
            self._wake()

    def push_last(self, message: bytes) -> None:
        """The only message, and the end."""
        self._outstanding += 1
        self.push(message)
        self.end()

    def end(self, error: RpcError | None = None) -> None:
        """No more messages; only the first call counts. An error is raised after what had arrived."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()
            while self._writers:
                resolve(self._writers.popleft())

    async def pop(self) -> bytes | None:
        """The next message, None at a clean end. Raises RpcError."""
        while not self._items:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        self._outstanding -= 1
        if self._writers:
            resolve(self._writers.popleft())
        return self._items.popleft()

    def _wake(self) -> None:
        if self._reader is not None:
            resolve(self._reader)


class Feed(Inbox):
    """Hands messages over instead of keeping them."""

    def __init__(self, on_message: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        super().__init__()
        self._on_message = on_message
        self._on_end = on_end

    def push(self, message: bytes) -> None:
        if not self._ended:
            self._on_message(message)

    def end(self, error: RpcError | None = None) -> None:
        if not self._ended:
            super().end(error)
            self._on_end()


def resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
