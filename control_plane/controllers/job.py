"""Job: runs pods until enough have succeeded, or one of its limits is reached.

Upstream: `pkg/controller/job/job_controller.go`. What a sync decides is in `job_status`, `job_policy` and `job_pods`;
here is what it reads and writes, in the order that loses no pod (`job_status` says why).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from argosy.client import PatchType
from argosy.host import rfc3339
from argosy.objects import conditions, meta, selectors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.queue import WorkQueue, run_workers
from control_plane.controllers import job_pods, job_policy
from control_plane.controllers import pods as podlib
from control_plane.controllers.base import (
    CONTROLLER_INDEX,
    JOBS,
    LABEL_INDEX,
    ORPHAN_INDEX,
    PODS,
    Context,
    Controller,
    Loop,
    by_controller,
    by_labels,
    by_orphanhood,
)
from control_plane.controllers.expectations import TIMEOUT_S, Expectations
from control_plane.controllers.job_policy import Backoff
from control_plane.controllers.job_status import COMPLETED, End, View, written
from control_plane.controllers.ownership import claim
from control_plane.controllers.replicaset import namespace_terminating, selector_of, slow_start

MANAGER: Final = "kubernetes.io/job-controller"
"""spec.managedBy of Jobs that are this controller's; absent means the same."""
SYNC_BATCH_S: Final = 1.0
"""Changes of a Job's pods wait for each other that long (upstream's SyncJobBatchPeriod)."""
RETRY_BASE_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
MAX_PODS_PER_SYNC: Final = 500
PARALLEL_WRITES: Final = 50


@dataclass
class Counts:
    """The Job's pods as they will be when what this sync wrote has happened."""

    active: int
    ready: int
    terminating: int

    def ended(self, pods: Sequence[JsonObject]) -> None:
        self.active -= len(pods)
        self.terminating += len(pods)
        self.ready -= sum(podlib.is_ready(pod) for pod in pods)


