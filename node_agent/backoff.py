"""Back-off by key as client-go's flowcontrol keeps it: a delay that doubles while failures follow each other.

Used for crashing containers (10 s to 5 min, forgotten after 10 min without a failure) and for image pulls.
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_S = 10.0
MAX_S = 300.0


@dataclass(frozen=True)
class _Entry:
    delay_s: float
    updated_at: float


class Backoff:
    def __init__(self, initial_s: float = INITIAL_S, max_s: float = MAX_S) -> None:
        self._initial_s = initial_s
        self._max_s = max_s
        self._entries: dict[str, _Entry] = {}

    def delay_s(self, key: str) -> float:
        """The present delay; 0 before the first failure."""
        entry = self._entries.get(key)
        return entry.delay_s if entry else 0.0

    def wait_s(self, key: str, failed_at: float, now: float) -> float:
        """Seconds to wait for a failure at `failed_at`; 0 when its delay is over."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, failed_at):
            return 0.0
        return max(0.0, failed_at + entry.delay_s - now)

    def failed(self, key: str, at: float) -> None:
        """Count one failure: the delay starts, doubles, or starts anew when the last one is long ago."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, at):
            self._entries[key] = _Entry(self._initial_s, at)
        else:
            self._entries[key] = _Entry(min(self._max_s, entry.delay_s * 2), at)

    def forget(self, prefix: str) -> None:
        """Drop every key that starts with `prefix`."""
        for key in [key for key in self._entries if key.startswith(prefix)]:
            del self._entries[key]

    def _expired(self, entry: _Entry, at: float) -> bool:
        return at - entry.updated_at > 2 * self._max_s


def text(seconds: float) -> str:
    """Seconds as Go prints a duration: `10s`, `2m40s`, `5m0s`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60}s"
