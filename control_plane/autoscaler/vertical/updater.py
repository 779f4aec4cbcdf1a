"""The updater: resizes pods whose requests are far from what is recommended, or evicts them, so that new ones get it.

It goes through the eviction subresource, so PodDisruptionBudgets hold, and leaves most pods of a workload alone at
any time. InPlaceOrRecreate evicts what cannot be resized, or not in time. Source: VPA `pkg/updater`.
"""

from __future__ import annotations

import asyncio

from argosy import logs
from argosy.client import PatchType
from argosy.controller import LABEL_INDEX, Context, Controller, Loop, by_labels
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.selection import selected
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.targets import UnknownKind, resource_of
from control_plane.autoscaler.vertical.admission import mode_of, recommendations, resize
from control_plane.autoscaler.vertical.admitter import is_admitting
from control_plane.autoscaler.vertical.model import matching
from control_plane.autoscaler.vertical.recommender import AUTOSCALERS, PODS
from control_plane.autoscaler.vertical.targets import selector_of
from control_plane.autoscaler.vertical.updating import (
    InPlace,
    evictable,
    in_place,
    is_disruptive,
    priority,
    should_update,
)

log = logs.get("autoscaler.updater")

IN_PLACE = "InPlaceOrRecreate"
EVICTING = ("Recreate", IN_PLACE)
RESIZED = "vpaInPlaceUpdated"
"""The annotation of pods that were resized here."""


class Updater(Controller[Config]):
    name = "vpa-updater"
    watches = (AUTOSCALERS, PODS)
    writes = (PODS,)

    def __init__(self, context: Context[Config]) -> None:
        super().__init__(context)
        self._autoscalers = self.informer(AUTOSCALERS)
        self._pods = self.informer(PODS)
        self._pods.add_index(LABEL_INDEX, by_labels)

    async def reconcile(self, key: str) -> float | None:
        return None

    def loops(self) -> tuple[Loop, ...]:
        return (self._update,)

    async def _update(self) -> None:
        while True:
            await asyncio.sleep(self.config.updater_interval)
            if not await self._may_evict():
                continue
            for autoscaler in list(self._autoscalers.list()):
                if mode_of(autoscaler) not in EVICTING or meta.is_deleting(autoscaler):
                    continue
                try:
                    await self._one(autoscaler)
                except (ApiError, UnknownKind) as error:
                    log.warning("pods could not be updated", autoscaler=meta.key(autoscaler), error=error)

    async def _may_evict(self) -> bool:
        try:
            admitting = await is_admitting(self._client, self.host.clock)
        except ApiError as error:
            log.warning("it cannot be told whether new pods get what is recommended", error=error.message)
            return False
        if not admitting and any(mode_of(item) in EVICTING for item in self._autoscalers.list()):
            log.warning("nothing is evicted: the admission webhook is not there")
        return admitting

    async def _one(self, autoscaler: JsonObject) -> None:
        found = recommendations(autoscaler)
        if not found:
            return
        selector = await selector_of(self._client, autoscaler)
        pods = matching(selected(self._pods, meta.namespace(autoscaler), selector))
        now_s = self.host.clock.now()
        ranked = [(priority(pod, found), pod) for pod in pods]
        chosen = [(rank, pod) for rank, pod in ranked if should_update(pod, rank, now_s)]
        if not chosen:
            return
        chosen.sort(key=lambda item: item[0].rank, reverse=True)
        running = sum(1 for pod in pods if conditions.is_true(pod, "Ready"))
        policy = meta.spec(autoscaler).get("updatePolicy") or {}
        least = int(policy.get("minReplicas") or self.config.vpa_min_replicas)
        wanted = await self._wanted(autoscaler, len(pods))
        left = evictable(wanted, running, 0, self.config.vpa_eviction_tolerance, least)
        pods = [pod for _, pod in chosen]
        if mode_of(autoscaler) == IN_PLACE:
            pods = await self._resize_some(autoscaler, pods, left)
        for pod in pods:
            if left <= 0:
                break
            # What a budget refuses takes no place: it may let another pod go.
            left -= await self._evict(autoscaler, pod)

    async def _resize_some(self, autoscaler: JsonObject, pods: list[JsonObject], left: int) -> list[JsonObject]:
        """Resize those that can be; gives those that are to be evicted. At most `left` may be away together."""
        evicted: list[JsonObject] = []
        disrupted = 0
        now_s = self.host.clock.now()
        for pod in pods:
            spared = self.config.in_place_skip_disruption_budget and not is_disruptive(pod)
            step = in_place(pod, now_s, disruptable=disrupted < left or spared)
            if step is InPlace.RESIZE and await self._resize(autoscaler, pod):
                disrupted += not spared
            elif step is not InPlace.WAIT and disrupted < left:
                evicted.append(pod)
                disrupted += 1
        return evicted

    async def _resize(self, autoscaler: JsonObject, pod: JsonObject) -> bool:
        """False when the pod can only be made anew. Raises ApiError when it may be resized yet."""
        change = resize(pod, autoscaler)
        if change is None:
            return False
        try:
            await self._patch(pod, change, "resize")
        except ApiError as error:
            if error.code == 404:
                return True
            if error.code not in (400, 403, 422):
                raise
            log.info("a pod cannot be resized, it is evicted", pod=meta.key(pod), error=error.message)
            return False
        self.events.event(pod, "Normal", "InPlaceResizedByVPA", "Pod was resized in place by VPA Updater.")
        note = {"metadata": {"uid": meta.uid(pod), "annotations": {RESIZED: "true"}}}
        try:
            await self._patch(pod, note)
        except ApiError as error:
            log.warning("a resized pod was not annotated", pod=meta.key(pod), error=error.message)
        return True

    async def _patch(self, pod: JsonObject, change: JsonObject, subresource: str = "") -> None:
        """Raises ApiError."""
        await self.writer(PODS).patch(
            meta.name(pod),
            change,
            namespace=meta.namespace(pod),
            type=PatchType.STRATEGIC,
            subresource=subresource,
        )

    async def _wanted(self, autoscaler: JsonObject, there: int) -> int:
        """The target's replicas; the pods there are where it has none, such as a DaemonSet."""
        reference = meta.spec(autoscaler)["targetRef"]
        resource = await resource_of(self._client, reference)
        target = await resource.get(str(reference["name"]), namespace=meta.namespace(autoscaler))
        replicas = meta.spec(target).get("replicas")
        return int(replicas) if isinstance(replicas, int) else there

    async def _evict(self, autoscaler: JsonObject, pod: JsonObject) -> bool:
        """Whether it goes. Raises ApiError."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta.name(pod), "namespace": meta.namespace(pod)},
        }
        try:
            await self.writer(PODS).create(
                eviction, namespace=meta.namespace(pod), name=meta.name(pod), subresource="eviction"
            )
        except ApiError as error:
            if error.code == 429:
                log.info("a budget does not allow an eviction now", pod=meta.key(pod))
                return False
            if error.code == 404:
                return True
            raise
        message = "Pod was evicted by VPA Updater to apply resource recommendation."
        self.events.event(pod, "Normal", "EvictedByVPA", message)
        self.events.event(autoscaler, "Normal", "EvictedPod", f"VPA Updater evicted Pod {meta.name(pod)}")
        return True
