"""The two kinds of network that a cluster's parts can be in, behind one protocol; the configuration says which.

The supervisor makes and removes it, `deploy.routes` keeps its routes to pods, `deploy.cleanup` removes both kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deploy import machine, place
from deploy.cluster import ClusterConfig
from deploy.lan import Lan
from deploy.layout import Layout
from deploy.machine import MachineNetwork
from deploy.place import Member, Place


class Network(Protocol):
    """Idempotent throughout. Everything raises CommandError or OSError."""

    def ensure(self, members: Sequence[Member]) -> None:
        """Make what is missing for these members."""

    def remove_member(self, name: str) -> None:
        """What one member held goes."""

    def remove(self) -> None:
        """Everything goes."""

    def namespaces(self) -> list[str]:
        """Paths of the cluster's own namespaces that exist."""

    def set_pod_routes(self, routes: dict[str, str]) -> None:
        """Pod CIDR → node address, for the control plane."""

    def remove_pod_routes(self, cidrs: Sequence[str]) -> None: ...


def network_of(layout: Layout, config: ClusterConfig) -> Network:
    if config.is_on_lan:
        return Lan(layout, uplink=config.uplink)
    return MachineNetwork(layout, config.address, config.cluster_cidr)


def every_network(layout: Layout) -> tuple[Network, ...]:
    """For removing what is there when no configuration says which it was."""
    return Lan(layout), MachineNetwork(layout)


def place_of(layout: Layout, config: ClusterConfig) -> Place:
    """Where everything is."""
    if config.is_on_lan:
        return place.on_lan(layout, config)
    return place.on_machine(config, machine.surroundings())
