"""The node's own last word on a pod that was bound to it (upstream pkg/kubelet/lifecycle/predicate.go); pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling import node_affinity, ports, taints
from node_agent import sysctls
from node_agent.resources import shortage

BUILT_IN = ("cpu", "memory", "pods", "ephemeral-storage")


def with_extended(allocatable: Mapping[str, str], node: JsonObject | None) -> dict[str, str]:
    """Beside what the machine has, what somebody else wrote into the Node's status (administrators do)."""
    told = (meta.status(node).get("allocatable") or {}) if node is not None else {}
    return {**{name: str(value) for name, value in told.items() if name not in BUILT_IN}, **allocatable}


def admit(
    pod: JsonObject, others: Iterable[JsonObject], allocatable: Mapping[str, str], node: JsonObject | None
) -> tuple[str, str] | None:
    """(reason, message) of the refusal, or None. `others` are the pods that the node has taken and that still run."""
    system = (meta.spec(pod).get("os") or {}).get("name", "linux")
    if system != "linux":
        return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
    if (meta.spec(pod).get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict":
        policy = "SupplementalGroupsPolicy"
        return f"{policy}NotSupported", f"{policy}=Strict is not supported in this node"
    forbidden = sysctls.refusal(pod)
    if forbidden:
        return sysctls.FORBIDDEN, forbidden
    running = list(others)
    lack = shortage(pod, running, with_extended(allocatable, node))
    if lack is not None:
        message = (
            f"Node didn't have enough resource: {lack['resource']}, "
            f"requested: {lack['requested']}, used: {lack['used']}, capacity: {lack['capacity']}"
        )
        return f"OutOf{lack['resource']}", message
    return _misplaced(pod, running, node)


def _misplaced(pod: JsonObject, running: Iterable[JsonObject], node: JsonObject | None) -> tuple[str, str] | None:
    """A predicate of the scheduler that does not hold here, for pods that never met a scheduler."""
    if node is not None and not node_affinity.matches(pod, meta.labels(node), meta.name(node)):
        return _failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    taken = [port for other in running for port in ports.host_ports(other)]
    if ports.any_conflict(ports.host_ports(pod), taken):
        return _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if node is not None:
        found = taints.first_untolerated(
            meta.spec(node).get("taints") or [], meta.spec(pod).get("tolerations") or [], (taints.NO_EXECUTE,)
        )
        if found is not None:
            return _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _failed(predicate: str, why: str) -> tuple[str, str]:
    return predicate, f"Predicate {predicate} failed: {why}"
