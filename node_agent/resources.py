"""From requests and limits to cgroup values and OOM score; pure (upstream pkg/kubelet/cm, qos)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from argosy.objects import meta, quantity
from argosy.objects.pod_peak import pod_peak
from argosy.objects.pod_qos import BEST_EFFORT, GUARANTEED, qos_class
from argosy.objects.types import JsonObject
from node_agent.runtime.runtime import Resources

PERIOD_US = 100_000
MIN_QUOTA_US = 1_000
MIN_SHARES = 2
MAX_SHARES = 262_144
GUARANTEED_OOM_SCORE = -997
BEST_EFFORT_OOM_SCORE = 1000
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


@dataclass(frozen=True)
class PodLimits:
    """What a pod's own cgroup gets; 0 is no limit."""

    cpu_shares: int
    cpu_quota_us: int
    memory_limit_bytes: int


def amount(container: JsonObject, which: str, resource: str) -> quantity.Quantity | None:
    """`which` is requests or limits; absent requests are the limit, as the API server defaults them."""
    resources = container.get("resources") or {}
    values = resources.get(which) or {}
    if resource not in values and which == "requests":
        values = resources.get("limits") or {}
    return quantity.parse(values[resource]) if resource in values else None


def all_containers(pod: JsonObject) -> list[JsonObject]:
    spec = meta.spec(pod)
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def named_containers(pod: JsonObject) -> list[JsonObject]:
    """Ephemeral ones too, which have no part in the pod's resources."""
    return [*all_containers(pod), *(meta.spec(pod).get("ephemeralContainers") or [])]


def is_sidecar(container: JsonObject) -> bool:
    """An init container with restartPolicy Always."""
    return container.get("restartPolicy") == "Always"


def pod_amount(pod: JsonObject, resource: str, which: str = "requests") -> int:
    """Nano units of one resource at the pod's peak."""

    def read(listed: Mapping[str, object]) -> dict[str, int]:
        return {resource: quantity.parse(listed[resource]).nano} if resource in listed else {}

    def of_container(container: JsonObject) -> dict[str, int]:
        found = amount(container, which, resource)
        return {resource: found.nano} if found else {}

    return pod_peak(pod, which, read, of_container).get(resource, 0)


def resource_names(pods: Iterable[JsonObject]) -> list[str]:
    names: dict[str, None] = {}
    for pod in pods:
        for container in all_containers(pod):
            for values in (container.get("resources") or {}).values():
                if isinstance(values, dict):
                    names.update(dict.fromkeys(values))
    return list(names)


def cpu_shares(milli: int) -> int:
    return min(MAX_SHARES, max(MIN_SHARES, milli * 1024 // 1000))


def cpu_quota_us(milli: int) -> int:
    """0 for no limit."""
    return max(MIN_QUOTA_US, milli * PERIOD_US // 1000) if milli > 0 else 0


def oom_score(pod: JsonObject, container: JsonObject, node_memory_bytes: int) -> int:
    if int(meta.spec(pod).get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY:
        return GUARANTEED_OOM_SCORE
    qos = qos_class(pod)
    if qos == GUARANTEED:
        return GUARANTEED_OOM_SCORE
    if qos == BEST_EFFORT or node_memory_bytes <= 0:
        return BEST_EFFORT_OOM_SCORE
    request = amount(container, "requests", "memory")
    score = 1000 - 1000 * (request.value if request else 0) // node_memory_bytes
    return min(max(score, 1000 + GUARANTEED_OOM_SCORE), BEST_EFFORT_OOM_SCORE - 1)


def container_resources(pod: JsonObject, container: JsonObject, node_memory_bytes: int) -> Resources:
    request, limit = amount(container, "requests", "cpu"), amount(container, "limits", "cpu")
    memory = amount(container, "limits", "memory")
    quota = cpu_quota_us(limit.milli if limit else 0)
    return Resources(
        cpu_shares=cpu_shares(request.milli if request else 0),
        cpu_quota_us=quota,
        cpu_period_us=PERIOD_US if quota else 0,
        memory_limit_bytes=memory.value if memory else 0,
        oom_score_adj=oom_score(pod, container, node_memory_bytes),
    )


def pod_limits(pod: JsonObject) -> PodLimits:
    """A limit holds for the pod only when every container has one."""

    def limited(resource: str) -> bool:
        if ((meta.spec(pod).get("resources") or {}).get("limits") or {}).get(resource) is not None:
            return True
        found = [amount(container, "limits", resource) for container in all_containers(pod)]
        return bool(found) and all(item is not None and item.nano > 0 for item in found)

    def whole(nano: int, unit: int) -> int:
        return -(-nano // unit)

    milli = whole(pod_amount(pod, "cpu"), 10**6)
    quota = cpu_quota_us(whole(pod_amount(pod, "cpu", "limits"), 10**6)) if limited("cpu") else 0
    memory = whole(pod_amount(pod, "memory", "limits"), 10**9) if limited("memory") else 0
    return PodLimits(cpu_shares(milli), quota, memory)


def shortage(pod: JsonObject, others: Iterable[JsonObject], allocatable: Mapping[str, str]) -> JsonObject | None:
    """Why `pod` does not fit beside `others`: {"resource", "requested", "used", "capacity"}, or None."""
    running = list(others)
    capacity = int(allocatable.get("pods", "110"))
    if len(running) + 1 > capacity:
        return {"resource": "pods", "requested": 1, "used": len(running), "capacity": capacity}
    for resource in ("cpu", "memory", "ephemeral-storage", *resource_names([pod])):
        wanted = pod_amount(pod, resource)
        if wanted <= 0:
            continue
        unit = 10**6 if resource == "cpu" else 10**9
        limit = quantity.parse(allocatable.get(resource, "0")).nano
        used = sum(pod_amount(other, resource) for other in running)
        if used + wanted > limit:
            return {
                "resource": resource,
                "requested": wanted // unit,
                "used": used // unit,
                "capacity": limit // unit,
            }
    return None
