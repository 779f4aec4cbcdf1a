"""Looks at one pod in the runtime, asking only for what changed: two list calls when nothing did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from node_agent.observed import Observed, observed
from node_agent.runtime.runtime import (
    NOT_FOUND,
    ContainerStatus,
    Runtime,
    RuntimeFailure,
    Sandbox,
    State,
)


class Observer:
    def __init__(self, runtime: Runtime, pod_uid: str, host_ips: Sequence[str] = ()) -> None:
        """`host_ips` are the addresses of pods in the node's network, which the runtime does not tell."""
        self._runtime = runtime
        self._uid = pod_uid
        self._host_ips = tuple(host_ips)
        self._containers: dict[str, ContainerStatus] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self.last = Observed()
        """What the newest look saw."""

    async def look(self) -> Observed:
        """Raises RuntimeFailure."""
        sandboxes: list[Sandbox] = []
        for row in await self._runtime.list_sandboxes(self._uid):
            known = self._sandboxes.get(row.id)
            if known is None or known.ready != row.ready or (row.ready and not known.ips and not known.host_network):
                try:
                    known = await self._runtime.sandbox_status(row.id)
                except RuntimeFailure as failure:
                    if failure.reason == NOT_FOUND:
                        continue
                    raise
            if known.host_network and not known.ips:
                known = replace(known, ips=self._host_ips)
            sandboxes.append(known)
        containers: list[ContainerStatus] = []
        sandbox_of: dict[str, str] = {}
        for item in await self._runtime.list_containers(self._uid):
            status = self._containers.get(item.id)
            if status is None or status.state is not item.state or item.state is State.UNKNOWN:
                try:
                    status = await self._runtime.container_status(item.id)
                except RuntimeFailure as failure:
                    if failure.reason == NOT_FOUND:
                        continue
                    raise
            containers.append(status)
            sandbox_of[item.id] = item.sandbox_id
        self._sandboxes = {item.id: item for item in sandboxes}
        self._containers = {item.id: item for item in containers}
        self.last = observed(sandboxes, containers, sandbox_of)
        return self.last
