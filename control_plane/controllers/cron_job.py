"""CronJob: makes a Job whenever its schedule says so, and removes old ones.

Upstream: `pkg/controller/cronjob/cronjob_controllerv2.go`. The name of a Job is made of the time it was due, so that
none is made twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from typing import Final

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import conditions, cron, meta
from argosy.objects.cron import CronError, Schedule
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import job_pods
from control_plane.controllers.base import CONTROLLER_INDEX, CRON_JOBS, JOBS, Context, Controller, by_controller
from control_plane.controllers.equality import same
from control_plane.controllers.replicaset import namespace_terminating

MANY_MISSED: Final = 100
LATER_S: Final = 0.1
"""Wake up a little after the time, never before it."""
SCHEDULED: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
NEVER: Final = "time difference between two schedules is less than 1 second"
TOO_MANY: Final = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
TZ_IN_SCHEDULE: Final = (
    "is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ "
    "for more details"
)


class CronJobController(Controller):
    name = "cronjob-controller"
    watches = (CRON_JOBS, JOBS)
    writes = (CRON_JOBS, JOBS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._cron_jobs = self.informer(CRON_JOBS)
        self._jobs = self.informer(JOBS)
        self._jobs.add_index(CONTROLLER_INDEX, by_controller)
        self._cron_jobs.add_handler(added=self.enqueue, updated=self._updated, deleted=self.enqueue)
        self._jobs.add_handler(added=self._job_changed, updated=self._job_updated, deleted=self._job_changed)

    @property
    def workers(self) -> int:
        return self.config.concurrent_cron_job_syncs

    def _updated(self, old: JsonObject, new: JsonObject) -> None:
        before, after = meta.spec(old), meta.spec(new)
        if all(before.get(field) == after.get(field) for field in ("schedule", "timeZone")):
            self.enqueue(new)
            return
        # What the new schedule would have had before now was not missed.
        try:
            schedule = schedule_of(new)
        except CronError:
            message = f"unparseable schedule for cronjob: {after.get('schedule')}"
            self.events.event(new, "Warning", "UnParseableCronJobSchedule", message)
            return
        wait_s = next_in(schedule, self.host.clock.now())
        if wait_s is not None:
            self.queue.add_after(meta.key(new), wait_s)

    def _job_changed(self, job: JsonObject) -> None:
        reference = meta.controller_of(job)
        if reference is None or reference.get("kind") != "CronJob":
            return
        found = self._cron_jobs.get(f"{meta.namespace(job)}/{reference.get('name')}")
        if found is not None and meta.uid(found) == reference.get("uid"):
            self.enqueue(found)

    def _job_updated(self, old: JsonObject, new: JsonObject) -> None:
        if meta.controller_of(old) != meta.controller_of(new):
            self._job_changed(old)
        self._job_changed(new)

    async def reconcile(self, key: str) -> float | None:
        cron_job = self._cron_jobs.get(key)
        if cron_job is None or self.is_behind(key):
            return None
        jobs = self._jobs.by_index(CONTROLLER_INDEX, meta.uid(cron_job))
        status: JsonObject = {**meta.status(cron_job), "active": list(meta.status(cron_job).get("active") or ())}
        try:
            await self._remove_old(cron_job, jobs, status)
            await self._observe(cron_job, jobs, status)
            return await self._sync(cron_job, status)
        finally:
            # A failure on the way takes back nothing of what was done before it.
            await self._write(key, cron_job, status)

    async def _write(self, key: str, cron_job: JsonObject, status: JsonObject) -> None:
        if not same(status, meta.status(cron_job)):
            new = {name: value for name, value in status.items() if value not in ([], None)}
            self.wrote(key, CRON_JOBS, await self.writer(CRON_JOBS).update_status({**cron_job, "status": new}))

    # What has become of the Jobs

    async def _remove_old(self, cron_job: JsonObject, jobs: Sequence[JsonObject], status: JsonObject) -> None:
        for kind, field in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            limit = meta.spec(cron_job).get(field)
            if limit is None:
                continue
            finished = [job for job in jobs if conditions.is_true(job, kind) and not meta.is_deleting(job)]
            finished.sort(key=_started)
            for job in finished[: max(0, len(finished) - int(limit))]:
                await self._delete(cron_job, job, status)

    async def _delete(self, cron_job: JsonObject, job: JsonObject, status: JsonObject) -> bool:
        """Whether it is gone, or going."""
        try:
            await self.writer(JOBS).delete(
                meta.name(job), namespace=meta.namespace(job), uid=meta.uid(job), propagation="Background"
            )
        except ApiError as error:
            if error.code != 404:
                self.events.event(cron_job, "Warning", "FailedDelete", f"Deleted job: {error.message}")
                return False
        _drop(status, meta.uid(job))
        self.events.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {meta.name(job)}")
        return True

    async def _observe(self, cron_job: JsonObject, jobs: Sequence[JsonObject], status: JsonObject) -> None:
        active = {item.get("uid") for item in status["active"]}
        for job in jobs:
            listed, name = meta.uid(job) in active, meta.name(job)
            if not job_pods.is_finished(job):
                if not listed:
                    message = f"Saw a job that the controller did not create or forgot: {name}"
                    self.events.event(cron_job, "Warning", "UnexpectedJob", message)
                continue
            complete = conditions.is_true(job, "Complete")
            if listed:
                _drop(status, meta.uid(job))
                message = f"Saw completed job: {name}, condition: {'Complete' if complete else 'Failed'}"
                self.events.event(cron_job, "Normal", "SawCompletedJob", message)
            ended = meta.status(job).get("completionTime")
            if complete and ended and ended > (status.get("lastSuccessfulTime") or ""):
                status["lastSuccessfulTime"] = ended
        known = {meta.uid(job) for job in jobs}
        for item in list(status["active"]):
            # Live: the cache may not show a Job yet that was just made.
            if item.get("uid") not in known and await self._live(item) is None:
                self.events.event(cron_job, "Normal", "MissingJob", f"Active job went missing: {item.get('name')}")
                _drop(status, str(item.get("uid")))

    async def _live(self, item: JsonObject) -> JsonObject | None:
        try:
            return await self.reader(JOBS).get(str(item.get("name")), namespace=str(item.get("namespace")))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    # Making the next one

    async def _sync(self, cron_job: JsonObject, status: JsonObject) -> float | None:
        """Make the Job that is due, if one is; gives the seconds until the next."""
        spec, now = meta.spec(cron_job), self.host.clock.now()
        if meta.is_deleting(cron_job):
            return None
        schedule = self._schedule(cron_job)
        if schedule is None:
            return None
        since_s = _earliest(cron_job, status)
        deadline_s = spec.get("startingDeadlineSeconds")
        if deadline_s is not None:
            since_s = max(since_s, now - float(deadline_s))
        due = find_due(schedule, since_s, now)
        if due is None:
            message = f"invalid schedule: {spec.get('schedule')} : {NEVER}"
            self.events.event(cron_job, "Warning", "InvalidSchedule", message)
            return None
        if due.many_missed:
            self.events.event(cron_job, "Warning", "TooManyMissedTimes", TOO_MANY)
        again_s = next_in(schedule, now)
        if due.at_s is None:
            return again_s
        if deadline_s is not None and due.at_s + float(deadline_s) < now:
            shown = formatdate(due.at_s)
            message = f"Missed scheduled time to start a job: {shown.replace('-0000', '+0000')}"
            self.events.event(cron_job, "Warning", "MissSchedule", message)
            return again_s
        name = job_name(cron_job, due.at_s)
        last = status.get("lastScheduleTime")
        if any(item.get("name") == name for item in status["active"]) or last == rfc3339(due.at_s):
            return again_s
        policy = spec.get("concurrencyPolicy")
        if policy == "Forbid" and status["active"]:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.events.event(cron_job, "Normal", "JobAlreadyActive", message)
            return again_s
        if policy == "Replace":
            await self._replace(cron_job, status)
        await self._create(cron_job, status, due.at_s)
        return again_s

    def _schedule(self, cron_job: JsonObject) -> Schedule | None:
        """None where nothing is to be made: it is suspended, or its schedule cannot be read."""
        spec = meta.spec(cron_job)
        text, zone = str(spec.get("schedule") or ""), spec.get("timeZone")
        try:
            if zone is not None:
                cron.zone(str(zone))
        except CronError as error:
            message = f'invalid timeZone: "{zone}": {error}'
            self.events.event(cron_job, "Warning", "UnknownTimeZone", message)
            return None
        if spec.get("suspend"):
            return None
        if "TZ" in text:
            message = f'CRON_TZ or TZ used in schedule "{text}" {TZ_IN_SCHEDULE}'
            self.events.event(cron_job, "Warning", "UnsupportedSchedule", message)
        try:
            return schedule_of(cron_job)
        except CronError as error:
            message = f'unparseable schedule: "{text}" : {error}'
            self.events.event(cron_job, "Warning", "UnparseableSchedule", message)
            return None

    async def _replace(self, cron_job: JsonObject, status: JsonObject) -> None:
        """Raises ApiError: while one cannot be removed, no other is made."""
        for item in list(status["active"]):
            job = await self._live(item)
            if job is None:
                _drop(status, str(item.get("uid")))
            elif not await self._delete(cron_job, job, status):
                raise ReplaceError(f"could not replace job {meta.key(job)}")

    async def _create(self, cron_job: JsonObject, status: JsonObject, at_s: float) -> None:
        try:
            job = await self.writer(JOBS).create(new_job(cron_job, at_s))
        except ApiError as error:
            if namespace_terminating(error):
                raise
            if error.reason != "AlreadyExists":
                self.events.event(cron_job, "Warning", "FailedCreate", f"Error creating job: {error.message}")
                raise
            name = job_name(cron_job, at_s)
            job = await self.reader(JOBS).get(name, namespace=meta.namespace(cron_job))
            owner = meta.controller_of(job)
            if owner is None or owner.get("uid") != meta.uid(cron_job):
                return
        else:
            self.events.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {meta.name(job)}")
        reference = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "namespace": meta.namespace(job),
            "name": meta.name(job),
            "uid": meta.uid(job),
            "resourceVersion": meta.resource_version(job),
        }
        status["active"] = [*status["active"], reference]
        status["lastScheduleTime"] = rfc3339(at_s)


class ReplaceError(Exception):
    """A running Job could not be removed to make place for the next."""


@dataclass(frozen=True)
class Due:
    at_s: float | None
    """The last time that passed; None: none has yet."""
    many_missed: bool


def schedule_of(cron_job: JsonObject) -> Schedule:
    """Raises CronError."""
    spec = meta.spec(cron_job)
    return cron.parse(str(spec.get("schedule") or ""), str(spec.get("timeZone") or ""))


def find_due(schedule: Schedule, since_s: float, now: float) -> Due | None:
    """None for a schedule that never comes."""
    first = schedule.next(since_s)
    second = None if first is None else schedule.next(first)
    if first is None or second is None:
        return None
    if now < first:
        return Due(None, False)
    missed = int(now - first) // max(1, int(second - first)) + 1
    return Due(schedule.last(since_s, now), missed > MANY_MISSED)


def next_in(schedule: Schedule, now: float) -> float | None:
    at = schedule.next(now)
    return None if at is None else at + LATER_S - now


def job_name(cron_job: JsonObject, at_s: float) -> str:
    return f"{meta.name(cron_job)}-{int(at_s) // 60}"


def new_job(cron_job: JsonObject, at_s: float) -> JsonObject:
    spec = meta.spec(cron_job)
    template = spec.get("jobTemplate") or {}
    source = template.get("metadata") or {}
    zone = cron.zone(str(spec["timeZone"])) if spec.get("timeZone") else cron.zone("UTC")
    shown = datetime.fromtimestamp(at_s, zone).isoformat()
    metadata: JsonObject = {
        "name": job_name(cron_job, at_s),
        "namespace": meta.namespace(cron_job),
        "annotations": {**(source.get("annotations") or {}), SCHEDULED: shown.replace("+00:00", "Z")},
        "ownerReferences": [meta.owner_reference(cron_job)],
    }
    if source.get("labels"):
        metadata["labels"] = source["labels"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template.get("spec") or {}}


def _earliest(cron_job: JsonObject, status: JsonObject) -> float:
    """What was due before this is not made up for."""
    stamp = status.get("lastScheduleTime") or meta.metadata(cron_job).get("creationTimestamp")
    return parse_rfc3339(stamp) if stamp else 0.0


def _started(job: JsonObject) -> tuple[bool, str, str]:
    began = meta.status(job).get("startTime")
    return not began, began or "", meta.name(job)


def _drop(status: JsonObject, uid: str) -> None:
    status["active"] = [item for item in status["active"] if item.get("uid") != uid]
