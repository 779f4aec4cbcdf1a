"""DaemonSet: one pod on every node that fits, moved to a new template node by node.

What is to be done is decided in daemon_plan.py; here are the reads and writes. Upstream: `pkg/controller/daemon/`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from argosy.host import Clock
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import daemon_plan as planning
from control_plane.controllers import daemon_pods as daemons
from control_plane.controllers import history
from control_plane.controllers.base import (
    CONTROLLER_INDEX,
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    NODES,
    ORPHAN_INDEX,
    PODS,
    Context,
    Controller,
    ResourceName,
    by_controller,
    by_orphanhood,
)
from control_plane.controllers.expectations import TIMEOUT_S, Expectations
from control_plane.controllers.owned_pods import OwnedPods
from control_plane.controllers.ownership import claim
from control_plane.controllers.replicaset import namespace_terminating, selector_of, slow_start, without_zeros

BURST_REPLICAS: Final = 250
"""Pods made or deleted in one go."""
FAILED_BASE_S: Final = 1.0
FAILED_MAX_S: Final = 900.0


class FailedPods:
    """How long a failed pod of a node stays before it is deleted: 1 s, doubling up to 15 minutes.

    A node that refuses its pods would be fought with at full speed otherwise.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pauses: dict[str, dict[str, tuple[float, float]]] = {}

    def left_s(self, owner: str, node: str) -> float:
        """Seconds to wait; 0 when it may go now."""
        pause_s, since_s = self._pauses.get(owner, {}).get(node, (0.0, 0.0))
        return max(0.0, since_s + pause_s - self._clock.monotonic())

    def deleted(self, owner: str, node: str) -> None:
        """One was deleted: the next one waits longer, unless that is long ago."""
        now_s = self._clock.monotonic()
        pause_s, since_s = self._pauses.setdefault(owner, {}).get(node, (0.0, now_s))
        quiet = now_s - since_s > 2 * FAILED_MAX_S
        longer_s = FAILED_BASE_S if quiet or not pause_s else min(FAILED_MAX_S, 2 * pause_s)
        self._pauses[owner][node] = longer_s, now_s

    def forget(self, owner: str) -> None:
        self._pauses.pop(owner, None)


