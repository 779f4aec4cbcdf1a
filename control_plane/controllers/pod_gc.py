"""Pod garbage collection: pods that nobody will ever clean up.

Finished pods beyond a threshold, pods of nodes that no longer exist, pods deleted before they got a node, and pods of
nodes that an administrator declared out of service. Upstream: `pkg/controller/podgc/gc_controller.go`. It goes by the
clock, not by keys: its only key is a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from argosy import logs
from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import pods as podlib
from control_plane.controllers.base import NODE_INDEX, NODES, PODS, Context, Controller, by_node
from control_plane.controllers.node_health import ready_status

log = logs.get("controllers.podgc")

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
TERMINATED_INDEX: Final = "terminated"
UNSCHEDULED_INDEX: Final = "terminating-unscheduled"
ROUND: Final = "round"


def by_end(pod: JsonObject) -> list[str]:
    return [""] if podlib.is_terminal(pod) else []


def by_unscheduled_end(pod: JsonObject) -> list[str]:
    return [""] if meta.is_deleting(pod) and not meta.spec(pod).get("nodeName") else []


class PodGarbageCollector(Controller):
    name = "pod-garbage-collector-controller"
    watches = (PODS, NODES)
    writes = (PODS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = self.informer(PODS)
        self._nodes = self.informer(NODES)
        self._pods.add_index(NODE_INDEX, by_node)
        self._pods.add_index(TERMINATED_INDEX, by_end)
        self._pods.add_index(UNSCHEDULED_INDEX, by_unscheduled_end)
        self._missing_since_s: dict[str, float] = {}
        self.queue.add(ROUND)

    async def reconcile(self, key: str) -> float | None:
        for collect in (self._terminated, self._out_of_service, self._orphaned, self._unscheduled):
            try:
                await collect()
            except ApiError as error:
                log.info("pods were not collected", round=collect.__name__, error=error.message)
        return self.config.pod_gc_period

    async def _terminated(self) -> None:
        """The oldest finished pods beyond the threshold."""
        threshold = self.config.terminated_pod_gc_threshold
        finished = self._pods.by_index(TERMINATED_INDEX, "") if threshold > 0 else []
        for pod in surplus(finished, threshold):
            await self._delete(pod, "")

    async def _out_of_service(self) -> None:
        for node in self._nodes.list():
            keys = [taint.get("key") for taint in meta.spec(node).get("taints") or ()]
            if OUT_OF_SERVICE not in keys or ready_status(node) == "True":
                continue
            for pod in self._pods.by_index(NODE_INDEX, meta.name(node)):
                if meta.is_deleting(pod):
                    await self._delete(pod, "")

    async def _orphaned(self) -> None:
        """Nodes must be missing for a while, and then live too: a cache may learn of pods before their node."""
        now = self.host.clock.monotonic()
        missing = [name for name in self._pods.index_values(NODE_INDEX) if self._nodes.get(name) is None]
        self._missing_since_s = {name: self._missing_since_s.get(name, now) for name in missing}
        for name, since_s in self._missing_since_s.items():
            if now - since_s < self.config.pod_gc_quarantine or await self._exists(name):
                continue
            for pod in self._pods.by_index(NODE_INDEX, name):
                await self._delete(pod, "PodGC: node no longer exists")

    async def _exists(self, node: str) -> bool:
        try:
            await self.reader(NODES).get(node)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    async def _unscheduled(self) -> None:
        for pod in self._pods.by_index(UNSCHEDULED_INDEX, ""):
            await self._delete(pod, "")

    async def _delete(self, pod: JsonObject, disruption: str) -> None:
        """At once, without a kubelet. A pod that had not finished is marked as failed first."""
        writer, name, namespace = self.writer(PODS), meta.name(pod), meta.namespace(pod)
        try:
            if not podlib.is_terminal(pod):
                changed = []
                if disruption:
                    now = rfc3339(self.host.clock.now())
                    new = conditions.make("DisruptionTarget", True, now, "DeletionByPodGC", disruption)
                    changed = [podlib.condition(pod, new)]
                await podlib.write_conditions(writer, pod, changed, phase="Failed")
            await writer.delete(name, namespace=namespace, grace_period_s=0, uid=meta.uid(pod))
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            return
        log.info("collected pod", pod=meta.key(pod))


def surplus(finished: Sequence[JsonObject], threshold: int) -> list[JsonObject]:
    """Evicted ones first, then the oldest, until `threshold` are left."""
    count = len(finished) - threshold
    if count <= 0:
        return []

    def rank(pod: JsonObject) -> tuple[bool, str, str]:
        evicted = meta.status(pod).get("reason") == "Evicted"
        return not evicted, str(meta.metadata(pod).get("creationTimestamp", "")), meta.key(pod)

    return sorted(finished, key=rank)[:count]
