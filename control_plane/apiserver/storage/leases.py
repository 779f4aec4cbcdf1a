"""Store leases for objects that expire (Events): one lease serves many objects made within a minute.

As upstream's lease manager: the lease lives a little longer than asked, so that it can be shared.
"""

from __future__ import annotations

from typing import Final

from argosy.host import Clock
from control_plane.apiserver.storage.etcd import EtcdClient

SHARED_FOR_S: Final = 60.0
SHARED_BY_OBJECTS: Final = 1000


class LeasePool:
    def __init__(self, client: EtcdClient, clock: Clock, ttl_s: float) -> None:
        self._client = client
        self._clock = clock
        self._ttl_s = ttl_s
        self._lease = 0
        self._made_at = 0.0
        self._objects = 0

    async def lease(self) -> int:
        """A lease that lasts at least the time to live from now. Raises ApiError."""
        now = self._clock.monotonic()
        if not self._lease or now - self._made_at > SHARED_FOR_S or self._objects >= SHARED_BY_OBJECTS:
            self._lease = await self._client.grant(int(self._ttl_s + SHARED_FOR_S))
            self._made_at, self._objects = now, 0
        self._objects += 1
        return self._lease