class JobController(Controller):
    name = "job-controller"
    watches = (JOBS, PODS)
    writes = (JOBS, PODS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.queue = WorkQueue(base_s=RETRY_BASE_S, max_s=RETRY_MAX_S)
        self.expectations = Expectations(self.host.clock)
        self._backoffs: dict[str, Backoff] = {}
        self._released: dict[str, dict[str, None]] = {}
        """By Job the pods whose finalizer was removed, until the cache shows it."""
        self._orphans = WorkQueue()
        """Pods that nobody will count: their finalizer goes."""
        self._jobs = self.informer(JOBS)
        self._pods = self.informer(PODS)
        self._pods.add_index(CONTROLLER_INDEX, by_controller)
        self._pods.add_index(ORPHAN_INDEX, by_orphanhood)
        self._pods.add_index(LABEL_INDEX, by_labels)
        self._jobs.add_handler(added=self.enqueue, updated=self._job_updated, deleted=self._job_deleted)
        self._pods.add_handler(added=self._pod_added, updated=self._pod_updated, deleted=self._pod_deleted)

    @property
    def workers(self) -> int:
        return self.config.concurrent_job_syncs

    def loops(self) -> tuple[Loop, ...]:
        return (lambda: run_workers(self._orphans, self._release_orphan, count=1, name=f"{self.name} orphans"),)

    # Changes become keys.

    def _job_updated(self, _old: JsonObject, new: JsonObject) -> None:
        if job_pods.is_finished(new):
            self._forsake(new)
        self.enqueue(new)

    def _job_deleted(self, job: JsonObject) -> None:
        self._forget(meta.key(job))
        self._forsake(job)

    def _forsake(self, job: JsonObject) -> None:
        for pod in self._pods.by_index(CONTROLLER_INDEX, meta.uid(job)):
            if job_pods.is_tracked(pod):
                self._orphans.add(meta.key(pod))

    def _forget(self, key: str) -> None:
        self.expectations.forget(key)
        self._backoffs.pop(key, None)
        self._released.pop(key, None)

    def _owner(self, pod: JsonObject) -> JsonObject | None:
        reference = meta.controller_of(pod)
        if reference is None or not _is_job(reference):
            return None
        found = self._jobs.get(f"{meta.namespace(pod)}/{reference.get('name')}")
        return found if found is not None and meta.uid(found) == reference.get("uid") else None

    def _enqueue_soon(self, job: JsonObject) -> None:
        self.queue.add_after(meta.key(job), SYNC_BATCH_S)

    def _enqueue_adopters(self, pod: JsonObject) -> None:
        labels = meta.labels(pod)
        for job in self._jobs.list(meta.namespace(pod)) if labels else ():
            if not job_pods.is_finished(job) and selector_of(job).matches(labels):
                self._enqueue_soon(job)

    def _pod_added(self, pod: JsonObject) -> None:
        owner = self._owner(pod)
        if owner is not None:
            if meta.is_deleting(pod):
                self.expectations.deleted(meta.key(owner), meta.uid(pod))
            else:
                self.expectations.created(meta.key(owner))
            self._enqueue_soon(owner)
            if job_pods.is_finished(owner) and job_pods.is_tracked(pod):
                self._orphans.add(meta.key(pod))
            return
        self._maybe_orphan(pod)
        if meta.controller_of(pod) is None and not meta.is_deleting(pod):
            self._enqueue_adopters(pod)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
        before, owner = self._owner(old), self._owner(new)
        if before is not None and (owner is None or meta.uid(before) != meta.uid(owner)):
            self._enqueue_soon(before)
        if owner is None:
            self._maybe_orphan(new)
            changed = meta.labels(old) != meta.labels(new) or meta.controller_of(old) is not None
            if changed and meta.controller_of(new) is None and not meta.is_deleting(new):
                self._enqueue_adopters(new)
            return
        key = meta.key(owner)
        if meta.is_deleting(new):
            self.expectations.deleted(key, meta.uid(new))
        if not job_pods.is_tracked(new):
            self._released.get(key, {}).pop(meta.uid(new), None)
        elif job_pods.is_finished(owner):
            self._orphans.add(meta.key(new))
        if _seen(old) != _seen(new):
            self._enqueue_soon(owner)

    def _pod_deleted(self, pod: JsonObject) -> None:
        owner = self._owner(pod)
        if owner is not None:
            key = meta.key(owner)
            self.expectations.deleted(key, meta.uid(pod))
            self._released.get(key, {}).pop(meta.uid(pod), None)
            self._enqueue_soon(owner)

    # Pods of Jobs that are gone or finished

    def _maybe_orphan(self, pod: JsonObject) -> None:
        reference = meta.controller_of(pod)
        if job_pods.is_tracked(pod) and (reference is None or _is_job(reference)):
            self._orphans.add(meta.key(pod))

    async def _release_orphan(self, key: str) -> float | None:
        pod = self._pods.get(key)
        if pod is None or not job_pods.is_tracked(pod):
            return None
        reference = meta.controller_of(pod)
        if reference is not None:
            if not _is_job(reference):
                return None
            # Live: the cache of Jobs may be behind that of pods.
            job = await self._live(meta.namespace(pod), reference)
            if job is not None and (_is_foreign(job) or not job_pods.is_finished(job)):
                return None
        await self._patch_finalizer(pod)
        return None

    async def _live(self, namespace: str, reference: JsonObject) -> JsonObject | None:
        try:
            found = await self.reader(JOBS).get(reference["name"], namespace=namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return found if meta.uid(found) == reference.get("uid") else None

    # One key.

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.get(key)
        if job is None:
            self._forget(key)
            return None
        if _is_foreign(job) or job_pods.is_finished(job):
            self._backoffs.pop(key, None)
            return None
        if self.is_behind(key):
            return None
        satisfied = self.expectations.satisfied(key)
        pods = await self._claim(job)
        now = self.host.clock.now()
        view = View(job, pods, self._released.get(key, {}))
        backoff = self._backoffs.get(key, Backoff()).after(view.new_succeeded, view.new_failed)
        counts = Counts(
            len(view.active),
            sum(podlib.is_ready(pod) for pod in view.active),
            sum(podlib.is_terminating(pod) for pod in pods),
        )
        resumed = conditions.is_true(job, "Suspended")
        if not job_pods.is_suspended(job) and (resumed or not view.status.get("startTime")):
            # Anew after a pause: the deadline is of the time without one.
            view.status["startTime"] = rfc3339(now)
        end, failure, again_s = view.end(now), None, None
        deadline_s = view.deadline_in(now) if end is None else None
        if end is not None and not satisfied:
            # There may be pods that the cache does not show.
            end = None
        elif end is not None:
            failure = await self._remove(key, job, view.active, counts, counted=True)
            if counts.active:
                end = None
        else:
            if satisfied and not meta.is_deleting(job):
                again_s, failure = await self._manage(key, view, counts, backoff)
                self._tell_suspension(view, now)
            if view.is_complete(counts.active):
                end = COMPLETED
        view.status |= {"active": counts.active, "ready": counts.ready, "terminating": counts.terminating}
        await self._account(key, view, end, backoff)
        if failure is not None:
            raise failure
        waits = [again_s, deadline_s, None if self.expectations.satisfied(key) else TIMEOUT_S]
        return min((wait for wait in waits if wait is not None), default=None)

    async def _claim(self, job: JsonObject) -> list[JsonObject]:
        selector, space = selector_of(job), meta.namespace(job)
        own = self._pods.by_index(CONTROLLER_INDEX, meta.uid(job))
        candidates = own + [pod for pod in self._orphans_of(space, selector) if not meta.is_deleting(pod)]
        return await claim(
            job, selector, candidates, self.reader(JOBS), self.writer(PODS), finalizer=job_pods.FINALIZER
        )

    def _orphans_of(self, space: str, selector: selectors.Selector) -> list[JsonObject]:
        if not selector.exact:
            return self._pods.by_index(ORPHAN_INDEX, space)
        key, value = selector.exact[0]
        found = self._pods.by_index(LABEL_INDEX, f"{space}/{key}={value}")
        return [pod for pod in found if meta.controller_of(pod) is None]

    def _tell_suspension(self, view: View, now: float) -> None:
        if job_pods.is_suspended(view.job):
            if view.set_condition("Suspended", True, "JobSuspended", "Job suspended", now):
                self.events.event(view.job, "Normal", "Suspended", "Job suspended")
        elif view.set_condition("Suspended", False, "JobResumed", "Job resumed", now):
            self.events.event(view.job, "Normal", "Resumed", "Job resumed")

    # Making and removing pods

    async def _manage(
        self, key: str, view: View, counts: Counts, backoff: Backoff
    ) -> tuple[float | None, Exception | None]:
        """(seconds until more pods may be made, what failed)."""
        job, now = view.job, self.host.clock.now()
        wanted = 0 if job_pods.is_suspended(job) else view.wanted()
        doomed = job_pods.too_many(job, view.active, max(0, len(view.active) - wanted), now)[:MAX_PODS_PER_SYNC]
        if doomed:
            return None, await self._remove(key, job, doomed, counts, counted=False)
        missing = wanted - len(view.active)
        if job_pods.waits_for_failure(job):
            missing -= counts.terminating
        missing = min(missing, MAX_PODS_PER_SYNC)
        if missing <= 0:
            return None, None
        limits = self.config.job_pod_failure_backoff, self.config.job_max_pod_failure_backoff
        indexes: list[int | None] = [None] * missing
        if view.indexed:
            indexes = list(view.pending_indexes(missing))
        if view.per_index:
            waits = [
                job_policy.index_backoff(view.last_failed.get(index or 0)).left_s(now, *limits) for index in indexes
            ]
            indexes = [index for index, wait in zip(indexes, waits, strict=True) if not wait]
            if not indexes:
                return min(waits, default=None), None
        else:
            wait_s = backoff.left_s(now, *limits)
            if wait_s > 0:
                return wait_s, None
        return None, await self._create(key, view, indexes, counts)

    async def _create(self, key: str, view: View, indexes: Sequence[int | None], counts: Counts) -> Exception | None:
        self.expectations.expect(key, creations=len(indexes))
        queue = iter(indexes)

        async def create() -> None:
            index = next(queue)
            extra = None
            if view.per_index and index is not None:
                extra = job_policy.failure_annotations(view.job, view.last_failed.get(index))
            await self._create_pod(key, view.job, job_pods.new_pod(view.job, index, extra))

        made, error = await slow_start(len(indexes), create)
        for _ in range(len(indexes) - made):
            self.expectations.created(key)
        counts.active += made
        return error

    async def _create_pod(self, key: str, job: JsonObject, pod: JsonObject) -> None:
        """Raises ApiError; in a namespace that is going away nothing is to be made, said or tried again."""
        try:
            created = await self.writer(PODS).create(pod)
        except ApiError as error:
            if namespace_terminating(error):
                self.expectations.created(key)
                return
            self.events.event(job, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self.events.event(job, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(created)}")

    async def _remove(
        self, key: str, job: JsonObject, pods: Sequence[JsonObject], counts: Counts, *, counted: bool
    ) -> Exception | None:
        """Delete pods; gives the first failure. Those that are not to be `counted` lose their finalizer first."""
        self.expectations.expect(key, deletions=[meta.uid(pod) for pod in pods])

        async def delete(pod: JsonObject) -> Exception | None:
            try:
                if not counted and job_pods.is_tracked(pod):
                    await self._patch_finalizer(pod)
                await self.writer(PODS).delete(meta.name(pod), namespace=meta.namespace(pod), uid=meta.uid(pod))
            except ApiError as error:
                self.expectations.deleted(key, meta.uid(pod))
                if error.code == 404:
                    return None
                self.events.event(job, "Warning", "FailedDelete", f"Error deleting: {error.message}")
                return error
            self.events.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")
            return None

        results = await _in_batches(pods, delete)
        counts.ended([pod for pod, error in zip(pods, results, strict=True) if error is None])
        return next((error for error in results if error is not None), None)

    # Counting

    async def _account(self, key: str, view: View, end: End | None, backoff: Backoff) -> None:
        """Write what is known, let go of the pods that it counts, and write the rest. Raises ApiError."""
        doomed, more = view.note_finished(end)
        tracked = {meta.uid(pod) for pod in view.pods if view.is_tracked(pod)}
        view.count_released(tracked)
        if end is not None:
            view.announce(end, self.host.clock.now())
        job = await self._write(key, view.job, view.status)
        present = self._jobs.get(key)
        if present is not None and meta.uid(present) == meta.uid(job):
            self._backoffs[key] = backoff
        released, failure = await self._release(key, doomed)
        view.count_released(tracked - released)
        finished = failure is None and not more and end is not None and view.finish(end, self.host.clock.now())
        await self._write(key, job, view.status)
        if failure is not None:
            raise failure
        if finished and end is not None:
            self._tell_end(view, end)

    def _tell_end(self, view: View, end: End) -> None:
        job = view.job
        if not end.success:
            self.events.event(job, "Warning", end.reason, end.message)
            return
        if view.completions is not None and int(view.status.get("succeeded") or 0) > view.completions:
            message = "Too many succeeded pods running after completion count reached"
            self.events.event(job, "Warning", "TooManySucceededPods", message)
        self.events.event(job, "Normal", "Completed", "Job completed")

    async def _write(self, key: str, job: JsonObject, status: JsonObject) -> JsonObject:
        new = written(status)
        if new == meta.status(job):
            return job
        stored = await self.writer(JOBS).update_status({**job, "status": new})
        self.wrote(key, JOBS, stored)
        return stored

    async def _release(self, key: str, pods: Sequence[JsonObject]) -> tuple[set[str], Exception | None]:
        """Remove the finalizers; gives the uids of those that went, and the first failure."""
        waiting = self._released.setdefault(key, {})

        async def release(pod: JsonObject) -> Exception | None:
            waiting[meta.uid(pod)] = None
            try:
                await self._patch_finalizer(pod)
            except ApiError as error:
                del waiting[meta.uid(pod)]
                return error
            return None

        results = await _in_batches(pods, release)
        gone = {meta.uid(pod) for pod, error in zip(pods, results, strict=True) if error is None}
        return gone, next((error for error in results if error is not None), None)

    async def _patch_finalizer(self, pod: JsonObject) -> None:
        """Raises ApiError, but not for a pod that has gone."""
        metadata = {"uid": meta.uid(pod), "$deleteFromPrimitiveList/finalizers": [job_pods.FINALIZER]}
        try:
            await self.writer(PODS).patch(
                meta.name(pod), {"metadata": metadata}, namespace=meta.namespace(pod), type=PatchType.STRATEGIC
            )
        except ApiError as error:
            if error.code != 404:
                raise


async def _in_batches(
    pods: Sequence[JsonObject], act: Callable[[JsonObject], Awaitable[Exception | None]]
) -> list[Exception | None]:
    results: list[Exception | None] = []
    for start in range(0, len(pods), PARALLEL_WRITES):
        results += await asyncio.gather(*(act(pod) for pod in pods[start : start + PARALLEL_WRITES]))
    return results


def _is_job(reference: JsonObject) -> bool:
    """batch/v1's; other groups have Jobs too."""
    return reference.get("kind") == "Job" and str(reference.get("apiVersion", "")).startswith("batch/")


def _is_foreign(job: JsonObject) -> bool:
    return meta.spec(job).get("managedBy") not in (None, MANAGER)


def _seen(pod: JsonObject) -> tuple[object, ...]:
    """What of a pod its Job looks at."""
    return (
        podlib.phase(pod),
        podlib.is_ready(pod),
        meta.is_deleting(pod),
        job_pods.is_tracked(pod),
        meta.labels(pod),
        job_pods.restarts((pod,)),
    )
