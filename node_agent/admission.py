"""The node's own last word on a pod that was bound to it (upstream pkg/kubelet/lifecycle/predicate.go); pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.resources import all_containers, shortage


def _host_ports(pod: JsonObject) -> list[tuple[str, int, str]]:
    result: list[tuple[str, int, str]] = []
    for container in all_containers(pod):
        for port in container.get("ports") or []:
            number = port.get("hostPort")
            if number:
                result.append((str(port.get("protocol") or "TCP"), int(number), str(port.get("hostIP") or "0.0.0.0")))  # noqa: S104
    return result


def _clash(mine: Sequence[tuple[str, int, str]], theirs: Sequence[tuple[str, int, str]]) -> bool:
    anywhere = ("0.0.0.0", "::", "")  # noqa: S104
    return any(
        a[0] == b[0] and a[1] == b[1] and (a[2] == b[2] or a[2] in anywhere or b[2] in anywhere)
        for a in mine
        for b in theirs
    )


def admit(
    pod: JsonObject, others: Iterable[JsonObject], allocatable: Mapping[str, str], node: JsonObject | None
) -> tuple[str, str] | None:
    """(reason, message) of the refusal, or None. `others` are the pods that the node has taken and that still run."""
    system = (meta.spec(pod).get("os") or {}).get("name", "linux")
    if system != "linux":
        return (
            "PodOSNotSupported",
            f"Pod was rejected: Failed to admit pod as the OS field doesn't match node OS: {system}",
        )
    running = list(others)
    lack = shortage(pod, running, allocatable)
    if lack is not None:
        message = (
            f"Pod was rejected: Node didn't have enough resource: {lack['resource']}, "
            f"requested: {lack['requested']}, used: {lack['used']}, capacity: {lack['capacity']}"
        )
        return f"OutOf{lack['resource']}", message
    mine = _host_ports(pod)
    if mine and any(_clash(mine, _host_ports(other)) for other in running):
        return "NodePorts", "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports"
    if node is not None:
        labels = meta.labels(node)
        selector = meta.spec(pod).get("nodeSelector") or {}
        if any(labels.get(key) != value for key, value in selector.items()):
            return (
                "NodeAffinity",
                "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match node selector",
            )
    return None
