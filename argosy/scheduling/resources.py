"""How much a pod asks for, and how much a node has to give.

Amounts are integers: thousandths for cpu, whole units for the rest (bytes, counts). Rules:
k8s.io/component-helpers `resource`, with sidecars (KEP-753), pod-level resources (KEP-2837) and resizes (KEP-1287):
while a running pod is resized, it counts for the most of what it asks for, was granted and has.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.objects import quantity
from argosy.objects.pod_peak import pod_peak, raise_to
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


RESIZE_PENDING = "PodResizePending"
RESIZE_IN_PROGRESS = "PodResizeInProgress"
INFEASIBLE = "Infeasible"
DEFERRED = "Deferred"

Granted = dict[str, tuple[Mapping[str, object], ...]]
"""Requests in force and requests allocated, by container name."""


def is_infeasible(pod: JsonObject) -> bool:
    """Its node will never grant what the pod asks for: it goes on with what it has."""
    listed = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == RESIZE_PENDING and item.get("reason") == INFEASIBLE for item in listed)


def granted(pod: JsonObject) -> Granted:
    """What the node says of containers that it has not given just what they ask for; mostly none."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    found: Granted = {}
    for group, field in (("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")):
        listed = status.get(field)
        if not listed:
            continue
        asked = {item.get("name"): (item.get("resources") or {}).get("requests") for item in spec.get(group) or ()}
        for item in listed:
            if item.get("resources") is None:
                continue
            actual, allocated = item["resources"].get("requests"), item.get("allocatedResources")
            if any(held != asked.get(item["name"]) for held in (actual, allocated) if held is not None):
                found[item["name"]] = (actual or {}, allocated or {})
    return found


def _requests(container: JsonObject, defaults: Mapping[str, int], held: Granted, infeasible: bool) -> Amounts:
    found = amounts((container.get("resources") or {}).get("requests"))
    name = container.get("name", "")
    if name in held:
        if infeasible:
            found = {}
        for listed in held[name]:
            raise_to(found, amounts(listed))
    return {**defaults, **found} if defaults else found


def _pod_requests(pod: JsonObject, defaults: Mapping[str, int], held: Granted) -> Amounts:
    infeasible = bool(held) and is_infeasible(pod)
    return pod_peak(pod, "requests", amounts, lambda container: _requests(container, defaults, held, infeasible))


def pod_requests(pod: JsonObject) -> Amounts:
    """What the pod needs at its peak: its containers together, or an init container with its sidecars."""
    return _pod_requests(pod, {}, granted(pod))


def spec_requests(pod: JsonObject) -> Amounts:
    """The same by the pod's specification alone, whatever its node granted."""
    return _pod_requests(pod, {}, {})


def pod_requests_for_scores(pod: JsonObject) -> tuple[int, int]:
    """(cpu thousandths, memory bytes), with a default for each container that names none."""
    total = _pod_requests(pod, {CPU: DEFAULT_CPU_MILLI, MEMORY: DEFAULT_MEMORY_BYTES}, granted(pod))
    return total.get(CPU, 0), total.get(MEMORY, 0)


def allocatable(node: JsonObject) -> Amounts:
    """What a node has for pods; its capacity where it does not say."""
    status = node.get("status") or {}
    listed = status.get("allocatable")
    return amounts(status.get("capacity") if listed is None else listed)
