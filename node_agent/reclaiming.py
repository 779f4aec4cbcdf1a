"""Keeps a node from running out of memory, disk or processes: deletes what nobody uses, then ends pods.

Upstream's eviction manager and image collection (pkg/kubelet/eviction/eviction_manager.go, pkg/kubelet/images). The
decisions are `pressure` and `image_gc`; this measures, deletes and tells. `NodeAgent` runs it beside the workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from argosy import logs
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent import image_gc, pressure
from node_agent.config import Config
from node_agent.node_status import Facts
from node_agent.pressure import DISKS, IMAGEFS, SIGNALS, PodUsage, Threshold
from node_agent.resources import named_containers
from node_agent.runtime.runtime import RuntimeFailure
from node_agent.seams import Tools
from node_agent.worker import EVICTION_GRACE_S, PodWorker

log = logs.get("node_agent.reclaiming")

CLEANUP_S = 30.0
"""How long an ended pod has to free what it took before the next one goes."""
CLEANUP_POLL_S = 0.5


@dataclass(frozen=True)
class Surroundings:
    """What of the node a Reclaimer sees and tells."""

    node: JsonObject
    """A reference to the Node object, for its events."""
    facts: Facts
    changed: Callable[[], None]
    """The node's conditions are other ones now."""


class Reclaimer:
    def __init__(self, config: Config, tools: Tools, around: Surroundings) -> None:
        """Raises ValueError for thresholds that cannot be."""
        self._config = config
        self._tools = tools
        self._around = around
        self._thresholds = pressure.thresholds(
            config.eviction_hard, config.eviction_soft, config.eviction_soft_grace_period
        )
        self._observed = pressure.Observed()
        self._images = image_gc.ImageRecords()
        self._told = pressure.pressure(())
        self._collected_s = tools.host.clock.monotonic()

    async def run(self, workers: Mapping[str, PodWorker]) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._config.eviction_monitoring_period_s)
            try:
                ended = await self.look(list(workers.values()))
                if ended is not None:
                    await self._until_gone(ended)
                await self._collect_images(list(workers.values()))
            except (RuntimeFailure, OSError, ValueError) as error:
                log.warning("shortages cannot be judged", error=error)

    async def look(self, workers: Sequence[PodWorker]) -> PodWorker | None:
        """Measure; where the node is short, free what can be freed, else end one pod, which is given.

        Raises RuntimeFailure, OSError.
        """
        clock = self._tools.host.clock
        short = self._short()
        if pressure.pressure(short) != self._told:
            self._told = pressure.pressure(short)
            self._around.changed()
        due = self._observed.due(short, clock.monotonic())
        if not due:
            return None
        resource = SIGNALS[due[0].signal]
        log.warning("the node is short", signal=due[0].signal, resource=resource)
        self._tools.recorder.event(
            self._around.node, "Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}"
        )
        if due[0].signal in DISKS:
            await self._delete_images(workers, None)
            still = {item.signal for item in self._short()}
            if not any(item.signal in still for item in due):
                return None
        return await self._end_one(workers, due[0])

    def _short(self) -> list[Threshold]:
        return pressure.met(self._thresholds, self._around.facts.signals())

    async def _end_one(self, workers: Sequence[PodWorker], short: Threshold) -> PodWorker | None:
        active = {worker.uid: worker for worker in workers if worker.accepted and worker.is_active}
        usage = await self._usage(active.values())
        level = self._around.facts.signals()[short.signal]
        for pod in pressure.rank([worker.pod for worker in active.values()], usage, short.signal):
            if meta.is_deleting(pod):
                continue
            worker = active[meta.uid(pod)]
            message = pressure.message(pod, usage.get(worker.uid), short, level)
            log.warning("pod is evicted", pod=meta.key(pod), why=message)
            worker.evict(message, self._grace_s(pod, short))
            return worker
        log.warning("the node is short, and no pod can be evicted", signal=short.signal)
        return None

    def _grace_s(self, pod: JsonObject, short: Threshold) -> int:
        if not short.grace_s:
            return EVICTION_GRACE_S
        asked = meta.spec(pod).get("terminationGracePeriodSeconds")
        most = self._config.eviction_max_pod_grace_period
        return most if asked is None else min(most, int(asked))

    async def _until_gone(self, worker: PodWorker) -> None:
        for _ in range(int(CLEANUP_S / CLEANUP_POLL_S)):
            if worker.ended or not worker.is_active:
                return
            await asyncio.sleep(CLEANUP_POLL_S)
        log.warning("an evicted pod is not gone yet", pod=meta.key(worker.pod))

    async def _usage(self, workers: Iterable[PodWorker]) -> dict[str, PodUsage]:
        memory: dict[str, dict[str, int]] = {}
        disk: dict[str, dict[str, int]] = {}
        for item in await self._tools.runtime.container_stats():
            memory.setdefault(item.pod_uid, {})[item.name] = item.working_set_bytes
            disk.setdefault(item.pod_uid, {})[item.name] = item.writable_bytes
        result = {}
        for worker in workers:
            if worker.uid not in memory:
                continue
            layers = disk[worker.uid]
            with_logs = {
                name: layers.get(name, 0) + self._tools.files.log_bytes(worker.pod, name)
                for name in [str(container["name"]) for container in named_containers(worker.pod)]
            }
            volumes = sum((await self._tools.volumes.usage_bytes(worker.pod)).values())
            result[worker.uid] = PodUsage(memory[worker.uid], with_logs, volumes)
        return result

    # Images

    async def _collect_images(self, workers: Sequence[PodWorker]) -> None:
        """Now and then, before the node is short."""
        now_s = self._tools.host.clock.monotonic()
        if now_s - self._collected_s < self._config.image_gc_period_s:
            return
        self._collected_s = now_s
        level = self._around.facts.signals().get(IMAGEFS)
        config = self._config
        wanted = 0
        if level is not None and config.image_gc_high_threshold < 100:
            wanted = image_gc.to_free(level, config.image_gc_high_threshold, config.image_gc_low_threshold)
        freed = await self._delete_images(workers, wanted)
        if freed < wanted:
            message = f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, "
            message += f"but only found {freed} bytes eligible to free."
            self._tools.recorder.event(self._around.node, "Warning", "FreeDiskSpaceFailed", message)

    async def _delete_images(self, workers: Sequence[PodWorker], wanted: int | None) -> int:
        """Remember what is used; delete unused images, all or enough to free `wanted` bytes. Gives what they took."""
        now_s = self._tools.host.clock.monotonic()
        images = await self._tools.runtime.list_images()
        used = in_use(workers)
        self._images.seen(images, used, now_s)
        pinned = [name for text in self._config.pinned_images for name in names_of(text)]
        found = self._images.unused(images, used, pinned, now_s, self._config.minimum_image_ttl_s)
        freed = 0
        for image in found if wanted is None else image_gc.enough(found, wanted):
            log.info("unused image is deleted", image=image.id, names=",".join(image.tags), bytes=image.size_bytes)
            await self._tools.runtime.remove_image(image.id)
            freed += image.size_bytes
        return freed


def in_use(workers: Iterable[PodWorker]) -> set[str]:
    """Ids, tags and digests of images that pods of this node have or want."""
    result: set[str] = set()
    for worker in workers:
        if worker.ended:
            continue
        for status in worker.observer.last.containers:
            result |= {status.image_ref, *names_of(status.image)}
        for container in named_containers(worker.pod):
            result.update(names_of(str(container.get("image") or "")))
    return result


def names_of(reference: str) -> tuple[str, ...]:
    """A reference as pods have it, in the forms in which a runtime lists it."""
    last = reference.rsplit("/", 1)[-1]
    tagged = reference if ":" in last or "@" in last else f"{reference}:latest"
    return tagged, f"docker.io/library/{tagged}", f"docker.io/{tagged}"
