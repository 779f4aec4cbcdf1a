"""Removes finished Jobs, with their pods, when their time to live is over.

Upstream: `pkg/controller/ttlafterfinished`.
"""

from __future__ import annotations

from argosy.host import parse_rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import JOBS, Context, Controller


class TtlAfterFinishedController(Controller):
    name = "ttl-after-finished-controller"
    watches = (JOBS,)
    writes = (JOBS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = self.informer(JOBS)
        self._jobs.add_handler(added=self._changed, updated=lambda _old, new: self._changed(new))

    @property
    def workers(self) -> int:
        return self.config.concurrent_ttl_after_finished_syncs

    def _changed(self, job: JsonObject) -> None:
        if expires_at(job) is not None:
            self.enqueue(job)

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.get(key)
        at = None if job is None else expires_at(job)
        if job is None or at is None:
            return None
        left_s = at - self.host.clock.now()
        if left_s > 0:
            return left_s
        # Exactly what was looked at: the time to live may have been changed meanwhile.
        try:
            await self.writer(JOBS).delete(
                meta.name(job),
                namespace=meta.namespace(job),
                propagation="Foreground",
                uid=meta.uid(job),
                resource_version=meta.resource_version(job),
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def expires_at(job: JsonObject) -> float | None:
    """Unix seconds; None for a Job that stays, has not finished, or is being deleted."""
    ttl_s = meta.spec(job).get("ttlSecondsAfterFinished")
    if ttl_s is None or meta.is_deleting(job):
        return None
    for kind in ("Complete", "Failed"):
        condition = conditions.get(job, kind)
        if condition is not None and condition.get("status") == "True" and condition.get("lastTransitionTime"):
            return parse_rfc3339(condition["lastTransitionTime"]) + float(ttl_s)
    return None
