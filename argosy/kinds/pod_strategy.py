"""What the registry does to a pod on create and update (pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from argosy.kinds.kind import keep_status
from argosy.objects.pod_qos import qos_class
from argosy.objects.types import JsonObject


def prepare_create(pod: JsonObject) -> None:
    """A new pod is Pending; its QoS class follows from its resources and never changes."""
    status: JsonObject = {"phase": "Pending", "qosClass": qos_class(pod)}
    spec = pod.get("spec") or {}
    if spec.get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]
    pod["status"] = status


def prepare_update(new: JsonObject, old: JsonObject) -> None:
    keep_status(new, old)


def prepare_status_update(new: JsonObject, old: JsonObject) -> None:
    """What an old or careless writer of status leaves out stays: the QoS class, and which generation was seen."""
    status, before = new.setdefault("status", {}), old.get("status") or {}
    for field in ("qosClass", "observedGeneration"):
        if not status.get(field) and before.get(field):
            status[field] = before[field]
    seen: dict[object, list[object]] = {}
    for condition in before.get("conditions") or ():
        seen.setdefault(condition.get("type"), []).append(condition.get("observedGeneration"))
    for condition in status.get("conditions") or ():
        generations = seen.get(condition.get("type"))
        generation = generations.pop(0) if generations else None
        if generation and not condition.get("observedGeneration"):
            condition["observedGeneration"] = generation
