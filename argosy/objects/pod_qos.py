"""The quality-of-service class of a pod (pkg/apis/core/helper/qos). Used on create and by the node agent."""

from __future__ import annotations

from argosy.objects import quantity
from argosy.objects.types import JsonObject

COMPUTE = ("cpu", "memory")
GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"


def _amounts(container: JsonObject, side: str) -> dict[str, int]:
    """Positive cpu and memory amounts, in nano units."""
    listed = (container.get("resources") or {}).get(side) or {}
    result = {}
    for name in COMPUTE:
        if name in listed:
            try:
                nano = quantity.parse(listed[name]).nano
            except quantity.QuantityError:
                continue
            if nano > 0:
                result[name] = nano
    return result


def qos_class(pod: JsonObject) -> str:
    """By what the pod says for itself, or else by all of its containers; ephemeral ones have no part in it."""
    spec = pod.get("spec") or {}
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    for container in [spec] if spec.get("resources") else containers:
        for name, nano in _amounts(container, "requests").items():
            requests[name] = requests.get(name, 0) + nano
        own = _amounts(container, "limits")
        for name, nano in own.items():
            limits[name] = limits.get(name, 0) + nano
        if len(own) < len(COMPUTE):
            guaranteed = False
    if not requests and not limits:
        return BEST_EFFORT
    return GUARANTEED if guaranteed and requests == limits else BURSTABLE
