"""Leader election by a Lease: of several replicas of a process, one acts.

    await LeaderElector(client, host, LeaseConfig("kube-scheduler", identity)).run(lead)

The scheduler, the controller manager and the autoscalers run under it. Times and rules are client-go's
`tools/leaderelection`: a candidate takes over when the record has not changed for `lease_s` by its own clock, so
clocks need not agree; the leader stops when it could not renew for `renew_s`, before anybody may take over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.host import Host, rfc3339_micro
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject

log = logs.get("argosy.election")

JITTER: Final = 1.2


@dataclass(frozen=True)
class LeaseConfig:
    name: str
    identity: str
    """Unique among the candidates, e.g. host name and a random id."""
    namespace: str = "kube-system"
    lease_s: float = 15.0
    renew_s: float = 10.0
    """The leader gives up after this long without a renewal; less than `lease_s`."""
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.retry_s * JITTER < self.renew_s < self.lease_s:
            raise ValueError("a lease needs retry period * 1.2 < renew deadline < lease duration")


class LeaderElector:
    """One candidate. `is_leader` and `leader` may be read at any time."""

    def __init__(self, client: Client, host: Host, config: LeaseConfig) -> None:
        self._leases = client.resource("coordination.k8s.io", "v1", "leases")
        self._host = host
        self._config = config
        self._seen: JsonObject | None = None
        self._seen_at_s = 0.0
        self._lead_until_s = 0.0
        self.is_leader = False

    @property
    def leader(self) -> str:
        """The holder in the record last seen; empty when there is none."""
        return "" if self._seen is None else str(meta.spec(self._seen).get("holderIdentity") or "")

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Be a candidate until cancelled, and run `lead()` while leader.

        `lead` is cancelled, and awaited, when the lease may be lost; it is called anew at the next election. When it
        ends or raises by itself the lease is given back, and run ends or raises likewise.
        """
        while True:
            await self._acquire()
            self.is_leader = True
            log.info("became leader", lease=self._config.name, identity=self._config.identity)
            leading = asyncio.ensure_future(lead())
            renewing = asyncio.get_running_loop().create_task(self._renew_until_lost())
            lost = False
            try:
                await _first(leading, renewing)
                lost = renewing.done()
                if not lost:
                    await leading
                    return
                log.warning("lost the lease", lease=self._config.name, identity=self._config.identity)
            finally:
                for task in (leading, renewing):
                    task.cancel()
                await asyncio.gather(leading, renewing, return_exceptions=True)
                self.is_leader = False
                if not lost:
                    await self._release()

    async def _acquire(self) -> None:
        while not await self._attempt():  # noqa: ASYNC110  # it polls another machine
            await asyncio.sleep(self._config.retry_s * (1 + (JITTER - 1) * self._host.rng.random()))

    async def _renew_until_lost(self) -> None:
        clock = self._host.clock
        while True:
            await asyncio.sleep(min(self._config.retry_s, max(0.0, self._lead_until_s - clock.monotonic())))
            left_s = self._lead_until_s - clock.monotonic()
            if left_s <= 0:
                return
            try:
                async with asyncio.timeout(left_s):
                    renewed = await self._attempt()
            except TimeoutError:
                return
            if not renewed and self.leader not in ("", self._config.identity):
                return

    async def _attempt(self) -> bool:
        """Take or renew the lease once; False when somebody else holds it or the API does not answer."""
        begun_s = self._host.clock.monotonic()
        try:
            written = await self._renewed() or await self._taken()
        except ApiError as error:
            log.debug("lease attempt failed", lease=self._config.name, code=error.code, error=error.message)
            return False
        if written is None:
            return False
        self._observe(written)
        self._lead_until_s = begun_s + self._config.renew_s
        return True

    async def _renewed(self) -> JsonObject | None:
        """The lease, renewed as its holder knows it, without asking first (client-go's leaderelection does so, too).

        None for who does not hold it, or when it was written since.
        """
        if not self.is_leader or self._seen is None or self.leader != self._config.identity:
            return None
        try:
            return await self._leases.update(self._record(self._seen))
        except ApiError as error:
            if error.code in (404, 409):
                return None
            raise

    async def _taken(self) -> JsonObject | None:
        """The lease as it is taken now; None when somebody else holds it."""
        config = self._config
        found = await self._read()
        if found is None:
            return await self._leases.create(self._record(None), namespace=config.namespace)
        self._observe(found)
        holder = meta.spec(found).get("holderIdentity") or ""
        expired = self._host.clock.monotonic() >= self._seen_at_s + self._expiry_s(found)
        if holder not in ("", config.identity) and not expired:
            return None
        return await self._leases.update(self._record(found))

    async def _read(self) -> JsonObject | None:
        try:
            return await self._leases.get(self._config.name, namespace=self._config.namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def _observe(self, lease: JsonObject) -> None:
        if self._seen is None or meta.spec(self._seen) != meta.spec(lease):
            self._seen_at_s = self._host.clock.monotonic()
        self._seen = lease

    def _expiry_s(self, lease: JsonObject) -> float:
        """What the holder promised, never less than a second."""
        return max(1.0, float(meta.spec(lease).get("leaseDurationSeconds") or self._config.lease_s))

    def _record(self, old: JsonObject | None) -> JsonObject:
        config, now = self._config, rfc3339_micro(self._host.clock.now())
        before = meta.spec(old) if old is not None else {}
        mine = before.get("holderIdentity") == config.identity
        transitions = int(before.get("leaseTransitions") or 0)
        spec = {
            **before,
            "holderIdentity": config.identity,
            "leaseDurationSeconds": max(1, round(config.lease_s)),
            "acquireTime": before.get("acquireTime", now) if mine else now,
            "renewTime": now,
            "leaseTransitions": transitions + (old is not None and not mine),
        }
        if old is not None:
            return {**old, "spec": spec}
        metadata = {"name": config.name, "namespace": config.namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}

    async def _release(self) -> None:
        """Nobody has to wait for the lease to expire; nothing acts any more when this is called."""
        if self._seen is None or self.leader != self._config.identity:
            return
        now = rfc3339_micro(self._host.clock.now())
        spec = {**meta.spec(self._seen), "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now}
        try:
            async with asyncio.timeout(self._config.retry_s):
                await self._leases.update({**self._seen, "spec": spec})
        except (ApiError, TimeoutError) as error:
            log.debug("lease was not released", lease=self._config.name, error=error)


async def _first(*tasks: asyncio.Future[None]) -> None:
    """Until one is done. Like asyncio.wait, but in no hash order."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(_task: asyncio.Future[None]) -> None:
        if not ended.done():
            ended.set_result(None)

    for task in tasks:
        task.add_done_callback(end)
    await ended
