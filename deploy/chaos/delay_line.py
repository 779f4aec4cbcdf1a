"""Frames on their way over a slow link: each comes out after its delay, in the order in which it went in. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from argosy.host import Rng

MAX_BYTES: Final = 32 << 20
"""Under way at once in one direction; beyond that frames are lost, as on a link whose buffers are full."""


class DelayLine:
    """One direction of a link. Times are seconds of whatever clock the caller has."""

    def __init__(self, delay_s: float, jitter_s: float, rng: Rng, max_bytes: int = MAX_BYTES) -> None:
        self._delay_s = delay_s
        self._jitter_s = jitter_s
        self._rng = rng
        self._max_bytes = max_bytes
        self._frames: deque[tuple[float, bytes]] = deque()
        self._last_s = 0.0
        self.held_bytes = 0
        self.lost = 0

    def push(self, frame: bytes, now_s: float) -> None:
        """A frame goes in. Its delay is `delay_s`, give or take up to `jitter_s`, and never overtakes."""
        if self.held_bytes + len(frame) > self._max_bytes:
            self.lost += 1
            return
        delay_s = self._delay_s + self._jitter_s * (2 * self._rng.random() - 1)
        self._last_s = max(self._last_s, now_s + max(0.0, delay_s))
        self._frames.append((self._last_s, frame))
        self.held_bytes += len(frame)

    def pop_due(self, now_s: float) -> Iterator[bytes]:
        """Those that come out by now."""
        while self._frames and self._frames[0][0] <= now_s:
            _, frame = self._frames.popleft()
            self.held_bytes -= len(frame)
            yield frame

    def next_s(self) -> float | None:
        """When the next one comes out; None when nothing is under way."""
        return self._frames[0][0] if self._frames else None
