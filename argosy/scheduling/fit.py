"""Whether one pod fits one node, and why not: the node agent's own check before it takes a pod.

The scheduler asks the same of all nodes at once (control_plane/scheduler); its messages are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling import node_affinity, ports, resources, taints

NODE_NAME = "node(s) didn't match the requested node name"
NODE_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
NODE_PORTS = "node(s) didn't have free ports for the requested pod ports"
UNSCHEDULABLE = "node(s) were unschedulable"
TAINTS = "node(s) had untolerated taint(s)"
"""Since 1.34 without the taint's name: a message with every node's own taints told nothing any more."""
TOO_MANY_PODS = "Too many pods"


def insufficient(resource: str) -> str:
    return f"Insufficient {resource}"


def lacking(
    wanted: Mapping[str, int], allocatable: Mapping[str, int], used: Mapping[str, int], pod_count: int
) -> list[str]:
    """Names of resources that do not suffice for one more pod, `pods` among them."""
    result = []
    if pod_count + 1 > allocatable.get(resources.PODS, 0):
        result.append(resources.PODS)
    for name, amount in wanted.items():
        if amount > 0 and name != resources.PODS and amount > allocatable.get(name, 0) - used.get(name, 0):
            result.append(name)
    return result


def used_by(pods: Iterable[JsonObject]) -> tuple[resources.Amounts, int]:
    """What pods take together, and how many they are."""
    total: resources.Amounts = {}
    count = 0
    for pod in pods:
        count += 1
        for name, amount in resources.pod_requests(pod).items():
            total[name] = total.get(name, 0) + amount
    return total, count


def reasons(pod: JsonObject, node: JsonObject, pods: Iterable[JsonObject]) -> list[str]:
    """Why `pod` cannot run on `node` beside `pods`; empty when it can. Taints other than NoExecute are not asked:

    a node agent takes what was bound to it (static pods, daemon sets), as upstream's does.
    """
    spec, name = meta.spec(pod), meta.name(node)
    result: list[str] = []
    if spec.get("nodeName") not in (None, "", name):
        result.append(NODE_NAME)
    if not node_affinity.matches(pod, meta.labels(node), name):
        result.append(NODE_AFFINITY)
    taint = taints.first_untolerated(
        meta.spec(node).get("taints") or (), spec.get("tolerations") or (), (taints.NO_EXECUTE,)
    )
    if taint is not None:
        result.append(TAINTS)
    others = list(pods)
    if ports.any_conflict(ports.host_ports(pod), (port for other in others for port in ports.host_ports(other))):
        result.append(NODE_PORTS)
    used, count = used_by(others)
    for resource in lacking(resources.pod_requests(pod), resources.allocatable(node), used, count):
        result.append(TOO_MANY_PODS if resource == resources.PODS else insufficient(resource))
    return result
