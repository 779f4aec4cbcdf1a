"""What the registry does to a pod on create and update (pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from argosy.kinds.kind import keep_status
from argosy.kinds.pod_qos import qos_class
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
