"""A Deployment's status: counts and the conditions Available, Progressing and ReplicaFailure; pure.

Upstream: `pkg/controller/deployment/progress.go`, `sync.go`, `util/deployment_util.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import deployment_math as math

NO_DEADLINE: Final = 2**31 - 1
AVAILABLE: Final = "NewReplicaSetAvailable"
TIMED_OUT: Final = "ProgressDeadlineExceeded"
PAUSED: Final = "DeploymentPaused"


def deadline_s(deployment: JsonObject) -> int | None:
    value = meta.spec(deployment).get("progressDeadlineSeconds")
    return None if value is None or int(value) == NO_DEADLINE else int(value)


def condition(type_: str, status: bool | str, reason: str, message: str, now: float) -> JsonObject:
    made = conditions.make(type_, status, rfc3339(now), reason, message)
    return {**made, "lastUpdateTime": rfc3339(now)}


def _find(found: Sequence[JsonObject], type_: str) -> JsonObject | None:
    return next((item for item in found if item.get("type") == type_), None)


def with_condition(found: Sequence[JsonObject], new: JsonObject) -> list[JsonObject]:
    """`new` set, unless its status and reason were there before; what is set moves to the end."""
    current = _find(found, new["type"])
    if current is not None:
        if current.get("status") == new["status"] and current.get("reason") == new.get("reason"):
            return list(found)
        if current.get("status") == new["status"]:
            new = {**new, "lastTransitionTime": current.get("lastTransitionTime", new["lastTransitionTime"])}
    return [*conditions.without(found, new["type"]), new]


def counts(deployment: JsonObject, sets: Sequence[JsonObject], new: JsonObject | None, now: float) -> JsonObject:
    """The status apart from Progressing and ReplicaFailure, which are kept as they are."""
    available = math.total(sets, "availableReplicas")
    old = meta.status(deployment)
    status: JsonObject = {
        "observedGeneration": meta.generation(deployment),
        "replicas": math.total(sets, "replicas"),
        "updatedReplicas": 0 if new is None else math.total([new], "replicas"),
        "readyReplicas": math.total(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, math.total_wanted(sets) - available),
    }
    status = {key: value for key, value in status.items() if value}
    if all("terminatingReplicas" in meta.status(each) for each in sets):
        status["terminatingReplicas"] = math.total(sets, "terminatingReplicas")
    if old.get("collisionCount"):
        status["collisionCount"] = old["collisionCount"]
    if available >= math.wanted(deployment) - math.limits(deployment)[1]:
        made = condition("Available", True, "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    else:
        message = "Deployment does not have minimum availability."
        made = condition("Available", False, "MinimumReplicasUnavailable", message, now)
    status["conditions"] = with_condition(old.get("conditions") or [], made)
    return status


def _count(status: JsonObject, field: str) -> int:
    return int(status.get(field, 0))


def is_complete(deployment: JsonObject, status: JsonObject) -> bool:
    """All wanted pods are of the new template and available, and no others are left."""
    target = math.wanted(deployment)
    return all(
        _count(status, field) == target for field in ("updatedReplicas", "replicas", "availableReplicas")
    ) and _count(status, "observedGeneration") >= meta.generation(deployment)


def is_progressing(deployment: JsonObject, status: JsonObject) -> bool:
    """Something came nearer since the status that the deployment shows."""
    before = meta.status(deployment)
    old_pods = _count(status, "replicas") - _count(status, "updatedReplicas")
    old_pods_before = _count(before, "replicas") - _count(before, "updatedReplicas")
    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return old_pods < old_pods_before or any(_count(status, field) > _count(before, field) for field in grown)


def _subject(deployment: JsonObject, new: JsonObject | None) -> str:
    return f'ReplicaSet "{meta.name(new)}"' if new is not None else f'Deployment "{meta.name(deployment)}"'


def rollout(deployment: JsonObject, sets: Sequence[JsonObject], new: JsonObject | None, now: float) -> JsonObject:
    """The whole status in the course of a rollout."""
    status = counts(deployment, sets, new, now)
    found: list[JsonObject] = status["conditions"]
    if deadline_s(deployment) is None:
        found = conditions.without(found, "Progressing")
    current = _find(meta.status(deployment).get("conditions") or [], "Progressing")
    settled = (
        _count(status, "replicas") == _count(status, "updatedReplicas")
        and current is not None
        and current.get("reason") == AVAILABLE
    )
    if deadline_s(deployment) is not None and not settled:
        subject = _subject(deployment, new)
        if is_complete(deployment, status):
            made = condition("Progressing", True, AVAILABLE, f"{subject} has successfully progressed.", now)
            found = with_condition(found, made)
        elif is_progressing(deployment, status):
            made = condition("Progressing", True, "ReplicaSetUpdated", f"{subject} is progressing.", now)
            if current is not None and current.get("status") == "True":
                made["lastTransitionTime"] = current.get("lastTransitionTime", made["lastTransitionTime"])
            found = [*conditions.without(found, "Progressing"), made]
        elif is_timed_out(deployment, status, now):
            made = condition("Progressing", False, TIMED_OUT, f"{subject} has timed out progressing.", now)
            found = with_condition(found, made)
    failure = _replica_failure(sets, new, now)
    found = with_condition(found, failure) if failure else conditions.without(found, "ReplicaFailure")
    return {**status, "conditions": found}


def _replica_failure(sets: Sequence[JsonObject], new: JsonObject | None, now: float) -> JsonObject | None:
    ordered = [*([new] if new is not None else []), *sets]
    for each in ordered:
        failed = conditions.get(each, "ReplicaFailure")
        if failed is not None:
            made = condition(
                "ReplicaFailure", failed["status"], failed.get("reason", ""), failed.get("message", ""), now
            )
            return {**made, "lastTransitionTime": failed.get("lastTransitionTime", made["lastTransitionTime"])}
    return None


def _deadline_at(deployment: JsonObject, status: JsonObject) -> float | None:
    """When the rollout counts as stuck; None when it is done, or cannot be."""
    limit = deadline_s(deployment)
    current = _find(status.get("conditions") or [], "Progressing")
    if limit is None or current is None or current.get("reason") in (AVAILABLE, PAUSED, TIMED_OUT):
        return None
    return parse_rfc3339(current.get("lastUpdateTime") or current["lastTransitionTime"]) + limit


def is_timed_out(deployment: JsonObject, status: JsonObject, now: float) -> bool:
    current = _find(status.get("conditions") or [], "Progressing")
    if current is not None and current.get("reason") == TIMED_OUT:
        return True
    at = _deadline_at(deployment, status)
    return at is not None and at < now


def check_again_s(deployment: JsonObject, status: JsonObject, now: float) -> float | None:
    """Seconds until somebody must look whether the rollout is stuck."""
    if is_complete(deployment, status):
        return None
    at = _deadline_at(deployment, status)
    return None if at is None else max(0.0, at - now) + 1.0


def paused_condition(deployment: JsonObject, now: float) -> JsonObject | None:
    """The Progressing condition that a pause or its end needs now, if any."""
    if deadline_s(deployment) is None:
        return None
    current = conditions.get(deployment, "Progressing")
    reason = current.get("reason") if current else None
    if reason == TIMED_OUT:
        return None
    paused = bool(meta.spec(deployment).get("paused"))
    if paused and reason != PAUSED:
        return condition("Progressing", "Unknown", PAUSED, "Deployment is paused", now)
    if not paused and reason == PAUSED:
        return condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    return None


def is_rolled_out(deployment: JsonObject) -> bool:
    return is_complete(deployment, meta.status(deployment))
