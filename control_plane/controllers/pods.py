"""What controllers ask about a pod, pure but for the write of its conditions.

Upstream: `pkg/api/v1/pod`, `pkg/controller/controller_utils.go`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from argosy.client import PatchType, Resource
from argosy.host import parse_rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase(pod: JsonObject) -> str:
    return str(meta.status(pod).get("phase", "Pending"))


def is_terminal(pod: JsonObject) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_terminating(pod: JsonObject) -> bool:
    """Being deleted, and not finished yet."""
    return meta.is_deleting(pod) and not is_terminal(pod)


def is_active(pod: JsonObject) -> bool:
    """Neither finished nor being deleted."""
    return not is_terminal(pod) and not meta.is_deleting(pod)


def is_ready(pod: JsonObject) -> bool:
    return conditions.is_true(pod, "Ready")


def ready_since(pod: JsonObject) -> float | None:
    """Unix seconds; None when not ready or not said."""
    condition = conditions.get(pod, "Ready")
    if condition is None or condition.get("status") != "True" or not condition.get("lastTransitionTime"):
        return None
    return parse_rfc3339(condition["lastTransitionTime"])


def available_in(pod: JsonObject, min_ready_s: int, now: float) -> float | None:
    """Seconds until the pod counts as available: 0 when it does, None when it is not ready."""
    if not is_ready(pod):
        return None
    if not min_ready_s:
        return 0.0
    since = ready_since(pod)
    return None if since is None else max(0.0, since + min_ready_s - now)


def restarts(pod: JsonObject) -> tuple[int, int]:
    """The most often restarted container's count, and the most often restarted sidecar's."""
    sidecars = [
        item.get("name")
        for item in meta.spec(pod).get("initContainers") or ()
        if item.get("restartPolicy") == "Always"
    ]
    status = meta.status(pod)
    own = [int(item.get("restartCount", 0)) for item in status.get("containerStatuses") or ()]
    beside = [
        int(item.get("restartCount", 0))
        for item in status.get("initContainerStatuses") or ()
        if item.get("name") in sidecars
    ]
    return max(own, default=0), max(beside, default=0)


def condition(pod: JsonObject, new: JsonObject) -> JsonObject:
    """`new` as it is to be written: its time moves only when its status does."""
    listed = conditions.with_condition(meta.status(pod).get("conditions") or (), new)
    return next(item for item in listed if item["type"] == new["type"])


async def write_conditions(writer: Resource, pod: JsonObject, changed: list[JsonObject], **status: object) -> None:
    """Exactly these conditions, and other fields of the status: the node may be writing others. Raises ApiError."""
    await writer.patch(
        meta.name(pod),
        {"metadata": {"uid": meta.uid(pod)}, "status": {**status, "conditions": changed}},
        namespace=meta.namespace(pod),
        subresource="status",
        type=PatchType.STRATEGIC,
    )


def deletion_cost(pod: JsonObject) -> int:
    try:
        return int(meta.annotations(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _age_class(since: float | None, now: float) -> int:
    """Ages are compared by order of magnitude, so that scaling down does not always hit the youngest (KEP-2185)."""
    if since is None or now <= since:
        return -1
    return int(math.log2((now - since) * 1e9))


def deletion_order(pods: Sequence[JsonObject], related: Sequence[JsonObject], now: float) -> list[JsonObject]:
    """`pods` sorted so that the first is the one to delete first.

    Unassigned before assigned, pending before running, unready before ready, cheap before dear, crowded nodes first,
    lately ready first, often restarted first, young first. `related` are the pods of the same application, which
    make a node crowded.
    """
    crowd: dict[str, int] = {}
    for pod in related:
        if is_active(pod):
            node = meta.spec(pod).get("nodeName", "")
            crowd[node] = crowd.get(node, 0) + 1

    def rank(pod: JsonObject) -> tuple[object, ...]:
        node = meta.spec(pod).get("nodeName", "")
        created = meta.metadata(pod).get("creationTimestamp")
        return (
            bool(node),
            _PHASES.get(phase(pod), 2),
            is_ready(pod),
            deletion_cost(pod),
            -crowd.get(node, 0),
            _age_class(ready_since(pod), now),
            *(-count for count in restarts(pod)),
            _age_class(parse_rfc3339(created) if created else None, now),
            meta.uid(pod),
        )

    return sorted(pods, key=rank)