class DaemonSetController(Controller):
    name = "daemonset-controller"
    watches = (DAEMON_SETS, PODS, NODES, CONTROLLER_REVISIONS)
    writes = (DAEMON_SETS, PODS, CONTROLLER_REVISIONS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.expectations = Expectations(self.host.clock)
        self._failed = FailedPods(self.host.clock)
        self._sets = self.informer(DAEMON_SETS)
        self._pods = self.informer(PODS)
        self._nodes = self.informer(NODES)
        self._revisions = self.informer(CONTROLLER_REVISIONS)
        for informer in (self._pods, self._revisions):
            informer.add_index(CONTROLLER_INDEX, by_controller)
            informer.add_index(ORPHAN_INDEX, by_orphanhood)
        self._sets.add_handler(
            added=self.enqueue, updated=lambda _old, new: self.enqueue(new), deleted=self._set_deleted
        )
        OwnedPods(self._sets, "DaemonSet", selector_of, self.expectations, self.enqueue).follow(self._pods)
        self._nodes.add_handler(added=self._node_added, updated=self._node_updated, deleted=self._node_added)

    @property
    def workers(self) -> int:
        return self.config.concurrent_daemonset_syncs

    # Changes become keys.

    def _set_deleted(self, daemon_set: JsonObject) -> None:
        self.expectations.forget(meta.key(daemon_set))
        self._failed.forget(meta.uid(daemon_set))

    def _node_added(self, node: JsonObject) -> None:
        for daemon_set in self._sets.list():
            if daemons.fit(daemon_set, node).should_continue:
                self.enqueue(daemon_set)

    def _node_updated(self, old: JsonObject, new: JsonObject) -> None:
        """Nodes change all the time; where daemons run depends on labels and taints."""
        if meta.labels(old) == meta.labels(new) and meta.spec(old).get("taints") == meta.spec(new).get("taints"):
            return
        for daemon_set in self._sets.list():
            if daemons.fit(daemon_set, old) != daemons.fit(daemon_set, new):
                self.enqueue(daemon_set)

    # One key.

    async def reconcile(self, key: str) -> float | None:
        daemon_set = self._sets.get(key)
        if daemon_set is None:
            self.expectations.forget(key)
            return None
        if meta.is_deleting(daemon_set):
            return None
        selector = selector_of(daemon_set)
        if selector.nothing:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self.events.event(daemon_set, "Warning", "SelectingAll", message)
            return None
        mine = await self._claim(daemon_set, self._pods, PODS)
        revision, ordered, collisions = await self._bring_history(daemon_set)
        hash_ = meta.labels(revision).get(history.REVISION_LABEL, meta.name(revision))
        nodes, pods = self._nodes.list(), daemons.by_node(mine)
        now = self.host.clock.now()
        failure: Exception | None = None
        again_s = planning.next_available_s(daemon_set, pods, now)
        act = self.expectations.satisfied(key)
        if act:
            plan = planning.manage(daemon_set, nodes, pods, hash_, now)
            wait_s = self._admit_failed(daemon_set, plan)
            again_s = min((each for each in (again_s, wait_s) if each is not None), default=None)
            failure = await self._carry_out(key, daemon_set, plan, hash_)
            rolling = (meta.spec(daemon_set).get("updateStrategy") or {}).get("type") == "RollingUpdate"
            if failure is None and rolling and self.expectations.satisfied(key):
                plan = planning.rolling_update(daemon_set, nodes, pods, hash_, now)
                failure = await self._carry_out(key, daemon_set, plan, hash_)
            if failure is None:
                await self._trim_history(daemon_set, revision, ordered, mine)
        await self._write_status(
            daemon_set, planning.status(daemon_set, nodes, pods, hash_, collisions, now, observed=act)
        )
        if failure is not None:
            raise failure
        return again_s if self.expectations.satisfied(key) else TIMEOUT_S

    async def _claim(self, daemon_set: JsonObject, informer: Informer, resource: ResourceName) -> list[JsonObject]:
        candidates = informer.by_index(CONTROLLER_INDEX, meta.uid(daemon_set))
        candidates += informer.by_index(ORPHAN_INDEX, meta.namespace(daemon_set))
        return await claim(
            daemon_set, selector_of(daemon_set), candidates, self.reader(DAEMON_SETS), self.writer(resource)
        )

    def _admit_failed(self, daemon_set: JsonObject, plan: planning.Plan) -> float | None:
        """Moves finished pods whose time has come to those to delete. Gives seconds until the next one's."""
        owner, space = meta.uid(daemon_set), meta.namespace(daemon_set)
        waits = []
        for node, pod in plan.failed:
            left_s = self._failed.left_s(owner, node)
            if left_s > 0:
                waits.append(left_s)
                continue
            self._failed.deleted(owner, node)
            message = f"Found failed daemon pod {space}/{meta.name(pod)} on node {node}, will try to kill it"
            self.events.event(daemon_set, "Warning", "FailedDaemonPod", message)
            plan.delete.append(pod)
        for node, pod in plan.succeeded:
            message = f"Found succeeded daemon pod {space}/{meta.name(pod)} on node {node}, will try to delete it"
            self.events.event(daemon_set, "Normal", "SucceededDaemonPod", message)
            plan.delete.append(pod)
        return min(waits, default=None)

    async def _carry_out(self, key: str, daemon_set: JsonObject, plan: planning.Plan, hash_: str) -> Exception | None:
        nodes, doomed = plan.create_on[:BURST_REPLICAS], plan.delete[:BURST_REPLICAS]
        if not nodes and not doomed:
            return None
        self.expectations.expect(key, creations=len(nodes), deletions=[meta.uid(pod) for pod in doomed])
        waiting = iter(nodes)
        made, error = await slow_start(
            len(nodes), lambda: self._create_pod(key, daemon_set, daemons.new_pod(daemon_set, next(waiting), hash_))
        )
        for _ in range(len(nodes) - made):
            self.expectations.created(key)
        results = await asyncio.gather(*(self._delete_pod(key, daemon_set, pod) for pod in doomed))
        return error or next((each for each in results if each is not None), None)

    async def _create_pod(self, key: str, daemon_set: JsonObject, pod: JsonObject) -> None:
        """Raises ApiError."""
        try:
            created = await self.writer(PODS).create(pod)
        except ApiError as error:
            if namespace_terminating(error):
                self.expectations.created(key)
                return
            self.events.event(daemon_set, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self.events.event(daemon_set, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(created)}")

    async def _delete_pod(self, key: str, daemon_set: JsonObject, pod: JsonObject) -> Exception | None:
        name = meta.name(pod)
        try:
            await self.writer(PODS).delete(name, namespace=meta.namespace(pod), uid=meta.uid(pod))
        except ApiError as error:
            self.expectations.deleted(key, meta.uid(pod))
            if error.code == 404:
                return None
            self.events.event(daemon_set, "Warning", "FailedDelete", f"Error deleting: {error.message}")
            return error
        self.events.event(daemon_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")
        return None

    # Revisions and status.

    async def _bring_history(self, daemon_set: JsonObject) -> tuple[JsonObject, list[JsonObject], int]:
        known = await self._claim(daemon_set, self._revisions, CONTROLLER_REVISIONS)
        writer = history.RevisionWriter(self.writer(CONTROLLER_REVISIONS), history.REVISION_LABEL)
        return await writer.current(daemon_set, known, int(meta.status(daemon_set).get("collisionCount") or 0))

    async def _trim_history(
        self, daemon_set: JsonObject, current: JsonObject, ordered: Sequence[JsonObject], pods: Sequence[JsonObject]
    ) -> None:
        old = [each for each in ordered if meta.uid(each) != meta.uid(current)]
        surplus = len(old) - int(meta.spec(daemon_set).get("revisionHistoryLimit", 10))
        if surplus <= 0:
            return
        hashes = {meta.labels(pod).get(history.REVISION_LABEL) for pod in pods}
        live = [meta.name(each) for each in old if meta.labels(each).get(history.REVISION_LABEL) in hashes]
        writer = history.RevisionWriter(self.writer(CONTROLLER_REVISIONS), history.REVISION_LABEL)
        for each in history.expired(old, live, 0)[:surplus]:
            await writer.delete(each)

    async def _write_status(self, daemon_set: JsonObject, status: JsonObject) -> None:
        if without_zeros(status) != without_zeros(meta.status(daemon_set)):
            await self.writer(DAEMON_SETS).update_status({**daemon_set, "status": status})
