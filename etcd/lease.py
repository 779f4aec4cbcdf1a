"""Leases: which exist and what hangs on them (replicated), and when they run out (the leader's own knowledge).

As in etcd, the time is not replicated: whoever becomes leader gives every lease its full time to live again, and
proposes the revocation of those that ran out. So keeping a lease alive costs no log entry, and applying a command
needs no clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from etcd import errors

MAX_TTL_S = 9_000_000_000
MIN_TTL_S = 2
"""Below this a lease would not outlive an election; shorter requests are raised to it."""


class Lease:
    __slots__ = ("id", "keys", "ttl_s")

    def __init__(self, lease_id: int, ttl_s: int) -> None:
        self.id = lease_id
        self.ttl_s = ttl_s
        self.keys: dict[bytes, None] = {}


class Leases:
    """The replicated part; every member holds the same."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}

    def get(self, lease_id: int) -> Lease | None:
        return self._leases.get(lease_id)

    def all(self) -> Iterable[Lease]:
        return self._leases.values()

    def require(self, lease_id: int) -> Lease:
        """Raises StoreError when there is no such lease."""
        lease = self._leases.get(lease_id)
        if lease is None:
            raise errors.lease_not_found()
        return lease

    def grant(self, lease_id: int, ttl_s: int) -> Lease:
        """Raises StoreError: exists already, no id, or too long."""
        if lease_id == 0:
            raise errors.lease_not_found()
        if ttl_s > MAX_TTL_S:
            raise errors.lease_ttl_too_large()
        if lease_id in self._leases:
            raise errors.lease_exists()
        lease = self._leases[lease_id] = Lease(lease_id, max(ttl_s, MIN_TTL_S))
        return lease

    def remove(self, lease_id: int) -> Lease:
        """Raises StoreError when there is no such lease."""
        lease = self.require(lease_id)
        del self._leases[lease_id]
        return lease

    def move(self, key: bytes, old_id: int, new_id: int) -> None:
        """A key's attachment changes; 0 is none."""
        if old_id == new_id:
            return
        old = self._leases.get(old_id)
        if old is not None:
            old.keys.pop(key, None)
        if new_id:
            self._leases[new_id].keys[key] = None

    def restore(self, leases: Iterable[tuple[int, int]], attached: Iterable[tuple[bytes, int]]) -> None:
        """From a snapshot: (id, ttl) pairs and (key, lease id) pairs."""
        self._leases = {lease_id: Lease(lease_id, ttl_s) for lease_id, ttl_s in leases}
        for key, lease_id in attached:
            lease = self._leases.get(lease_id)
            if lease is not None:
                lease.keys[key] = None


class LeaseClock:
    """When each lease runs out, on the leader's monotonic clock."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._deadlines: dict[int, float] = {}
        self._queue: list[tuple[float, int]] = []

    def promote(self, now: float) -> None:
        """This member begins to lead: everything gets its full time again."""
        self._deadlines.clear()
        self._queue.clear()
        for lease in self._leases.all():
            self._set(lease, now)

    def touch(self, lease_id: int, now: float) -> None:
        """A lease was granted or kept alive; unknown ones are left alone."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            self._set(lease, now)

    def left_s(self, lease_id: int, now: float) -> float:
        """Seconds left, negative when overdue; the full time for a lease not seen yet."""
        lease = self._leases.get(lease_id)
        full = 0.0 if lease is None else float(lease.ttl_s)
        return self._deadlines.get(lease_id, now + full) - now

    def expired(self, now: float) -> list[int]:
        """Leases to revoke now, each given once per grant, touch or retry."""
        result = []
        while self._queue and self._queue[0][0] <= now:
            deadline, lease_id = heappop(self._queue)
            if self._leases.get(lease_id) is None:
                self._deadlines.pop(lease_id, None)
            elif self._deadlines.get(lease_id) == deadline:
                result.append(lease_id)
        return result

    def retry(self, lease_id: int, at: float) -> None:
        """A revocation did not go through; `expired` gives the lease again from `at` on."""
        if self._leases.get(lease_id) is not None:
            self._deadlines[lease_id] = at
            heappush(self._queue, (at, lease_id))

    def next_s(self, now: float) -> float | None:
        """Seconds to the next deadline; None without leases."""
        return max(0.0, self._queue[0][0] - now) if self._queue else None

    def _set(self, lease: Lease, now: float) -> None:
        deadline = now + lease.ttl_s
        self._deadlines[lease.id] = deadline
        heappush(self._queue, (deadline, lease.id))
        if len(self._queue) > 64 + 4 * len(self._deadlines):
            self._queue = sorted((when, lease_id) for lease_id, when in self._deadlines.items())
