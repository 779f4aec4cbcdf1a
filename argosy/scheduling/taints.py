"""Taints keep pods off a node, tolerations let them on all the same (k8s.io/api core/v1 `ToleratesTaint`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy.objects.types import JsonObject

NO_SCHEDULE = "NoSchedule"
PREFER_NO_SCHEDULE = "PreferNoSchedule"
NO_EXECUTE = "NoExecute"
HARD = (NO_SCHEDULE, NO_EXECUTE)
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def tolerates(toleration: JsonObject, taint: JsonObject) -> bool:
    effect, key = toleration.get("effect"), toleration.get("key")
    if effect and effect != taint.get("effect"):
        return False
    if key and key != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return operator == "Equal" and bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def tolerated(taint: JsonObject, tolerations: Iterable[JsonObject]) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def first_untolerated(
    taints: Iterable[JsonObject], tolerations: Sequence[JsonObject], effects: Sequence[str] = HARD
) -> JsonObject | None:
    """The first taint with one of `effects` that keeps the pod away."""
    for taint in taints:
        if taint.get("effect") in effects and not tolerated(taint, tolerations):
            return taint
    return None


def count_untolerated_preferences(taints: Iterable[JsonObject], tolerations: Sequence[JsonObject]) -> int:
    """How many PreferNoSchedule taints the pod does not tolerate."""
    return sum(taint.get("effect") == PREFER_NO_SCHEDULE and not tolerated(taint, tolerations) for taint in taints)


def node_tolerates_unschedulable(tolerations: Sequence[JsonObject]) -> bool:
    """Whether a pod may go to a cordoned node."""
    return tolerated({"key": UNSCHEDULABLE, "effect": NO_SCHEDULE}, tolerations)
