"""Notices what happens in the runtime, and wakes the pods it happened to (upstream's PLEG).

Events make it prompt, a relist now and then makes it certain: only the difference of two lists counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from argosy import logs
from argosy.host import Host
from node_agent.runtime.runtime import UNSUPPORTED, Container, Runtime, RuntimeFailure, Sandbox, State

log = logs.get("node_agent.relist")

WITHOUT_EVENTS_S = 1.0
SETTLE_S = (0.005, 0.05, 0.2, 1.0)
"""After an event: containerd tells of an exit before its CRI part has seen it."""
EVENTS_RETRY_S = 1.0
MAX_AWAITED = 10_000

Snapshot = dict[str, dict[str, object]]
"""What is known of each pod: id to state."""


@dataclass(frozen=True)
class _Awaited:
    """One container or sandbox that events were about, until a list shows what they told."""

    before: object
    """The state when the first event came."""
    events: int = 1
    lists: int = 0
    """Made since the last event."""

    def seen(self, state: object) -> bool:
        """A start and an exit in quick succession are seen when it has ended: a list that shows it running was made
        between them."""
        return state != self.before and (self.events < 2 or state not in (State.CREATED, State.RUNNING, True))


class Relister:
    def __init__(self, runtime: Runtime, host: Host, period_s: float, changed: Callable[[str], None]) -> None:
        """`changed` gets the uid of a pod in which something happened."""
        self._runtime = runtime
        self._host = host
        self._period_s = period_s
        self._changed = changed
        self._snapshot: Snapshot = {}
        self._states: dict[str, object] = {}
        self._awaited: dict[str, _Awaited] = {}
        """Containers and sandboxes that events were about."""
        self._notice = asyncio.Event()
        self._flowing = False
        self.healthy_at: float | None = None
        """When the runtime last answered, on the monotonic clock."""
        self.error = ""
        self.containers: list[Container] = []
        self.sandboxes: list[Sandbox] = []

    async def run(self) -> None:
        """Until cancelled."""
        listening = asyncio.get_running_loop().create_task(self._listen(), name="runtime events")
        try:
            while True:
                await self.relist()
                try:
                    async with asyncio.timeout(self._period_s if self._flowing else WITHOUT_EVENTS_S):
                        await self._notice.wait()
                except TimeoutError:
                    continue
                self._notice.clear()
                await self._settle()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _settle(self) -> None:
        """Relist until everything that an event was about shows it, or was given time enough."""
        while self._awaited:
            await asyncio.sleep(SETTLE_S[min(each.lists for each in self._awaited.values())])
            await self.relist()
            self._awaited = {
                id_: replace(each, lists=each.lists + 1)
                for id_, each in self._awaited.items()
                if not each.seen(self._states.get(id_)) and each.lists + 1 < len(SETTLE_S)
            }

    async def relist(self) -> None:
        """Compare with the last list and tell of what differs. A runtime that is away is remembered, not raised."""
        try:
            self.sandboxes = await self._runtime.list_sandboxes()
            self.containers = await self._runtime.list_containers()
        except RuntimeFailure as failure:
            if not self.error:
                log.warning("the runtime does not answer", error=failure.message)
            self.error = failure.message
            return
        if self.error:
            log.info("the runtime answers again")
        self.error = ""
        self.healthy_at = self._host.clock.monotonic()
        snapshot: Snapshot = {}
        for sandbox in self.sandboxes:
            snapshot.setdefault(sandbox.uid, {})[sandbox.id] = sandbox.ready
        for container in self.containers:
            snapshot.setdefault(container.pod_uid, {})[container.id] = container.state
        changed = [uid for uid, state in snapshot.items() if self._snapshot.get(uid) != state]
        changed += [uid for uid in self._snapshot if uid not in snapshot]
        self._snapshot = snapshot
        self._states = {id_: state for states in snapshot.values() for id_, state in states.items()}
        for uid in changed:
            self._changed(uid)

    async def _listen(self) -> None:
        while True:
            try:
                self._flowing = True
                async for id_ in self._runtime.events():
                    known = self._awaited.get(id_)
                    if known is not None:
                        self._awaited[id_] = replace(known, events=known.events + 1, lists=0)
                    elif len(self._awaited) < MAX_AWAITED:
                        self._awaited[id_] = _Awaited(self._states.get(id_))
                    self._notice.set()
            except RuntimeFailure as failure:
                self._flowing = False
                if failure.reason == UNSUPPORTED:
                    log.info("the runtime tells no events; it is asked every second")
                    return
                log.debug("runtime events broke off", error=failure.message)
            self._flowing = False
            self._notice.set()
            await asyncio.sleep(EVENTS_RETRY_S)
