"""How much a pod asks for, and how much a node has to give.

Amounts are integers: thousandths for cpu, whole units for the rest (bytes, counts). Rules:
k8s.io/component-helpers `resource`, with sidecars (KEP-753) and pod-level resources (KEP-2837).
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.objects import quantity
from argosy.objects.types import JsonObject

CPU = "cpu"
MEMORY = "memory"
PODS = "pods"
DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY_BYTES = 200 << 20
"""What a container without requests counts for when nodes are compared, so that such pods spread too."""

Amounts = dict[str, int]


def amount(name: str, text: object) -> int:
    """In thousandths for cpu, else in whole units, rounded up; 0 for what is no quantity."""
    try:
        parsed = quantity.parse(text)
    except quantity.QuantityError:
        return 0
    return parsed.milli if name == CPU else parsed.value


def amounts(listed: Mapping[str, object] | None) -> Amounts:
    return {name: amount(name, text) for name, text in (listed or {}).items()}


def _requests(container: JsonObject, defaults: Mapping[str, int]) -> Amounts:
    found = amounts((container.get("resources") or {}).get("requests"))
    return {**defaults, **found} if defaults else found


def _add(total: Amounts, other: Mapping[str, int]) -> None:
    for name, value in other.items():
        total[name] = total.get(name, 0) + value


def _raise_to(total: Amounts, other: Mapping[str, int]) -> None:
    for name, value in other.items():
        if value > total.get(name, 0):
            total[name] = value


def _pod_requests(pod: JsonObject, defaults: Mapping[str, int]) -> Amounts:
    spec = pod.get("spec") or {}
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _requests(container, defaults))
    # Init containers run one after the other, each beside the sidecars that were started before it.
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _requests(container, defaults)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        _raise_to(peak, own)
    _raise_to(total, peak)
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    _add(total, amounts(spec.get("overhead")))
    return total


def pod_requests(pod: JsonObject) -> Amounts:
    """What the pod needs at its peak: its containers together, or an init container with its sidecars."""
    return _pod_requests(pod, {})


def pod_requests_for_scores(pod: JsonObject) -> tuple[int, int]:
    """(cpu thousandths, memory bytes), with a default for each container that names none."""
    total = _pod_requests(pod, {CPU: DEFAULT_CPU_MILLI, MEMORY: DEFAULT_MEMORY_BYTES})
    return total.get(CPU, 0), total.get(MEMORY, 0)


def allocatable(node: JsonObject) -> Amounts:
    """What a node has for pods; its capacity where it does not say."""
    status = node.get("status") or {}
    listed = status.get("allocatable")
    return amounts(status.get("capacity") if listed is None else listed)
