"""The scheduler: gives each pod that has no node a node.

Informers keep a snapshot of the cluster and a queue of pods; one loop takes the most urgent pod, decides, counts the
pod where it will be and binds it in the background. Replicas follow the cluster too and take over at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import numpy as np

from argosy import logs
from argosy.client import Client
from argosy.election import LeaderElector, LeaseConfig
from argosy.events import EventRecorder
from argosy.host import Host
from argosy.informer import InformerFactory
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.scheduling import resources
from argosy.scheduling.volumes import NodeView
from control_plane.scheduler import cycle, preemption
from control_plane.scheduler.config import Config
from control_plane.scheduler.default_selector import DefaultSelector
from control_plane.scheduler.plugins import Profile, default_profile
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.queue import Change, Queued, SchedulingQueue
from control_plane.scheduler.snapshot import Snapshot
from control_plane.scheduler.volume_claims import VolumeClaims
from control_plane.scheduler.writer import SCHEDULER_ERROR, Writer

log = logs.get("scheduler")

LIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed"
"""Finished pods take nothing from a node."""
YIELD_EVERY_PODS = 16
"""The event loop gets a turn after so many decisions."""


class Scheduler:
    """`run()` places pods until it is cancelled. The snapshot and queue may be read for tests and metrics."""

    def __init__(self, config: Config, host: Host, client: Client) -> None:
        self._config = config
        self._host = host
        self._client = client
        self._factory = InformerFactory(client, host)
        self._recorder = EventRecorder(client, host, config.scheduler_name)
        self._writer = Writer(
            client, host, self._recorder, config.parallel_binds, config.scheduler_name, self._victim_stayed
        )
        self.snapshot = Snapshot()
        self.queue = SchedulingQueue(
            host.clock,
            initial_s=config.pod_initial_backoff_s,
            max_s=config.pod_max_backoff_s,
            flush_s=config.unschedulable_flush_s,
        )
        self._assumed: dict[str, str] = {}
        """Pods by uid that were given a node which the API has not confirmed yet."""
        self._nominated: dict[str, tuple[PodInfo, str]] = {}
        """Pods by uid that wait for others to leave a node."""
        self.placed = 0
        """Decisions that found a node."""
        self.profile = self._watch()

    def _watch(self) -> Profile:
        informer = self._factory.informer
        nodes = informer("", "v1", "nodes")
        nodes.add_handler(added=self._node_added, updated=self._node_updated, deleted=self._node_deleted)
        spaces = informer("", "v1", "namespaces")
        spaces.add_handler(
            added=self._namespace_put,
            updated=lambda _old, new: self._namespace_put(new),
            deleted=self._namespace_gone,
        )
        self._pods = informer("", "v1", "pods", fields=LIVE_PODS)
        self._pods.add_handler(added=self._pod_added, updated=self._pod_updated, deleted=self._pod_deleted)
        self._budgets = informer("policy", "v1", "poddisruptionbudgets")
        controllers = {
            "ReplicaSet": informer("apps", "v1", "replicasets"),
            "StatefulSet": informer("apps", "v1", "statefulsets"),
            "ReplicationController": informer("", "v1", "replicationcontrollers"),
        }
        self._volumes = VolumeClaims(
            self._factory, self._pods, self._client, lambda: self.queue.changed(Change.VOLUME)
        )
        return default_profile(DefaultSelector(informer("", "v1", "services"), controllers), self._volumes)

    # What happens in the cluster

    def _node_added(self, node: JsonObject) -> None:
        self.snapshot.put_node(node)
        self.queue.changed(Change.NODE_ADDED)

    def _node_updated(self, old: JsonObject, new: JsonObject) -> None:
        before, after = meta.spec(old), meta.spec(new)
        status, old_status = meta.status(new), meta.status(old)
        changes = []
        if status.get("allocatable") != old_status.get("allocatable"):
            changes.append(Change.NODE_ALLOCATABLE)
        if meta.labels(new) != meta.labels(old):
            changes.append(Change.NODE_LABELS)
        if (before.get("taints"), before.get("unschedulable")) != (after.get("taints"), after.get("unschedulable")):
            changes.append(Change.NODE_TAINTS)
        if changes or status.get("images") != old_status.get("images"):
            self.snapshot.put_node(new)
        for change in changes:
            self.queue.changed(change)

    def _node_deleted(self, node: JsonObject) -> None:
        self.snapshot.remove_node(meta.name(node))

    def _namespace_put(self, space: JsonObject) -> None:
        before = self.snapshot.namespace_labels.get(meta.name(space))
        self.snapshot.put_namespace(meta.name(space), meta.labels(space))
        if before is not None and before != meta.labels(space):
            self.queue.changed(Change.NAMESPACE)

    def _namespace_gone(self, space: JsonObject) -> None:
        self.snapshot.remove_namespace(meta.name(space))

    def _ours(self, info: PodInfo) -> bool:
        """To be placed by this scheduler, now."""
        return (
            info.spec.get("schedulerName", self._config.scheduler_name) == self._config.scheduler_name
            and not info.deleting
            and not info.spec.get("schedulingGates")
        )

    def _pod_added(self, pod: JsonObject) -> None:
        info = PodInfo.of(pod)
        if info.node_name:
            self._confirm(info)
            self.queue.changed(Change.POD_PLACED)
        elif self._ours(info) and info.uid not in self._assumed:
            nominated = meta.status(pod).get("nominatedNodeName")
            if nominated:
                self._nominated.setdefault(info.uid, (info, str(nominated)))
            self.queue.put(info)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
        info = PodInfo.of(new)
        if info.node_name:
            before = PodInfo.of(old)
            if _scheduling_part(old) == _scheduling_part(new):
                return
            self._confirm(info)
            self.queue.changed(Change.POD_GONE if before.node_name else Change.POD_PLACED)
            if before.node_name and meta.labels(old) != meta.labels(new):
                self.queue.changed(Change.POD_PLACED)
        elif not self._ours(info):
            self.queue.remove(info.key)
            if info.deleting:
                self._give_up_nomination(info.uid)
        elif info.uid not in self._assumed:
            if _scheduling_part(old) == _scheduling_part(new):
                self.queue.update(info)
            else:
                self.queue.put(info)

    def _pod_deleted(self, pod: JsonObject) -> None:
        info = PodInfo.of(pod)
        self.queue.remove(info.key)
        self._assumed.pop(info.uid, None)
        self._give_up_nomination(info.uid)
        if self.snapshot.remove_pod(info.uid):
            self.queue.changed(Change.POD_GONE)

    def _give_up_nomination(self, uid: str) -> None:
        """The room that was kept for the pod is free for others."""
        if self._nominated.pop(uid, None) is not None:
            self.queue.changed(Change.POD_GONE)

    def _confirm(self, info: PodInfo) -> None:
        """The API says where the pod is."""
        self._assumed.pop(info.uid, None)
        self._nominated.pop(info.uid, None)
        self.queue.remove(info.key)
        self.snapshot.put_pod(info, info.node_name)

    # The loop

    async def run(self) -> None:
        """Raises ValueError for periods that make no sense."""
        config = self._config
        factory = asyncio.get_running_loop().create_task(self._factory.run(), name="informers")
        recorder = asyncio.get_running_loop().create_task(self._recorder.run(), name="events")
        try:
            if config.leader_elect:
                lease = LeaseConfig(
                    config.leader_elect_resource_name,
                    config.identity or f"scheduler_{self._host.rng.uuid()}",
                    config.leader_elect_resource_namespace,
                    config.leader_elect_lease_duration_s,
                    config.leader_elect_renew_deadline_s,
                    config.leader_elect_retry_period_s,
                )
                await LeaderElector(self._client, self._host, lease).run(self._lead)
            else:
                await self._lead()
        finally:
            for task in (factory, recorder):
                task.cancel()
            await asyncio.gather(factory, recorder, return_exceptions=True)

    async def _lead(self) -> None:
        await self._factory.wait_synced()
        log.info("scheduling", nodes=len(self.snapshot), waiting=len(self.queue))
        writing = asyncio.get_running_loop().create_task(self._writer.run(), name="writer")
        try:
            await self._loop()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._writer.drain()

    async def _loop(self) -> None:
        decisions = 0
        while True:
            await self._writer.slot()
            try:
                queued = await self.queue.pop()
            except BaseException:
                self._writer.free_slot()
                raise
            if not self._place(queued):
                self._writer.free_slot()
            decisions += 1
            if decisions % YIELD_EVERY_PODS == 0:
                await asyncio.sleep(0)

    def _place(self, queued: Queued) -> bool:
        """Decide about one pod; true when it is being bound (the writer's slot is then in use)."""
        info = queued.info
        try:
            decision = self._decide(info)
        except Exception as error:
            log.exception("no decision", pod=info.key)
            self._writer.unschedulable(info, f"running the scheduler: {error}", reason=SCHEDULER_ERROR)
            self.queue.retry(queued)
            return False
        if isinstance(decision, cycle.Misfit):
            self._misfit(queued, decision)
            return False
        self.placed += 1
        self._nominated.pop(info.uid, None)
        self._assumed[info.uid] = decision.node_name
        self.snapshot.put_pod(info, decision.node_name)
        before = self._volumes_first(info, decision.node_name)
        self._writer.bind(info, decision.node_name, lambda error: self._bind_failed(queued, error), before)
        return True

    def _volumes_first(self, info: PodInfo, node_name: str) -> Callable[[], Awaitable[None]] | None:
        """What must be done for the pod's claims before it is bound; None when there is nothing."""
        node = NodeView(node_name, meta.labels(self.snapshot.nodes[node_name]))
        plan = self._volumes.promise(info, node)
        if plan is None:
            return None
        timeout_s = self._config.bind_timeout_s

        async def carry_out() -> None:
            try:
                await self._volumes.carry_out(plan, node_name, timeout_s)
            finally:
                self._volumes.forget(info.uid)

        return carry_out

    def _decide(self, info: PodInfo) -> cycle.Placement | cycle.Misfit:
        """A node must do with the pods that room is kept for, and without them: they may never come."""
        snapshot, profile, nominated = self.snapshot, self.profile, self._nominated_node(info)
        if not self._reserved(info):
            return cycle.decide(info, snapshot, profile, self._host.rng, nominated=nominated)
        within, without = cycle.feasible(info, snapshot, profile)
        with self._with_nominated(info):
            decision = cycle.decide(info, snapshot, profile, self._host.rng, within=within, nominated=nominated)
        if isinstance(decision, cycle.Placement) or decision.lost is None or not len(decision.lost):
            return decision
        lost = [(place, np.intersect1d(rows, decision.lost)) for place, rows in without]
        more = cycle.rejections(info, snapshot, profile, [(place, rows) for place, rows in lost if len(rows)])
        return cycle.Misfit(decision.nodes, decision.rejections + more)

    def _misfit(self, queued: Queued, misfit: cycle.Misfit) -> None:
        info = queued.info
        chosen: preemption.Candidate | None = None
        said = preemption.not_eligible(info, self._nominated_node(info), self.snapshot)
        if not said:
            with self._with_nominated(info):
                chosen, said = preemption.find(info, misfit, self.snapshot, self.profile, self._budgets.list)
        message = misfit.message(said)
        log.debug("pod does not fit", pod=info.key, why=message)
        if chosen is None:
            stale = said not in (preemption.NEVER, preemption.TERMINATING) and bool(self._nominated_node(info))
            if stale:
                self._give_up_nomination(info.uid)
            self._writer.unschedulable(info, message, nominated="" if stale else None)
        else:
            self._make_room(info, message, chosen)
        self.queue.failed(queued, misfit.plugins)

    def _make_room(self, info: PodInfo, message: str, chosen: preemption.Candidate) -> None:
        names = [victim.key for victim in chosen.victims]
        log.info("making room", pod=info.key, node=chosen.node_name, victims=names)
        for uid, (other, node_name) in list(self._nominated.items()):
            if node_name == chosen.node_name and other.priority < info.priority:
                # Its room goes to the more important one; it looks elsewhere.
                del self._nominated[uid]
                self._writer.clear_nomination(other)
        self._nominated[info.uid] = (info, chosen.node_name)
        self._writer.nominate(info, message, chosen.node_name, chosen.victims)

    def _victim_stayed(self) -> None:
        """Who waits for its room must choose again, and no event tells it to."""
        self.queue.changed(Change.POD_GONE)

    def _nominated_node(self, info: PodInfo) -> str:
        """Where room was or is being made for the pod."""
        held = self._nominated.get(info.uid)
        return held[1] if held else str(meta.status(info.pod).get("nominatedNodeName") or "")

    def _reserved(self, info: PodInfo) -> list[tuple[PodInfo, str]]:
        """Pods of no lower priority that room was made for: it is theirs already."""
        return [
            (other, node_name)
            for uid, (other, node_name) in self._nominated.items()
            if uid != info.uid and other.priority >= info.priority and not self.snapshot.placement(uid)
        ]

    @contextmanager
    def _with_nominated(self, info: PodInfo) -> Iterator[None]:
        placed = self._reserved(info)
        for other, node_name in placed:
            self.snapshot.put_pod(other, node_name)
        try:
            yield
        finally:
            for other, _ in placed:
                self.snapshot.remove_pod(other.uid)

    def _bind_failed(self, queued: Queued, error: ApiError) -> None:
        """Take the placement back; the pod comes again, as it is now, unless it is gone or placed."""
        info = queued.info
        if self._assumed.pop(info.uid, None) is None:
            return
        self.snapshot.remove_pod(info.uid)
        self.queue.changed(Change.POD_GONE)
        pod = self._pods.get(info.key)
        now = PodInfo.of(pod) if pod is not None else None
        if error.code == 404 or now is None or now.uid != info.uid or now.node_name or not self._ours(now):
            return
        queued.info = now
        if error.code != 503:
            self._writer.unschedulable(now, f"binding rejected: {error.message}", reason=SCHEDULER_ERROR)
        self.queue.retry(queued)


def _scheduling_part(pod: JsonObject) -> tuple[object, ...]:
    """What of a pod matters to its placement and to others'."""
    held = resources.granted(pod)
    return meta.spec(pod), meta.labels(pod), meta.is_deleting(pod), held, bool(held) and resources.is_infeasible(pod)
