"""All pods of this node: a worker for each, admission of new ones, and the removal of what nobody owns any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from argosy import logs
from argosy.informer import Informer
from argosy.objects import conditions, meta
from argosy.objects.pod_qos import GUARANTEED, qos_class
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.scheduling.resources import RESIZE_PENDING
from node_agent import allocation, pressure
from node_agent.admission import admit, with_extended
from node_agent.node_status import Pressure
from node_agent.relisting import Relister
from node_agent.seams import Tools
from node_agent.worker import Parts, PodWorker

log = logs.get("node_agent.pods")

HOUSEKEEPING_S = 60.0


class Pods:
    def __init__(
        self,
        parts: Callable[[Pods], Parts],
        informer: Informer,
        node: Callable[[], JsonObject | None],
        shortage: Callable[[], Pressure],
    ) -> None:
        """`parts` is called once, with this; `node` gives the Node object as last seen, `shortage` what it says that
        it runs short of."""
        self._shortage = shortage
        self._informer = informer
        self._node = node
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._parts = parts(self)
        self._cleared = False

    @property
    def tools(self) -> Tools:
        return self._parts.tools

    @property
    def workers(self) -> Mapping[str, PodWorker]:
        return self._workers

    def wake(self, uid: str) -> None:
        """Something happened to a pod in the runtime."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    def wake_all(self) -> None:
        for worker in self._workers.values():
            worker.wake()

    def admit(self, pod: JsonObject) -> tuple[str, str] | None:
        refused = pressure.refusal(pod, self._shortage())
        if refused:
            return "Evicted", refused
        return admit(pod, self._others(pod), self._parts.tools.settings.allocatable, self._node())

    def _others(self, pod: JsonObject) -> list[JsonObject]:
        """Pods that the node has taken and that still run, as they were granted."""
        return [
            worker.pod
            for worker in self._workers.values()
            if worker.accepted and worker.is_active and worker.uid != meta.uid(pod)
        ]

    def judge_resize(self, pod: JsonObject, granted: JsonObject) -> tuple[str, str] | None:
        """(Deferred or Infeasible, message), or None when the node has what a running pod asks for."""
        allocatable = with_extended(self._parts.tools.settings.allocatable, self._node())
        return allocation.refusal(pod, granted, self._others(pod), allocatable)

    def retry_resizes(self) -> None:
        """Room may have come: waiting resizes are looked at in upstream's order (`sortPendingResizes`)."""
        waiting = [worker for worker in self._workers.values() if worker.resizer.pending is not None]
        for worker in sorted(waiting, key=_resize_rank):
            try:
                worker.reconsider()
            except OSError as error:
                log.warning("a resize cannot be granted yet", pod=meta.key(worker.pod), error=error)

    async def run(self, relister: Relister) -> None:
        """Until cancelled. Containers go on running; their pods are adopted by the next agent."""
        self._informer.add_handler(added=self._added, updated=self._updated, deleted=self._deleted)
        try:
            await self._informer.wait_synced()
            while True:
                await relister.relist()
                await self._clear(relister)
                await asyncio.sleep(HOUSEKEEPING_S if self._cleared else 1.0)
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _clear(self, relister: Relister) -> None:
        """End pods that run without an object, and remove what was left by others.

        The informer's first list may come from a server that lags: nothing is ended that the store still has.
        """
        if relister.error:
            return
        existing: dict[str, None] = {}
        if any(sandbox.uid not in self._workers for sandbox in relister.sandboxes):
            try:
                listed = await self._parts.pods.list(fields=f"spec.nodeName={self._parts.tools.settings.node_name}")
            except ApiError as error:
                log.warning("pods without an object are left for now", code=error.code, error=error.message)
                return
            existing = dict.fromkeys(meta.uid(pod) for pod in listed.items)
        self._cleared = True
        uids: dict[str, None] = {}
        for sandbox in relister.sandboxes:
            uids[sandbox.uid] = None
            if sandbox.uid not in self._workers and sandbox.uid not in existing:
                log.info("a pod runs that has no object; it is ended", pod=f"{sandbox.namespace}/{sandbox.name}")
                self._begin(_skeleton(sandbox.namespace, sandbox.name, sandbox.uid), orphan=True)
        tools = self._parts.tools
        left = dict.fromkeys([*tools.volumes.known(), *tools.cgroups.known(), *tools.files.known()])
        for uid in left:
            if uid in self._workers or uid in uids:
                continue
            try:
                tools.volumes.tear_down(uid)
                tools.cgroups.remove(uid)
                tools.files.remove(uid)
                log.info("cleared what was left of a pod", uid=uid)
            except OSError as error:
                log.warning("what is left of a pod cannot be cleared", uid=uid, error=error)

    # Informer handlers

    def _added(self, pod: JsonObject) -> None:
        uid = meta.uid(pod)
        if uid in self._workers:
            self._workers[uid].update(pod)
        else:
            self._begin(pod)

    def _updated(self, _old: JsonObject, pod: JsonObject) -> None:
        self._added(pod)

    def _deleted(self, pod: JsonObject) -> None:
        worker = self._workers.get(meta.uid(pod))
        if worker is None:
            return
        if worker.ended:
            self._drop(worker)
        else:
            worker.object_gone()

    def _begin(self, pod: JsonObject, *, orphan: bool = False) -> None:
        worker = PodWorker(self._parts, pod, orphan=orphan)
        self._workers[worker.uid] = worker
        task = asyncio.get_running_loop().create_task(worker.run(), name=f"worker {worker.uid}")
        self._tasks[worker.uid] = task
        task.add_done_callback(lambda _: self._done(worker))

    def _done(self, worker: PodWorker) -> None:
        self._tasks.pop(worker.uid, None)
        self.retry_resizes()
        if worker.reporter.gone:
            self._drop(worker)

    def _drop(self, worker: PodWorker) -> None:
        if self._workers.get(worker.uid) is worker and worker.uid not in self._tasks:
            del self._workers[worker.uid]

    # For the HTTPS API

    def list(self) -> list[JsonObject]:
        """Every pod here, with its newest status."""
        return [worker.reporter.local for worker in self._workers.values() if not worker.ended]

    def get(self, namespace: str, name: str) -> JsonObject | None:
        """The newest pod of that name; a deleted one that is still being ended gives way to its successor."""
        for worker in reversed(tuple(self._workers.values())):
            if not worker.ended and meta.namespace(worker.pod) == namespace and meta.name(worker.pod) == name:
                return worker.reporter.local
        return None


def _resize_rank(worker: PodWorker) -> tuple[int, bool, str]:
    """By priority, Guaranteed before Burstable, then who has waited longest."""
    pod = worker.reporter.local
    since = str((conditions.get(pod, RESIZE_PENDING) or {}).get("lastTransitionTime") or "~")
    return -int(meta.spec(pod).get("priority") or 0), qos_class(pod) != GUARANTEED, since


def _skeleton(namespace: str, name: str, uid: str) -> JsonObject:
    """Enough of a pod to end what runs under its uid."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
        "spec": {"containers": [], "terminationGracePeriodSeconds": 1},
        "status": {"startTime": "1970-01-01T00:00:00Z"},
    }
