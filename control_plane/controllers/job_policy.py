"""A Job's policies: what a pod's failure means, when enough has succeeded, and how long to wait after failures.

Pure. Upstream: `pkg/controller/job/{pod_failure_policy,success_policy,backoff_utils}.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from argosy.objects import intervals, meta
from argosy.objects.intervals import Intervals
from argosy.objects.types import JsonObject
from control_plane.controllers import job_pods


@dataclass(frozen=True)
class Verdict:
    """What the failure policy says about a failed pod."""

    counts: bool = True
    """Towards the back-off limit."""
    action: str = ""
    fails_job: str = ""
    """Why the whole Job fails by it; empty: it does not."""


def judge(job: JsonObject, pod: JsonObject) -> Verdict:
    """The first rule that matches the pod."""
    policy = meta.spec(job).get("podFailurePolicy") or {}
    per_index = meta.spec(job).get("backoffLimitPerIndex") is not None
    for number, rule in enumerate(policy.get("rules") or ()):
        action = str(rule.get("action", ""))
        if action == "FailIndex" and not per_index:
            continue
        what = _match(rule, pod)
        if not what:
            continue
        if action == "FailJob":
            return Verdict(True, action, f"{what} matching {action} rule at index {number}")
        return Verdict(action != "Ignore", action)
    return Verdict()


def _match(rule: JsonObject, pod: JsonObject) -> str:
    """What of the pod the rule matches, in words; empty: nothing."""
    name, status = f"{meta.namespace(pod)}/{meta.name(pod)}", meta.status(pod)
    codes = rule.get("onExitCodes")
    if codes is not None:
        for group in ("containerStatuses", "initContainerStatuses"):
            for item in status.get(group) or ():
                ended = (item.get("state") or {}).get("terminated")
                if ended is not None and _matches_code(codes, item.get("name"), int(ended.get("exitCode", 0))):
                    return f"Container {item['name']} for pod {name} failed with exit code {ended['exitCode']}"
        return ""
    for condition in status.get("conditions") or ():
        for pattern in rule.get("onPodConditions") or ():
            if condition.get("type") == pattern.get("type") and condition.get("status") == pattern.get("status"):
                return f"Pod {name} has condition {condition['type']}"
    return ""


def _matches_code(codes: JsonObject, container: object, code: int) -> bool:
    if code == 0 or codes.get("containerName") not in (None, container):
        return False
    return (code in (codes.get("values") or ())) == (codes.get("operator") == "In")


def index_failed(job: JsonObject, pod: JsonObject) -> bool:
    """The pod's failure is the end of its index."""
    if not job_pods.is_failed(job, pod):
        return False
    verdict = judge(job, pod)
    if verdict.action == "FailIndex":
        return True
    return verdict.counts and job_pods.counted_failures(pod) >= int(meta.spec(job)["backoffLimitPerIndex"])


def success(job: JsonObject, succeeded: Intervals) -> str:
    """Which rule of the success policy is met, in words; empty: none."""
    completions = int(meta.spec(job).get("completions") or 0)
    rules = (meta.spec(job).get("successPolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules if succeeded else ()):
        text, count = rule.get("succeededIndexes"), rule.get("succeededCount")
        if text is not None:
            wanted = intervals.parse(text, completions)
            done = intervals.common(wanted, succeeded)
            met = bool(wanted) and done >= (intervals.total(wanted) if count is None else count)
        else:
            met = count is not None and intervals.total(succeeded) >= count
        if met:
            return f"Matched rules at index {number}"
    return ""


@dataclass(frozen=True)
class Backoff:
    """A Job's failures since its last success; kept in memory, as upstream does: a new leader starts afresh."""

    failures: int = 0
    last_s: float = 0.0

    def after(self, succeeded: Sequence[JsonObject], failed: Sequence[JsonObject]) -> Backoff:
        """With pods counted that ended since."""
        ends = sorted(job_pods.finished_at(pod) for pod in failed)
        if not succeeded:
            return Backoff(self.failures + len(ends), ends[-1]) if ends else self
        last_success = max(job_pods.finished_at(pod) for pod in succeeded)
        later = [end for end in ends if end > last_success]
        return Backoff(len(later), later[-1]) if later else Backoff()

    def left_s(self, now: float, base_s: float, most_s: float) -> float:
        """Seconds until the next pod may be made: `base_s`, doubling with each failure."""
        if not self.failures:
            return 0.0
        pause_s = min(most_s, base_s * float(1 << min(self.failures - 1, 30)))
        return max(0.0, self.last_s + pause_s - now)


def index_backoff(last_failed: JsonObject | None) -> Backoff:
    """That of one index, as its last failed pod tells."""
    if last_failed is None:
        return Backoff()
    return Backoff(job_pods.all_failures(last_failed) + 1, job_pods.finished_at(last_failed))


def failure_annotations(job: JsonObject, last_failed: JsonObject | None) -> dict[str, str]:
    """What the next pod of an index carries of its predecessors."""
    if last_failed is None:
        return {job_pods.FAILURES: "0"}
    counts = judge(job, last_failed).counts
    counted = job_pods.counted_failures(last_failed) + counts
    ignored = job_pods.all_failures(last_failed) - job_pods.counted_failures(last_failed) + (not counts)
    result = {job_pods.FAILURES: str(counted)}
    if ignored:
        result[job_pods.IGNORED_FAILURES] = str(ignored)
    return result
