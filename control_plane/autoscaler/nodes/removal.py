"""Taking a node away: taint it, evict its pods, have the provider delete it. On failure it stays, untainted.

Upstream: core/scaledown/actuation (actuator.go, drain.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from argosy import logs
from argosy.client import Resource
from argosy.events import EventRecorder
from argosy.host import Host
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.autoscaler.nodes import drain
from control_plane.autoscaler.nodes.drain import Budgets
from control_plane.autoscaler.nodes.provider import NodeProvider, ProviderError
from control_plane.autoscaler.nodes.scale_down import Unneeded
from control_plane.autoscaler.nodes.settings import Settings
from control_plane.autoscaler.nodes.simulation import TO_BE_DELETED

log = logs.get("autoscaler.nodes")

EVICTION_RETRY_S: Final = 10.0
GONE_POLL_S: Final = 5.0
POD_GONE_HEADROOM_S: Final = 30.0
TAINT_TRIES: Final = 5


class RemovalError(Exception):
    """The node stays; the message says why."""


async def set_taint(nodes: Resource, name: str, key: str, value: str | None, effect: str) -> None:
    """Add the taint, or take it off (`value` None); other taints stay. Raises ApiError."""
    for attempt in range(TAINT_TRIES):
        node = await nodes.get(name)
        before = meta.spec(node).get("taints") or []
        kept = [taint for taint in before if taint.get("key") != key]
        if value is None and len(kept) == len(before):
            return
        if value is not None and len(kept) < len(before):
            return
        added = [] if value is None else [{"key": key, "value": value, "effect": effect}]
        try:
            await nodes.update({**node, "spec": {**meta.spec(node), "taints": [*kept, *added]}})
            return
        except ApiError as error:
            if error.reason != "Conflict" or attempt == TAINT_TRIES - 1:
                raise


class Removal:
    """One node's way out. `run` gives whether it went."""

    def __init__(
        self,
        item: Unneeded,
        *,
        provider: NodeProvider,
        nodes: Resource,
        pods: Resource,
        pods_on: Callable[[str], Iterable[JsonObject]],
        budgets: Callable[[], Budgets],
        recorder: EventRecorder,
        log_object: JsonObject,
        host: Host,
        settings: Settings,
    ) -> None:
        """`pods_on` gives what the cache holds of a node; `log_object` is what events on the whole are about."""
        self._item = item
        self._provider = provider
        self._nodes = nodes
        self._pods = pods
        self._pods_on = pods_on
        self._budgets = budgets
        self._recorder = recorder
        self._log_object = log_object
        self._host = host
        self._settings = settings

    async def run(self) -> bool:
        item, kind = self._item, "delete empty" if self._item.move.empty else "drain and delete"
        self._say_begin()
        try:
            await self._taint()
            await asyncio.sleep(self._settings.node_delete_delay_after_taint)
            self._check_again()
            if not item.move.empty or self._settings.daemonset_eviction_for_empty_nodes:
                await self._drain()
            await self._provider.delete_nodes(item.group, [item.name])
        except (RemovalError, ProviderError, ApiError) as error:
            said = error.message if isinstance(error, ApiError | ProviderError) else str(error)
            self._recorder.event(item.node, "Warning", "ScaleDownFailed", f"failed to {kind} node: {said}")
            log.warning("a node was not removed", node=item.name, error=said)
            await self._untaint()
            return False
        self._say_end()
        return True

    def _say_begin(self) -> None:
        item = self._item
        if item.move.empty:
            text, reason = f'Scale-down: removing empty node "{item.name}"', "ScaleDownEmpty"
        else:
            names = ",".join(meta.name(pod) for pod in item.move.pods)
            text = f"Scale-down: removing node {item.name}, utilization: {item.utilization:.3f}, "
            text, reason = f"{text}pods to reschedule: {names}", "ScaleDown"
        self._recorder.event(self._log_object, "Normal", reason, text)

    def _say_end(self) -> None:
        item = self._item
        self._recorder.event(item.node, "Normal", "ScaleDown", "node removed by cluster autoscaler")
        if item.move.empty:
            text, reason = f"Scale-down: empty node {item.name} removed", "ScaleDownEmpty"
        else:
            text, reason = f"Scale-down: node {item.name} removed with drain", "ScaleDown"
        self._recorder.event(self._log_object, "Normal", reason, text)

    async def _taint(self) -> None:
        name = self._item.name
        try:
            await set_taint(self._nodes, name, TO_BE_DELETED, str(int(self._host.clock.now())), "NoSchedule")
        except ApiError as error:
            raise RemovalError(f"failed to mark the node as toBeDeleted/unschedulable: {error.message}") from None
        self._recorder.event(self._item.node, "Normal", "ScaleDown", "marked the node as toBeDeleted/unschedulable")

    async def _untaint(self) -> None:
        try:
            await set_taint(self._nodes, self._item.name, TO_BE_DELETED, None, "")
        except ApiError as error:
            log.warning("a taint was not taken off", node=self._item.name, error=error.message)

    def _check_again(self) -> None:
        """Between the decision and the taint a pod may have come that nobody looked for a place for."""
        known = {meta.uid(pod) for pod in self._item.move.pods}
        found = drain.move(self._pods_on(self._item.name), self._budgets(), self._settings)
        if found.blocking is not None:
            reason, pod = found.blocking.reason.value, meta.key(found.blocking.pod)
            raise RemovalError(f"pod {pod} must stay: {reason}")
        for come in found.pods:
            if meta.uid(come) not in known and not meta.is_deleting(come):
                raise RemovalError(f"pod {meta.key(come)} has come to it")

    async def _drain(self) -> None:
        """Raises RemovalError when a pod cannot be evicted in time, or does not end."""
        there = [pod for pod in self._item.move.pods if self._still(pod)]
        daemons = self._item.move.daemons if self._settings.daemonset_eviction_for_occupied_nodes else []
        deadline_s = self._host.clock.monotonic() + self._settings.max_pod_eviction_time
        results = await asyncio.gather(
            *(self._evict(pod, deadline_s) for pod in there if not meta.is_deleting(pod)), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        await asyncio.gather(*(self._evict(pod, 0.0) for pod in daemons), return_exceptions=True)
        await self._wait_gone(there)

    async def _evict(self, pod: JsonObject, deadline_s: float) -> None:
        grace_s = meta.spec(pod).get("terminationGracePeriodSeconds", 30)
        eviction: JsonObject = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta.name(pod), "namespace": meta.namespace(pod)},
            "deleteOptions": {
                "gracePeriodSeconds": min(int(grace_s), int(self._settings.max_graceful_termination_sec)),
                "preconditions": {"uid": meta.uid(pod)},
            },
        }
        while True:
            try:
                await self._pods.create(
                    eviction, namespace=meta.namespace(pod), name=meta.name(pod), subresource="eviction"
                )
            except ApiError as error:
                if error.code == 404 or not self._still(pod):
                    return
                if self._host.clock.monotonic() + EVICTION_RETRY_S >= deadline_s:
                    self._recorder.event(pod, "Warning", "ScaleDownFailed", "failed to delete pod for ScaleDown")
                    said = f"failed to evict pod {meta.key(pod)} within allowed timeout (last error: {error.message})"
                    raise RemovalError(said) from None
                await asyncio.sleep(EVICTION_RETRY_S)
            else:
                self._recorder.event(pod, "Normal", "ScaleDown", "deleting pod for node scale down")
                return

    async def _wait_gone(self, pods: list[JsonObject]) -> None:
        longest_s = max((int(meta.spec(pod).get("terminationGracePeriodSeconds", 30)) for pod in pods), default=0)
        limit_s = min(float(longest_s), self._settings.max_graceful_termination_sec) + POD_GONE_HEADROOM_S
        deadline_s = self._host.clock.monotonic() + limit_s
        poll_s = min(GONE_POLL_S, self._settings.scan_interval / 2)
        while left := [pod for pod in pods if self._still(pod)]:
            if self._host.clock.monotonic() >= deadline_s:
                names = ", ".join(meta.key(pod) for pod in left)
                raise RemovalError(f"pods remaining after timeout: {names}")
            await asyncio.sleep(poll_s)

    def _still(self, pod: JsonObject) -> bool:
        return any(meta.uid(other) == meta.uid(pod) for other in self._pods_on(self._item.name))
