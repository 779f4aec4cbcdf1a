"""A Job as one sync sees it: its pods counted, whether it is at an end and why, and what its status is to say.

Pure. Every pod carries a finalizer until it is counted. A finished one is first noted by uid in
status.uncountedTerminatedPods and that is written; then its finalizer goes; then it counts and leaves the list. So
none is lost and none counts twice, whenever the controller stops. An indexed Job needs no uids for successes: the set
of completed indexes does the same. Upstream: `pkg/controller/job/job_controller.go` (KEP-2307).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import conditions, intervals, meta
from argosy.objects.intervals import Intervals
from argosy.objects.types import JsonObject
from control_plane.controllers import job_pods, job_policy
from control_plane.controllers import pods as podlib

MAX_UNCOUNTED: Final = 500
"""Pods that are counted in one go: their uids stay below 20 KB."""


@dataclass(frozen=True)
class End:
    """A condition that ends the Job."""

    type: str
    """FailureTarget or SuccessCriteriaMet: decided, told before anything is given up. Failed: as decided earlier."""
    reason: str
    message: str

    @property
    def success(self) -> bool:
        return self.type == "SuccessCriteriaMet"

    @property
    def final(self) -> str:
        return "Complete" if self.success else "Failed"


COMPLETED: Final = End("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")


@dataclass
class View:
    """`status` is this sync's own copy, which it changes."""

    job: JsonObject
    pods: Sequence[JsonObject]
    released: Container[str]
    """Uids of pods whose finalizer was removed, as the cache may not show yet."""
    status: JsonObject = field(init=False)
    active: list[JsonObject] = field(init=False)
    new_succeeded: list[JsonObject] = field(init=False)
    new_failed: list[JsonObject] = field(init=False)
    succeeded: int = field(init=False)
    failed: int = field(init=False)
    completed: Intervals = intervals.EMPTY
    failed_indexes: Intervals = intervals.EMPTY
    last_failed: dict[int, JsonObject] = field(default_factory=dict)
    """By index the pod whose successor is still to be made, with a back-off limit per index."""

    def __post_init__(self) -> None:
        self.status = {**meta.status(self.job), "conditions": list(meta.status(self.job).get("conditions") or ())}
        noted = self.status.get("uncountedTerminatedPods") or {}
        self.status["uncountedTerminatedPods"] = {
            "succeeded": list(noted.get("succeeded") or ()),
            "failed": list(noted.get("failed") or ()),
        }
        self.active = [pod for pod in self.pods if podlib.is_active(pod)]
        uncounted = self.uncounted
        done = set(uncounted["succeeded"]) | set(uncounted["failed"])
        fresh = [
            pod
            for pod in self.pods
            if self.is_tracked(pod) and meta.uid(pod) not in done and job_pods.has_place(self.job, pod)
        ]
        self.new_succeeded = [pod for pod in fresh if podlib.phase(pod) == "Succeeded"]
        self.new_failed = [pod for pod in fresh if job_pods.is_failed(self.job, pod)]
        counted = sum(job_policy.judge(self.job, pod).counts for pod in self.new_failed)
        self.succeeded = self._count("succeeded") + len(self.new_succeeded) + len(uncounted["succeeded"])
        self.failed = self._count("failed") + counted + len(uncounted["failed"])
        if self.indexed:
            self._count_indexes()

    def _count_indexes(self) -> None:
        before = intervals.parse(self.status.get("completedIndexes") or "", self.completions or 0)
        self.completed = intervals.with_indexes(before, _indexes(self.new_succeeded))
        self.succeeded = intervals.total(self.completed)
        if not self.per_index:
            return
        tracked = [pod for pod in self.pods if self.is_tracked(pod) and job_pods.has_place(self.job, pod)]
        before = intervals.parse(self.status.get("failedIndexes") or "", self.completions or 0)
        failed = [pod for pod in tracked if job_policy.index_failed(self.job, pod)]
        # One that succeeded meanwhile stays succeeded.
        self.failed_indexes = intervals.with_indexes(
            before, [index for index in _indexes(failed) if not intervals.has(self.completed, index)]
        )
        for pod in tracked:
            index = job_pods.completion_index(pod)
            if index is None or intervals.has(self.completed, index) or intervals.has(self.failed_indexes, index):
                continue
            last = self.last_failed.get(index)
            if last is None or _newer(pod, last):
                self.last_failed[index] = pod

    def _count(self, name: str) -> int:
        return int(self.status.get(name) or 0)

    @property
    def indexed(self) -> bool:
        return job_pods.is_indexed(self.job)

    @property
    def per_index(self) -> bool:
        return self.indexed and meta.spec(self.job).get("backoffLimitPerIndex") is not None

    @property
    def completions(self) -> int | None:
        value = meta.spec(self.job).get("completions")
        return None if value is None else int(value)

    @property
    def uncounted(self) -> JsonObject:
        noted: JsonObject = self.status["uncountedTerminatedPods"]
        return noted

    def is_tracked(self, pod: JsonObject) -> bool:
        return job_pods.is_tracked(pod) and meta.uid(pod) not in self.released

    # Is it at an end?

    def end(self, now: float) -> End | None:
        """Why the Job ends now; None: it goes on."""
        return self._end_so_far() or self._limits(now) or self._index_end()

    def _end_so_far(self) -> End | None:
        met = conditions.get({"status": self.status}, "SuccessCriteriaMet")
        if met is not None and met.get("status") == "True":
            return End("SuccessCriteriaMet", met.get("reason", ""), met.get("message", ""))
        target = conditions.get({"status": self.status}, "FailureTarget")
        if target is not None and target.get("status") == "True":
            return End("Failed", target.get("reason", ""), target.get("message", ""))
        for pod in self.pods if meta.spec(self.job).get("podFailurePolicy") is not None else ():
            if job_pods.is_failed(self.job, pod):
                message = job_policy.judge(self.job, pod).fails_job
                if message:
                    return End("FailureTarget", "PodFailurePolicy", message)
        return None

    def _limits(self, now: float) -> End | None:
        limit = int(meta.spec(self.job).get("backoffLimit", 6))
        restarted = -1
        if ((meta.spec(self.job).get("template") or {}).get("spec") or {}).get("restartPolicy") == "OnFailure":
            restarted = job_pods.restarts(self.pods)
        if self.failed > limit or restarted >= max(1, limit):
            return End("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        left_s = self.deadline_in(now)
        if left_s is not None and left_s <= 0:
            return End("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")
        return None

    def deadline_in(self, now: float) -> float | None:
        """Seconds until it was active for too long; None: never."""
        allowed_s = meta.spec(self.job).get("activeDeadlineSeconds")
        if allowed_s is None or not self.status.get("startTime") or job_pods.is_suspended(self.job):
            return None
        return parse_rfc3339(self.status["startTime"]) + float(allowed_s) - now

    def _index_end(self) -> End | None:
        if not self.indexed:
            return None
        failed, most = intervals.total(self.failed_indexes), meta.spec(self.job).get("maxFailedIndexes")
        if self.per_index and most is not None and failed > int(most):
            message = "Job has exceeded the specified maximal number of failed indexes"
            return End("FailureTarget", "MaxFailedIndexesExceeded", message)
        if failed and failed + self.succeeded >= (self.completions or 0):
            return End("FailureTarget", "FailedIndexes", "Job has failed indexes")
        message = job_policy.success(self.job, self.completed)
        return End("SuccessCriteriaMet", "SuccessPolicy", message) if message else None

    def is_complete(self, active: int) -> bool:
        """Every completion is there; or, of a work queue, one pod succeeded and the others have ended."""
        if active:
            return False
        return self.succeeded > 0 if self.completions is None else self.succeeded >= self.completions

    def wanted(self) -> int:
        """How many pods should be active."""
        parallelism = int(meta.spec(self.job).get("parallelism", 1))
        if self.completions is None:
            return len(self.active) if self.succeeded else parallelism
        return max(0, min(parallelism, self.completions - self.succeeded))

    def pending_indexes(self, count: int) -> list[int]:
        """The lowest indexes that nobody has done or is doing."""
        busy = list(self.active)
        if job_pods.waits_for_failure(self.job):
            busy += [pod for pod in self.pods if podlib.is_terminating(pod)]
        taken = intervals.with_indexes(
            intervals.union(self.completed, self.failed_indexes),
            _indexes([pod for pod in busy if job_pods.has_place(self.job, pod)]),
        )
        return intervals.first_missing(taken, count, self.completions or 0)

    # What is counted

    def note_finished(self, end: End | None) -> tuple[list[JsonObject], bool]:
        """Put finished pods on the list; gives those whose finalizer may go once the status is written, and whether
        there were more than fit."""
        pods = sorted(self.pods, key=lambda pod: job_pods.completion_index(pod) or 0) if self.indexed else self.pods
        noted, doomed, fresh = self.uncounted, [], []
        known = {"succeeded": set(noted["succeeded"]), "failed": set(noted["failed"])}
        before = intervals.parse(self.status.get("completedIndexes") or "", self.completions or 0)
        full = False
        for pod in pods:
            uid, failed = meta.uid(pod), job_pods.is_failed(self.job, pod)
            if not self.is_tracked(pod) or not self._may_go(pod, failed, end):
                continue
            doomed.append(pod)
            if podlib.phase(pod) == "Succeeded" and uid not in known["failed"]:
                index = job_pods.completion_index(pod)
                if not self.indexed:
                    if uid not in known["succeeded"]:
                        noted["succeeded"].append(uid)
                elif index is not None and job_pods.has_place(self.job, pod) and not intervals.has(before, index):
                    fresh.append(index)
            elif (failed or (end is not None and not end.success)) and self._counts(pod, known["failed"]):
                noted["failed"].append(uid)
            if len(fresh) + len(noted["succeeded"]) + len(noted["failed"]) >= MAX_UNCOUNTED:
                full = True
                break
        if self.indexed:
            done = intervals.with_indexes(before, fresh)
            self.status["succeeded"] = intervals.total(done)
            self.status["completedIndexes"] = intervals.text(done)
            if self.per_index:
                self.status["failedIndexes"] = intervals.text(self.failed_indexes)
        return doomed, full

    def _counts(self, pod: JsonObject, known: Container[str]) -> bool:
        return (
            meta.uid(pod) not in known
            and job_pods.has_place(self.job, pod)
            and job_policy.judge(self.job, pod).counts
        )

    def _may_go(self, pod: JsonObject, failed: bool, end: End | None) -> bool:
        if meta.is_deleting(self.job) or end is not None or podlib.phase(pod) == "Succeeded":
            return True
        if not failed:
            return False
        index = job_pods.completion_index(pod)
        # The last failed pod of an index carries its count until the next one takes it over.
        return index is None or self.last_failed.get(index) is not pod

    def count_released(self, tracked: Container[str]) -> None:
        """Those on the list that are not `tracked` by a finalizer any more are counted."""
        for name in ("succeeded", "failed"):
            left = [uid for uid in self.uncounted[name] if uid in tracked]
            gone = len(self.uncounted[name]) - len(left)
            if gone:
                self.status[name] = self._count(name) + gone
                self.uncounted[name] = left

    # Conditions

    def set_condition(self, type_: str, value: bool, reason: str, message: str, now: float) -> bool:
        """Whether that changed anything. What never was true is not said to be false."""
        old = conditions.get({"status": self.status}, type_)
        new = conditions.make(type_, value, rfc3339(now), reason, message)
        if conditions.same(old, new) or (old is None and not value):
            return False
        new["lastProbeTime"] = new["lastTransitionTime"]
        self.status["conditions"] = [*conditions.without(self.status["conditions"], type_), new]
        return True

    def announce(self, end: End, now: float) -> None:
        """Say what is decided, before pods are let go."""
        if end.type != "Failed":
            self.set_condition(end.type, True, end.reason, end.message, now)

    def finish(self, end: End, now: float) -> bool:
        """The last condition, once no pod is left that ends or is uncounted."""
        if self.uncounted["succeeded"] or self.uncounted["failed"] or self._count("terminating"):
            return False
        self.set_condition(end.final, True, end.reason, end.message, now)
        if end.success:
            self.status["completionTime"] = rfc3339(now)
        return True


def _indexes(pods: Sequence[JsonObject]) -> list[int]:
    return [index for pod in pods if (index := job_pods.completion_index(pod)) is not None]


def _newer(pod: JsonObject, last: JsonObject) -> bool:
    before, after = job_pods.all_failures(last), job_pods.all_failures(pod)
    return after > before or (after == before and job_pods.finished_at(pod) >= job_pods.finished_at(last))


def written(status: JsonObject) -> JsonObject:
    """As Go writes it: counts of nothing are left out, but for `ready` and `terminating`; so are empty lists."""
    result = {name: value for name, value in status.items() if value not in (0, "", [])}
    for name in ("ready", "terminating"):
        result[name] = int(status.get(name) or 0)
    if "failedIndexes" in status:
        result["failedIndexes"] = status["failedIndexes"]
    noted = status.get("uncountedTerminatedPods") or {}
    result["uncountedTerminatedPods"] = {name: uids for name, uids in noted.items() if uids}
    return result
