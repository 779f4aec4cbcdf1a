"""What the scheduler tells the API: bindings, and why a pod has no node yet.

Bindings run beside further decisions, at most so many at once. A pod's condition is written by one worker, the newest
word only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from argosy import logs
from argosy.client import Client, PatchType
from argosy.events import EventRecorder
from argosy.host import Host, rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError, unavailable
from argosy.objects.types import JsonObject
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.preemption import PREEMPTED

log = logs.get("scheduler.writer")

SCHEDULED = "PodScheduled"
UNSCHEDULABLE = "Unschedulable"
SCHEDULER_ERROR = "SchedulerError"
MAX_CONDITIONS = 4096
"""Pods whose condition waits to be written; beyond it the newest are dropped (their next attempt writes again)."""


def binding(info: PodInfo, node_name: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": meta.name(info.pod), "namespace": info.namespace, "uid": info.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
    }


class Writer:
    def __init__(
        self,
        client: Client,
        host: Host,
        recorder: EventRecorder,
        parallel: int,
        scheduler_name: str,
        victim_stayed: Callable[[], None],
    ) -> None:
        """`victim_stayed` is called when a pod that had to make room could not be sent away."""
        self._pods = client.resource("", "v1", "pods")
        self._host = host
        self._recorder = recorder
        self._scheduler_name = scheduler_name
        self._victim_stayed = victim_stayed
        self._slots = asyncio.Semaphore(parallel)
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._conditions: dict[str, tuple[PodInfo, JsonObject | None, str | None]] = {}
        """By pod: its condition if there is one to write, and its nominated node: empty to take it away, None to
        leave it."""
        self._victims: dict[str, tuple[PodInfo, PodInfo, str]] = {}
        """By uid pods that must go, for whom, and from where."""
        self._wake = asyncio.Event()

    async def slot(self) -> None:
        """Wait until one more binding may run; `bind` must follow, or `free_slot`."""
        await self._slots.acquire()

    def free_slot(self) -> None:
        self._slots.release()

    def bind(
        self,
        info: PodInfo,
        node_name: str,
        failed: Callable[[ApiError], None],
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Bind in the background, in the slot that was waited for; after `before`, which raises ApiError."""
        work = self._bind(info, node_name, failed, before)
        task = asyncio.get_running_loop().create_task(work, name=f"bind {info.key}")
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _bind(
        self,
        info: PodInfo,
        node_name: str,
        failed: Callable[[ApiError], None],
        before: Callable[[], Awaitable[None]] | None,
    ) -> None:
        try:
            if before is not None:
                # Volumes may take minutes, and must not keep the slot from pods that need none.
                self._slots.release()
                try:
                    await before()
                finally:
                    await self._slots.acquire()
            await self._pods.create(
                binding(info, node_name), name=meta.name(info.pod), namespace=info.namespace, subresource="binding"
            )
        except ApiError as error:
            log.warning("binding failed", pod=info.key, node=node_name, code=error.code, error=error.message)
            failed(error)
        except BaseException as error:
            # Whether it arrived is not known: if it did, the informer says so, and the pod leaves the queue.
            failed(unavailable(f"binding was given up: {error!r}"))
            raise
        else:
            log.debug("bound", pod=info.key, node=node_name)
            message = f"Successfully assigned {info.key} to {node_name}"
            self._recorder.event(_referable(info.pod), "Normal", "Scheduled", message)
        finally:
            self._slots.release()

    def unschedulable(
        self, info: PodInfo, message: str, reason: str = UNSCHEDULABLE, nominated: str | None = None
    ) -> None:
        """Tell by event and condition that the pod has no node; `nominated` empty: nor room kept for it any more."""
        self._recorder.event(_referable(info.pod), "Warning", "FailedScheduling", message)
        wanted = conditions.make(SCHEDULED, "False", rfc3339(self._host.clock.now()), reason, message)
        if nominated is None and conditions.same(conditions.get(info.pod, SCHEDULED), wanted):
            self._conditions.pop(info.key, None)
            return
        self._write_later(info, wanted, nominated)

    def clear_nomination(self, info: PodInfo) -> None:
        waiting = self._conditions.get(info.key)
        self._write_later(info, waiting[1] if waiting else None, "")

    def _write_later(self, info: PodInfo, condition: JsonObject | None, nominated: str | None) -> None:
        if len(self._conditions) < MAX_CONDITIONS or info.key in self._conditions:
            self._conditions[info.key] = (info, condition, nominated)
            self._wake.set()

    def nominate(self, info: PodInfo, message: str, node_name: str, victims: Sequence[PodInfo]) -> None:
        """As `unschedulable`; say where the pod will go, and send the pods away that it needs the place of."""
        self._recorder.event(_referable(info.pod), "Warning", "FailedScheduling", message)
        now = rfc3339(self._host.clock.now())
        wanted = conditions.make(SCHEDULED, "False", now, UNSCHEDULABLE, message)
        self._conditions[info.key] = (info, wanted, node_name)
        for victim in victims:
            self._victims[victim.uid] = (victim, info, node_name)
        self._wake.set()

    async def run(self) -> None:
        """Write conditions until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._conditions or self._victims:
                if self._victims:
                    uid = next(iter(self._victims))
                    await self._evict(*self._victims.pop(uid))
                else:
                    key = next(iter(self._conditions))
                    await self._write_condition(*self._conditions.pop(key))

    async def drain(self) -> None:
        """Give up the bindings under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write_condition(self, info: PodInfo, condition: JsonObject | None, nominated: str | None) -> None:
        status: JsonObject = {}
        if condition is not None:
            listed = conditions.with_condition(meta.status(info.pod).get("conditions") or (), condition)
            status["conditions"] = [next(item for item in listed if item["type"] == SCHEDULED)]
        if nominated is not None:
            status["nominatedNodeName"] = nominated or None
        try:
            await self._pods.patch(
                meta.name(info.pod),
                {"metadata": {"uid": info.uid}, "status": status},
                namespace=info.namespace,
                subresource="status",
                type=PatchType.STRATEGIC,
            )
        except ApiError as error:
            log.debug("condition was not written", pod=info.key, code=error.code, error=error.message)

    async def _evict(self, victim: PodInfo, winner: PodInfo, node_name: str) -> None:
        """Raises nothing: what is not sent away now is chosen again with the winner's next attempt."""
        name, space = meta.name(victim.pod), victim.namespace
        message = f"{self._scheduler_name}: preempting to accommodate a higher priority pod"
        now = rfc3339(self._host.clock.now())
        target = conditions.make("DisruptionTarget", True, now, PREEMPTED, message)
        try:
            await self._pods.patch(
                name,
                {"metadata": {"uid": victim.uid}, "status": {"conditions": [target]}},
                namespace=space,
                subresource="status",
                type=PatchType.STRATEGIC,
            )
            await self._pods.delete(name, namespace=space, uid=victim.uid)
        except ApiError as error:
            log.info("victim was not sent away", pod=victim.key, code=error.code, error=error.message)
            if error.code != 404:
                self._victim_stayed()
            return
        text = f"Preempted by pod {winner.uid} on node {node_name}"
        self._recorder.event(_referable(victim.pod), "Normal", "Preempted", text)


def _referable(pod: JsonObject) -> JsonObject:
    """Lists leave apiVersion and kind out of their items."""
    return pod if pod.get("kind") else {"apiVersion": "v1", "kind": "Pod", **pod}
