"""Bugs to plant, each of a kind that the simulation exists to find: a run with one of them must fail.

`plant(name)` breaks the product in this process for good; `python -m tests.sim SEED --plant NAME` does it by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from argosy.host import SeededRng
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.allocate import services
from control_plane.apiserver.cache.resource import ResourceCache
from control_plane.apiserver.cache.watcher import Watcher
from control_plane.autoscaler.nodes.removal import Removal
from control_plane.controllers.base import PODS
from control_plane.controllers.cron_job import CronJobController
from control_plane.controllers.garbage_collector import GarbageCollector
from control_plane.controllers.statefulset import StatefulSetController
from etcd import member, raft, sim_member, watch
from etcd.wal import Wal
from tests.sim import faults, virtual
from tests.sim.faults import Fault


def stock_truncation() -> None:
    """pysyncobj's own: a follower cuts off everything behind a resent message's first entry."""
    raft._Transport._strip = lambda self, message: None  # type: ignore[method-assign]


def lost_store_event() -> None:
    """The store's fan-out forgets one change in 200."""
    rng = SeededRng("lost")
    flush = watch.Group.flush

    def forgetful(self: watch.Group) -> None:
        self.pending = [item for item in self.pending if rng.random() > 0.005]
        if self.pending:
            flush(self)

    watch.Group.flush = forgetful  # type: ignore[method-assign]


def lost_api_event() -> None:
    """The API server's watch cache forgets to tell a watcher of one change in 200."""
    rng = SeededRng("lost")
    push = Watcher.push

    def forgetful(self: Watcher, change: Any) -> None:
        if rng.random() > 0.005:
            push(self, change)

    Watcher.push = forgetful  # type: ignore[method-assign]


def repeated_store_event() -> None:
    """A watcher that caught up is told the last change again."""
    catch_up = watch.WatchHub.catch_up

    def repeating(self: watch.WatchHub, watcher: watch.Watcher) -> list[bytes]:
        watcher.next_revision = max(1, watcher.next_revision - 1)
        return catch_up(self, watcher)

    watch.WatchHub.catch_up = repeating  # type: ignore[method-assign]


def early_acknowledgement() -> None:
    """What is only buffered counts as on disk."""
    sim_member.DISK_S = 0.3
    Wal.durable = property(lambda self: self.last_index, lambda self, value: None)  # type: ignore[assignment]


def lone_majority() -> None:
    """The leader takes its own log for a majority's."""
    tick = raft.Raft.tick

    def alone(self: raft.Raft) -> None:
        for node in self._raft._SyncObj__otherNodes:
            self._raft._SyncObj__raftMatchIndex[node] = self._wal.last_index
        tick(self)

    raft.Raft.tick = alone  # type: ignore[method-assign]


def unconfirmed_reads() -> None:
    """A leader answers reads without asking whether it still leads."""
    begin = member.Member._begin_round

    def alone(self: member.Member) -> None:
        if self.raft.is_leader and self.raft.term_is_committed:
            self._rounds.end(self.raft.commit_index)
        else:
            begin(self)

    member.Member._begin_round = alone  # type: ignore[method-assign]


def lying_disk() -> None:
    """datasync returns without doing anything."""
    virtual._SimFile.datasync = lambda self: None  # type: ignore[method-assign]


def second_of_an_ordinal() -> None:
    """The StatefulSet controller does not wait until a pod is gone from its node before it makes the next."""

    async def impatient(self: StatefulSetController, set_: JsonObject, pod: JsonObject) -> None:
        with suppress(ApiError):
            await self.writer(PODS).delete(
                meta.name(pod), namespace=meta.namespace(pod), uid=meta.uid(pod), grace_period_s=0
            )

    StatefulSetController._delete = impatient  # type: ignore[method-assign]


def forgotten_dependents() -> None:
    """The garbage collector does not look at what an object that went had owned."""
    GarbageCollector._gone = lambda self, uid: None  # type: ignore[method-assign]


def kept_watch() -> None:
    """The API server's watch cache keeps watchers whose clients are gone."""
    ResourceCache.unwatch = lambda self, watcher: None  # type: ignore[method-assign]


def kept_claim() -> None:
    """Addresses and ports of a deleted Service are not given back."""
    services.ServiceAllocator.plan_delete = lambda self, obj: services.NO_CLAIMS  # type: ignore[method-assign]


def overlapping_runs() -> None:
    """The CronJob controller starts a Job whatever still runs."""
    sync = CronJobController._sync

    async def careless(self: CronJobController, cron_job: JsonObject, status: JsonObject) -> float | None:
        return await sync(self, {**cron_job, "spec": {**cron_job["spec"], "concurrencyPolicy": "Allow"}}, status)

    CronJobController._sync = careless  # type: ignore[method-assign]


def undrained_node() -> None:
    """The node autoscaler takes a node away with the pods that are on it."""

    async def none(self: Removal) -> None:
        """Nothing is evicted."""

    Removal._drain = none  # type: ignore[method-assign]


ALL: dict[str, tuple[Callable[[], None], tuple[Fault, ...]]] = {
    "stock-truncation": (stock_truncation, faults.ALL),
    "lost-store-event": (lost_store_event, faults.ALL),
    "lost-api-event": (lost_api_event, faults.ALL),
    "repeated-store-event": (repeated_store_event, faults.ALL),
    "early-acknowledgement": (early_acknowledgement, (faults.all_stores_crash,)),
    "lone-majority": (lone_majority, (faults.isolate_leader, faults.leader_crash)),
    "unconfirmed-reads": (unconfirmed_reads, (faults.isolate_leader,)),
    "lying-disk": (lying_disk, (faults.all_stores_crash, faults.rolling_store_crash)),
    "second-of-an-ordinal": (second_of_an_ordinal, faults.ALL),
    "forgotten-dependents": (forgotten_dependents, faults.ALL),
    "kept-watch": (kept_watch, faults.ALL),
    "kept-claim": (kept_claim, faults.ALL),
    "overlapping-runs": (overlapping_runs, faults.ALL),
    "undrained-node": (undrained_node, faults.ALL),
}
"""Each bug by name, with the faults under which it matters."""


def plant(name: str) -> tuple[Fault, ...]:
    """Gives the faults to run it under. Raises KeyError for a bug that there is not."""
    bug, kinds = ALL[name]
    bug()
    return kinds
