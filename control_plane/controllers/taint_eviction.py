"""Taint eviction: deletes pods from nodes with NoExecute taints, when their tolerations end.

Keys are pods. Upstream: `pkg/controller/tainteviction/taint_eviction.go`. The time runs from the taint's timeAdded,
so that a new leader does not start it anew; that of a taint without one (kubectl gives none) from when it was
first seen.
"""

from __future__ import annotations

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.scheduling import taints
from control_plane.controllers import pods as podlib
from control_plane.controllers.base import NODE_INDEX, NODES, PODS, Context, Controller, by_node


class TaintEvictionController(Controller):
    name = "taint-eviction-controller"
    watches = (NODES, PODS)
    writes = (PODS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = self.informer(NODES)
        self._pods = self.informer(PODS)
        self._pods.add_index(NODE_INDEX, by_node)
        self._waiting: dict[str, None] = {}
        """Pods whose time runs."""
        self._first_seen: dict[str, dict[tuple[str, str], str]] = {}
        """By node and (key, value): when a taint without a time of its own was first seen."""
        self._nodes.add_handler(added=self._node_added, updated=self._node_updated, deleted=self._node_deleted)
        self._pods.add_handler(added=self._pod_added, updated=self._pod_updated, deleted=self._pod_deleted)

    @property
    def workers(self) -> int:
        return 8

    def _node_added(self, node: JsonObject) -> None:
        self._note_taints(node)
        if evicting(node):
            self._enqueue_pods(node)

    def _node_deleted(self, node: JsonObject) -> None:
        self._first_seen.pop(meta.name(node), None)

    def _note_taints(self, node: JsonObject) -> None:
        before = self._first_seen.pop(meta.name(node), {})
        now = rfc3339(self.host.clock.now())
        timeless = [_identity(taint) for taint in evicting(node) if not taint.get("timeAdded")]
        if timeless:
            self._first_seen[meta.name(node)] = {identity: before.get(identity, now) for identity in timeless}

    def _timed(self, node: JsonObject) -> list[JsonObject]:
        """The node's evicting taints, each with a time."""
        seen = self._first_seen.get(meta.name(node), {})
        return [{"timeAdded": seen.get(_identity(taint)), **taint} for taint in evicting(node)]

    def _node_updated(self, old: JsonObject, new: JsonObject) -> None:
        self._note_taints(new)
        if evicting(old) != evicting(new):
            self._enqueue_pods(new)

    def _enqueue_pods(self, node: JsonObject) -> None:
        for pod in self._pods.by_index(NODE_INDEX, meta.name(node)):
            self.enqueue(pod)

    def _pod_added(self, pod: JsonObject) -> None:
        node = self._node(pod)
        if node is not None and evicting(node):
            self.enqueue(pod)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
        before, after = meta.spec(old), meta.spec(new)
        if before.get("nodeName") != after.get("nodeName") or before.get("tolerations") != after.get("tolerations"):
            self._pod_added(new)

    def _pod_deleted(self, pod: JsonObject) -> None:
        self._waiting.pop(meta.key(pod), None)

    def _node(self, pod: JsonObject) -> JsonObject | None:
        name = meta.spec(pod).get("nodeName")
        return self._nodes.get(name) if name else None

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get(key)
        node = self._node(pod) if pod is not None else None
        if pod is None or node is None or meta.is_deleting(pod) or podlib.is_terminal(pod):
            self._waiting.pop(key, None)
            return None
        at = eviction_time(pod, self._timed(node))
        if at is None:
            if key in self._waiting:
                del self._waiting[key]
                self.events.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        left_s = at - self.host.clock.now()
        if left_s > 0:
            self._waiting[key] = None
            return left_s
        self._waiting.pop(key, None)
        self.events.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        await self._delete(pod)
        return None

    async def _delete(self, pod: JsonObject) -> None:
        message = "Taint manager: deleting due to NoExecute taint"
        now = rfc3339(self.host.clock.now())
        new = conditions.make("DisruptionTarget", True, now, "DeletionByTaintManager", message)
        writer, name, namespace = self.writer(PODS), meta.name(pod), meta.namespace(pod)
        try:
            await podlib.write_conditions(writer, pod, [podlib.condition(pod, new)])
            await writer.delete(name, namespace=namespace, uid=meta.uid(pod))
        except ApiError as error:
            if error.code not in (404, 409):
                raise


def _identity(taint: JsonObject) -> tuple[str, str]:
    return str(taint.get("key", "")), str(taint.get("value") or "")


def evicting(node: JsonObject) -> list[JsonObject]:
    return [each for each in meta.spec(node).get("taints") or () if each.get("effect") == taints.NO_EXECUTE]


def eviction_time(pod: JsonObject, found: list[JsonObject]) -> float | None:
    """When the pod must go, Unix seconds, 0 for at once; None when it may stay for ever."""
    tolerations = meta.spec(pod).get("tolerations") or []
    times: list[float] = []
    for taint in found:
        toleration = next((each for each in tolerations if taints.tolerates(each, taint)), None)
        if toleration is None:
            return 0.0
        seconds = toleration.get("tolerationSeconds")
        if seconds is not None:
            times.append(_since(pod, taint) + max(0, int(seconds)))
    return min(times) if times else None


def _since(pod: JsonObject, taint: JsonObject) -> float:
    """The later of when the taint came and when the pod came to the node."""
    stamps = [
        taint.get("timeAdded"),
        meta.status(pod).get("startTime") or meta.metadata(pod).get("creationTimestamp"),
    ]
    return max((parse_rfc3339(stamp) for stamp in stamps if stamp), default=0.0)
