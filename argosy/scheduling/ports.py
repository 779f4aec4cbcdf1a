"""Host ports: two pods on a node may not claim the same one on the same address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from argosy.objects.types import JsonObject

ANY = "0.0.0.0"  # noqa: S104  # the field's own word for "every address"


class HostPort(NamedTuple):
    protocol: str
    port: int
    address: str
    """ANY claims the port on every address."""


def host_ports(pod: JsonObject) -> tuple[HostPort, ...]:
    """What the pod's containers (and sidecars) claim of its node."""
    spec = pod.get("spec") or {}
    containers = list(spec.get("containers") or ())
    containers += [item for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"]
    return tuple(
        HostPort(port.get("protocol") or "TCP", port["hostPort"], port.get("hostIP") or ANY)
        for container in containers
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def conflict(one: HostPort, other: HostPort) -> bool:
    return (one.protocol, one.port) == (other.protocol, other.port) and (
        one.address == other.address or ANY in (one.address, other.address)
    )


def any_conflict(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    held = list(taken)
    return any(conflict(one, other) for one in wanted for other in held)
