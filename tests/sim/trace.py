"""What a simulated run did, line by line with its virtual time, and one digest of all of it.

Two runs of a seed are the same run when their digests are equal: every message on the wire, fault and answer counts.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from hashlib import blake2b

import msgspec

RECENT = 40
HASHED_AT_ONCE = 500


class Trace:
    """`show` gets the lines as text; messages only with `messages`."""

    def __init__(self, show: Callable[[str], None] | None = None, messages: bool = False) -> None:
        self.recent: list[str] = []
        """The last lines that were not messages."""
        self.messages = 0
        self._show = show
        self._show_messages = messages
        self._digest = blake2b(digest_size=16)
        self._pending: list[tuple[float, str, str, str, int]] = []
        self._loop: asyncio.AbstractEventLoop

    def begin(self) -> None:
        """The loop runs."""
        self._loop = asyncio.get_running_loop()

    def digest(self) -> str:
        self._hash()
        return self._digest.hexdigest()

    def line(self, what: str, **pairs: object) -> None:
        text = f"{self._loop.time():.6f} {what}"
        text += "".join(f" {key}={value}" for key, value in pairs.items())
        self._hash()
        self._digest.update(text.encode())
        self.recent.append(text)
        if len(self.recent) > RECENT:
            del self.recent[0]
        if self._show is not None:
            self._show(text)

    def message(self, source: str, target: str, method: str, data: bytes) -> None:
        """A message was sent: `argosy.rpc_memory.Observer`."""
        self.messages += 1
        now = self._loop.time()
        self._pending.append((now, source, target, method, zlib.crc32(data)))
        if len(self._pending) > HASHED_AT_ONCE:
            self._hash()
        if self._show_messages and self._show is not None:
            self._show(f"{now:.6f} {source}>{target} {method} {len(data)} {zlib.crc32(data):08x}")

    def _hash(self) -> None:
        self._digest.update(msgspec.msgpack.encode(self._pending))
        self._pending.clear()
