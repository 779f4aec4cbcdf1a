"""ReplicaSet and ReplicationController: keep the wanted number of pods of a template running.

Upstream: `pkg/controller/replicaset/replica_set.go`, which serves both kinds, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final

from argosy.host import rfc3339
from argosy.objects import conditions, meta, selectors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import pods
from control_plane.controllers.base import (
    CONTROLLER_INDEX,
    ORPHAN_INDEX,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    Context,
    Controller,
    ResourceName,
    by_controller,
    by_orphanhood,
)
from control_plane.controllers.expectations import TIMEOUT_S, Expectations
from control_plane.controllers.owned_pods import OwnedPods
from control_plane.controllers.ownership import claim

BURST_REPLICAS: Final = 500
"""Pods made or deleted in one go."""
PARALLEL_DELETES: Final = 50


class ReplicaSetController(Controller):
    name = "replicaset-controller"
    watches: ClassVar[tuple[ResourceName, ...]] = (REPLICA_SETS, PODS)
    writes: ClassVar[tuple[ResourceName, ...]] = (PODS, REPLICA_SETS)
    kind: ClassVar = "ReplicaSet"
    resource: ClassVar = REPLICA_SETS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.expectations = Expectations(self.host.clock)
        self._sets = self.informer(self.resource)
        self._pods = self.informer(PODS)
        self._sets.add_index(CONTROLLER_INDEX, by_controller)
        self._pods.add_index(CONTROLLER_INDEX, by_controller)
        self._pods.add_index(ORPHAN_INDEX, by_orphanhood)
        self._sets.add_handler(
            added=self.enqueue, updated=lambda _old, new: self.enqueue(new), deleted=self._set_deleted
        )
        OwnedPods(self._sets, self.kind, selector_of, self.expectations, self.enqueue).follow(self._pods)

    @property
    def workers(self) -> int:
        return self.config.concurrent_replicaset_syncs

    # Changes become keys.

    def _set_deleted(self, replica_set: JsonObject) -> None:
        self.expectations.forget(meta.key(replica_set))
        self.enqueue(replica_set)

    # One key.

    async def reconcile(self, key: str) -> float | None:
        replica_set = self._sets.get(key)
        if replica_set is None:
            self.expectations.forget(key)
            return None
        satisfied = self.expectations.satisfied(key)
        mine = await self._claim(replica_set)
        active = [pod for pod in mine if pods.is_active(pod)]
        ending = sum(pods.is_terminating(pod) for pod in mine)
        failure: Exception | None = None
        if satisfied and not meta.is_deleting(replica_set):
            failure = await self._manage(key, replica_set, active)
        await self._write_status(replica_set, new_status(replica_set, active, ending, failure, self.host.clock.now()))
        if failure is not None:
            raise failure
        if not self.expectations.satisfied(key):
            return TIMEOUT_S
        return next_available_s(replica_set, active, self.host.clock.now())

    async def _claim(self, replica_set: JsonObject) -> list[JsonObject]:
        candidates = self._pods.by_index(CONTROLLER_INDEX, meta.uid(replica_set))
        orphans = self._pods.by_index(ORPHAN_INDEX, meta.namespace(replica_set))
        candidates += [pod for pod in orphans if pods.is_active(pod)]
        return await claim(
            replica_set, selector_of(replica_set), candidates, self.reader(self.resource), self.writer(PODS)
        )

    async def _manage(self, key: str, replica_set: JsonObject, active: Sequence[JsonObject]) -> Exception | None:
        """Make or delete pods. Gives what failed, so that the status can tell of it before it is raised."""
        wanted = int(meta.spec(replica_set).get("replicas", 1))
        missing = min(BURST_REPLICAS, wanted - len(active))
        if missing > 0:
            self.expectations.expect(key, creations=missing)
            made, error = await slow_start(missing, lambda: self._create_pod(key, replica_set))
            for _ in range(missing - made):
                self.expectations.created(key)
            return error
        surplus = min(BURST_REPLICAS, len(active) - wanted)
        if surplus <= 0:
            return None
        order = pods.deletion_order(active, self._related(replica_set), self.host.clock.now())
        doomed = order[:surplus]
        self.expectations.expect(key, deletions=[meta.uid(pod) for pod in doomed])
        errors: list[Exception] = []
        for start in range(0, len(doomed), PARALLEL_DELETES):
            batch = doomed[start : start + PARALLEL_DELETES]
            results = await asyncio.gather(*(self._delete_pod(key, replica_set, pod) for pod in batch))
            errors += [result for result in results if result is not None]
        return errors[0] if errors else None

    async def _create_pod(self, key: str, replica_set: JsonObject) -> None:
        """Raises ApiError; in a namespace that is going away nothing is to be made, said or tried again."""
        try:
            created = await self.writer(PODS).create(new_pod(replica_set))
        except ApiError as error:
            if namespace_terminating(error):
                self.expectations.created(key)
                return
            self.events.event(replica_set, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self.events.event(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(created)}")

    async def _delete_pod(self, key: str, replica_set: JsonObject, pod: JsonObject) -> Exception | None:
        name = meta.name(pod)
        try:
            await self.writer(PODS).delete(name, namespace=meta.namespace(pod), uid=meta.uid(pod))
        except ApiError as error:
            self.expectations.deleted(key, meta.uid(pod))
            if error.code == 404:
                return None
            self.events.event(replica_set, "Warning", "FailedDelete", f"Error deleting: {error.message}")
            return error
        self.events.event(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")
        return None

    def _related(self, replica_set: JsonObject) -> list[JsonObject]:
        """The pods of all sets of the same deployment; of this one alone when nothing controls it."""
        owner = meta.controller_of(replica_set)
        sets = [replica_set] if owner is None else self._sets.by_index(CONTROLLER_INDEX, owner["uid"])
        return [pod for each in sets for pod in self._pods.by_index(CONTROLLER_INDEX, meta.uid(each))]

    async def _write_status(self, replica_set: JsonObject, status: JsonObject) -> None:
        if without_zeros(status) != without_zeros(meta.status(replica_set)):
            await self.writer(self.resource).update_status({**replica_set, "status": status})


class ReplicationControllerController(ReplicaSetController):
    name = "replicationcontroller-controller"
    watches = (REPLICATION_CONTROLLERS, PODS)
    writes = (PODS, REPLICATION_CONTROLLERS)
    kind = "ReplicationController"
    resource = REPLICATION_CONTROLLERS

    @property
    def workers(self) -> int:
        return self.config.concurrent_rc_syncs


def selector_of(workload: JsonObject) -> selectors.Selector:
    """An absent, empty or broken selector matches nothing."""
    written = meta.spec(workload).get("selector")
    if workload.get("kind") == "ReplicationController":
        return selectors.from_labels(written) if written else selectors.NOTHING
    try:
        selector = selectors.from_object(written)
    except selectors.SelectorError:
        return selectors.NOTHING
    return selectors.NOTHING if selector.everything else selector


def new_pod(replica_set: JsonObject) -> JsonObject:
    """The next pod, still without a name."""
    template = meta.spec(replica_set)["template"]
    source = template.get("metadata") or {}
    metadata: JsonObject = {
        "generateName": f"{meta.name(replica_set)}-",
        "namespace": meta.namespace(replica_set),
        "ownerReferences": [meta.owner_reference(replica_set)],
    }
    for field in ("labels", "annotations", "finalizers"):
        if source.get(field):
            metadata[field] = source[field]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


async def slow_start(count: int, create: Callable[[], Awaitable[None]]) -> tuple[int, Exception | None]:
    """Call `create` `count` times, in batches of 1, 2, 4, …: what always fails (a quota) fails once, not a thousand
    times. Gives how many succeeded, and the first error, after whose batch it stopped."""
    made, batch = 0, 1
    remaining = count
    while remaining > 0:
        batch = min(batch, remaining)
        results = await asyncio.gather(*(create() for _ in range(batch)), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        made += len(results) - len(errors)
        for error in errors:
            if not isinstance(error, Exception):
                raise error
        if errors:
            first = errors[0]
            return made, first if isinstance(first, Exception) else None
        remaining -= batch
        batch *= 2
    return made, None


def new_status(
    replica_set: JsonObject, active: Sequence[JsonObject], ending: int, failure: Exception | None, now: float
) -> JsonObject:
    """Counts and the ReplicaFailure condition. Zero counts are left out as upstream does, but for `replicas` and
    those that end."""
    spec = meta.spec(replica_set)
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    labelled = selectors.from_labels(template_labels)
    min_ready_s = int(spec.get("minReadySeconds", 0))
    counts = {
        "fullyLabeledReplicas": sum(labelled.matches(meta.labels(pod)) for pod in active),
        "readyReplicas": sum(pods.is_ready(pod) for pod in active),
        "availableReplicas": sum(pods.available_in(pod, min_ready_s, now) == 0 for pod in active),
    }
    status: JsonObject = {
        "replicas": len(active),
        "terminatingReplicas": ending,
        "observedGeneration": meta.generation(replica_set),
    }
    status |= {name: count for name, count in counts.items() if count}
    old = meta.status(replica_set).get("conditions") or []
    kept = conditions.without(old, "ReplicaFailure")
    if failure is not None:
        reason = "FailedCreate" if len(active) < int(spec.get("replicas", 1)) else "FailedDelete"
        if conditions.get(replica_set, "ReplicaFailure") is None:
            kept = [*kept, conditions.make("ReplicaFailure", True, rfc3339(now), reason, str(failure))]
        else:
            kept = list(old)
    if kept:
        status["conditions"] = kept
    return status


def next_available_s(replica_set: JsonObject, active: Sequence[JsonObject], now: float) -> float | None:
    """Seconds until the next ready pod counts as available; nothing else would wake the controller then."""
    min_ready_s = int(meta.spec(replica_set).get("minReadySeconds", 0))
    waits = [wait for pod in active if (wait := pods.available_in(pod, min_ready_s, now))]
    return min(waits) + 0.05 if waits else None


def without_zeros(status: JsonObject) -> JsonObject:
    """A status as Go's omitempty leaves it: what two of them are compared by."""
    return {name: value for name, value in status.items() if value not in (0, None, [], {})}


def namespace_terminating(error: ApiError) -> bool:
    causes = (error.status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
