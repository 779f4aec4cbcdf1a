"""Ends pods that use more of the node's disk than they may: emptyDir sizes and ephemeral-storage limits.

Upstream's rules and messages (pkg/kubelet/eviction, `localStorageEviction`); a volume in memory is bounded by its
mount and not looked at here. `NodeAgent` runs the `Evictor` beside the pods' workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from argosy import logs
from argosy.objects import meta, quantity
from argosy.objects.types import JsonObject
from node_agent.resources import all_containers, amount, pod_amount
from node_agent.runtime.runtime import RuntimeFailure
from node_agent.seams import Tools
from node_agent.worker import PodWorker

log = logs.get("node_agent.eviction")

PERIOD_S = 10.0
STORAGE = "ephemeral-storage"


@dataclass(frozen=True)
class Usage:
    """Bytes on the node's disk."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    """Of emptyDirs, by volume name."""
    containers: Mapping[str, int] = field(default_factory=dict)
    """Writable layer and logs, by container name."""


def sized_volumes(pod: JsonObject) -> dict[str, str]:
    """The limits of emptyDirs on disk, by volume name."""
    found: dict[str, str] = {}
    for volume in meta.spec(pod).get("volumes") or []:
        source = volume.get("emptyDir") or {}
        if source.get("sizeLimit") is not None and not source.get("medium"):
            found[str(volume["name"])] = str(source["sizeLimit"])
    return found


def storage_limits(pod: JsonObject) -> dict[str, quantity.Quantity]:
    """The ephemeral-storage limits of containers, by name."""
    found = {str(item["name"]): amount(item, "limits", STORAGE) for item in all_containers(pod)}
    return {name: limit for name, limit in found.items() if limit is not None and limit.nano > 0}


def overuse(pod: JsonObject, usage: Usage) -> str:
    """Why the pod must go; empty when it may stay."""
    for name, limit in sized_volumes(pod).items():
        if 0 < quantity.value(limit) < usage.volumes.get(name, 0):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    limits = storage_limits(pod)
    if not limits:
        return ""
    whole = pod_amount(pod, STORAGE, "limits") // 10**9
    if sum(usage.volumes.values()) + sum(usage.containers.values()) > whole:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {quantity.of_bytes(whole)}. "
    for name, bound in limits.items():
        if usage.containers.get(name, 0) > bound.value:
            shown = quantity.of_bytes(bound.value)
            return f'Container {name} exceeded its local ephemeral storage limit "{shown}". '
    return ""


class Evictor:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def run(self, workers: Mapping[str, PodWorker]) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.look(list(workers.values()))
            except (RuntimeFailure, OSError) as error:
                log.warning("disk usage cannot be told", error=error)

    async def look(self, workers: Iterable[PodWorker]) -> None:
        """Measure the pods that have limits, and end those that are beyond. Raises RuntimeFailure and OSError."""
        bounded = [
            worker
            for worker in workers
            if worker.accepted and worker.is_active and (sized_volumes(worker.pod) or storage_limits(worker.pod))
        ]
        layers: dict[tuple[str, str], int] = {}
        if any(storage_limits(worker.pod) for worker in bounded):
            stats = await self._tools.runtime.container_stats()
            layers = {(item.pod_uid, item.name): item.writable_bytes for item in stats}
        for worker in bounded:
            pod = worker.pod
            names = [str(item["name"]) for item in all_containers(pod)]
            containers = {
                name: layers.get((worker.uid, name), 0) + self._tools.files.log_bytes(pod, name) for name in names
            }
            message = overuse(pod, Usage(await self._tools.volumes.usage_bytes(pod), containers))
            if message:
                log.info("pod uses too much disk", pod=meta.key(pod), why=message)
                worker.evict(message)
