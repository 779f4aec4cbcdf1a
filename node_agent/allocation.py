"""What a pod was granted on this node, while it asks for something else: the rules of resizing; pure (KEP-1287).

Upstream: pkg/kubelet/allocation and pkg/kubelet/kuberuntime (`computePodResizeAction`). Allocated is what the node
admitted the pod with, or a resize since; actual is what its containers' groups were last set to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from argosy.objects import meta, quantity
from argosy.objects.types import JsonObject
from argosy.scheduling.resources import DEFERRED, INFEASIBLE
from node_agent.resources import PodLimits, amount, is_sidecar, pod_amount, shortage

Allocation = Mapping[str, JsonObject]
"""Resources by container name."""

COMPUTE = ("cpu", "memory")
SIDES = ("requests", "limits")
RESTART = "RestartContainer"


def resizable(pod: JsonObject) -> list[JsonObject]:
    """Containers and sidecars; other init containers keep what they began with."""
    spec = meta.spec(pod)
    sidecars = [item for item in spec.get("initContainers") or [] if is_sidecar(item)]
    return [*sidecars, *(spec.get("containers") or [])]


def allocation_of(pod: JsonObject) -> dict[str, JsonObject]:
    return {container["name"]: container.get("resources") or {} for container in resizable(pod)}


def with_allocation(pod: JsonObject, allocation: Allocation) -> JsonObject:
    """`pod` asking for what it was granted; itself when that is what it asks for."""
    if all(allocation.get(name, resources) == resources for name, resources in allocation_of(pod).items()):
        return pod
    spec = dict(meta.spec(pod))
    for group in ("containers", "initContainers"):
        if group in spec:
            spec[group] = [
                {**item, "resources": allocation[item["name"]]}
                if item["name"] in allocation and (group == "containers" or is_sidecar(item))
                else item
                for item in spec[group] or []
            ]
    return {**pod, "spec": spec}


def from_status(pod: JsonObject) -> dict[str, JsonObject]:
    """What the API was last told of the allocation, for want of a better memory."""
    status = meta.status(pod)
    listed = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    known = {item["name"]: item for item in listed if item.get("resources") is not None}
    found: dict[str, JsonObject] = {}
    for name, resources in allocation_of(pod).items():
        told = known.get(name)
        if told is None:
            found[name] = resources
            continue
        requests = {**(told["resources"].get("requests") or {}), **(told.get("allocatedResources") or {})}
        merged: JsonObject = {**resources}
        for side, values in (("requests", requests), ("limits", told["resources"].get("limits") or {})):
            if values:
                merged[side] = values
        found[name] = merged
    return found


def same(left: JsonObject, right: JsonObject, resources: Iterable[str] = COMPUTE) -> bool:
    """Whether two containers' resources are the same amounts, however they are written."""

    if left == right:
        return True

    def nano(held: JsonObject, side: str, name: str) -> int | None:
        text = (held.get(side) or {}).get(name)
        return None if text is None else quantity.parse(text).nano

    return all(nano(left, side, name) == nano(right, side, name) for side in SIDES for name in resources)


def restarts(container: JsonObject, actual: JsonObject) -> bool:
    """Whether a container must start anew to get what it was granted."""
    resources = container.get("resources") or {}
    return any(
        policy.get("restartPolicy") == RESTART and not same(resources, actual, (policy.get("resourceName", ""),))
        for policy in container.get("resizePolicy") or []
    )


def grows(new: JsonObject, old: JsonObject) -> bool:
    """Whether a pod asks for more CPU or memory than before."""
    return any(pod_amount(new, resource) > pod_amount(old, resource) for resource in COMPUTE)


def refusal(
    pod: JsonObject, granted: JsonObject, others: Iterable[JsonObject], allocatable: Mapping[str, str]
) -> tuple[str, str] | None:
    """(reason, message) why the node cannot grant what `pod` asks for now; `granted` is the pod as it was granted."""
    for resource, unit in (("memory", 10**9), ("cpu", 10**6)):
        wanted, there = pod_amount(pod, resource), quantity.parse(allocatable.get(resource, "0")).nano
        if wanted > there:
            message = f"{resource}, requested: {-(-wanted // unit)}, capacity: {there // unit}"
            return INFEASIBLE, f"Node didn't have enough capacity: {message}"
    lack = shortage(pod, others, allocatable) if grows(pod, granted) else None
    if lack is None:
        return None
    message = (
        f"{lack['resource']}, requested: {lack['requested']}, used: {lack['used']}, capacity: {lack['capacity']}"
    )
    return DEFERRED, f"Node didn't have enough resource: {message}"


def ceiling(before: PodLimits, after: PodLimits) -> PodLimits:
    """Limits that hold neither the old containers nor the new ones back; 0 is no limit."""

    def wider(left: int, right: int) -> int:
        return max(left, right) if left and right else 0

    return PodLimits(
        after.cpu_shares,
        wider(before.cpu_quota_us, after.cpu_quota_us),
        wider(before.memory_limit_bytes, after.memory_limit_bytes),
    )


def shrinks_memory(resources: JsonObject, actual: JsonObject) -> int:
    """The new memory limit in bytes when it is lower than the present one; else 0."""
    new, old = amount({"resources": resources}, "limits", "memory"), amount({"resources": actual}, "limits", "memory")
    return new.value if new is not None and (old is None or new.nano < old.nano) else 0


def summary(pod: JsonObject, generation: int, error: str = "") -> str:
    """What events say of a resize, as upstream's pkg/kubelet/events writes it."""

    def listed(group: str) -> list[JsonObject]:
        return [
            {
                "name": item["name"],
                "resources": {
                    side: item["resources"][side]
                    for side in ("limits", "requests")
                    if (item.get("resources") or {}).get(side)
                },
            }
            for item in meta.spec(pod).get(group) or []
        ]

    content: JsonObject = {group: listed(group) for group in ("initContainers", "containers") if listed(group)}
    content["generation"] = generation
    if error:
        content["error"] = error
    return json.dumps(content, separators=(",", ":"))
