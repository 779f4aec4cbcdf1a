"""The recommender: reads what pods use, period by period, and writes what they should request.

Source: VPA `pkg/recommender/routines`. What it has counted is kept in checkpoints, so that a new leader goes on.
"""

from __future__ import annotations

import asyncio
from typing import Final

from argosy import logs
from argosy.controller import LABEL_INDEX, Context, Controller, Loop, ResourceName, by_labels
from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.selection import selected
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.pods.sources import RESOURCE_METRICS
from control_plane.autoscaler.statuses import write_status
from control_plane.autoscaler.targets import UnknownKind
from control_plane.autoscaler.vertical import definitions
from control_plane.autoscaler.vertical.model import Model, checkpoint_name, checkpoint_status, matching, restore
from control_plane.autoscaler.vertical.recommendation import container_recommendation, recommend
from control_plane.autoscaler.vertical.targets import selector_of
from control_plane.autoscaler.vertical.usage import Aggregate

log = logs.get("autoscaler.recommender")

PODS: Final = ResourceName("", "v1", "pods")
AUTOSCALERS: Final = ResourceName(definitions.GROUP, definitions.VERSION, "verticalpodautoscalers")
CHECKPOINTS: Final = ResourceName(definitions.GROUP, definitions.VERSION, "verticalpodautoscalercheckpoints")


class Recommender(Controller[Config]):
    name = "vpa-recommender"
    watches = (AUTOSCALERS, PODS)
    writes = (AUTOSCALERS, CHECKPOINTS)

    def __init__(self, context: Context[Config]) -> None:
        super().__init__(context)
        self._autoscalers = self.informer(AUTOSCALERS)
        self._pods = self.informer(PODS)
        self._pods.add_index(LABEL_INDEX, by_labels)
        self._model = Model()
        self._restored: set[str] = set()

    async def reconcile(self, key: str) -> float | None:
        return None

    def loops(self) -> tuple[Loop, ...]:
        return (self._recommend,)

    async def _recommend(self) -> None:
        while True:
            begun_s = self.host.clock.monotonic()
            await self._round()
            left_s = begun_s + self.config.recommender_interval - self.host.clock.monotonic()
            await asyncio.sleep(max(0.0, left_s))

    async def _round(self) -> None:
        autoscalers = {meta.key(item): item for item in self._autoscalers.list() if not meta.is_deleting(item)}
        self._model.forget_autoscalers(set(autoscalers))
        self._restored &= set(autoscalers)
        measured = await self._measurements(autoscalers)
        seen: set[str] = set()
        for key, autoscaler in autoscalers.items():
            try:
                await self._one(key, autoscaler, measured, seen)
            except ApiError as error:
                # Another's trouble is no reason to leave the rest without a recommendation.
                log.warning("an autoscaler could not be looked after", autoscaler=key, error=error.message)
        self._model.forget_pods(seen)

    async def _measurements(self, autoscalers: dict[str, JsonObject]) -> dict[str, JsonObject]:
        """PodMetrics by key, of the namespaces that have autoscalers."""
        result: dict[str, JsonObject] = {}
        for namespace in sorted({meta.namespace(item) for item in autoscalers.values()}):
            try:
                found = await self._client.resource(*RESOURCE_METRICS).list(namespace=namespace)
            except ApiError as error:
                log.warning("there are no metrics", namespace=namespace, error=error.message)
                continue
            result.update((meta.key(item), item) for item in found.items)
        return result

    async def _one(self, key: str, autoscaler: JsonObject, measured: dict[str, JsonObject], seen: set[str]) -> None:
        if key not in self._restored:
            await self._restore(key, autoscaler)
        status = meta.status(autoscaler)
        said = list(status.get("conditions") or ())
        try:
            selector = await selector_of(self._client, autoscaler)
        except UnknownKind as error:
            said = self._say(said, "ConfigUnsupported", True, str(error))
            await write_status(self.writer(AUTOSCALERS), autoscaler, {**status, "conditions": said})
            return
        said = conditions.without(said, "ConfigUnsupported")
        pods = matching(selected(self._pods, meta.namespace(autoscaler), selector))
        for pod in pods:
            seen.add(meta.uid(pod))
            self._model.observe_ends(key, pod)
            if meta.key(pod) in measured:
                self._model.observe(key, pod, measured[meta.key(pod)])
        said = self._say(said, "NoPodsMatched", not pods, "" if pods else "No pods match this VPA object")
        names = self._model.containers_of(key)
        found = [item for name in names if (item := self._recommended(key, name, len(names), autoscaler)) is not None]
        said = self._say(said, "RecommendationProvided", bool(found), "")
        new: JsonObject = {"conditions": said}
        if found:
            new["recommendation"] = {"containerRecommendations": found}
        elif "recommendation" in status:
            new["recommendation"] = status["recommendation"]
        await write_status(self.writer(AUTOSCALERS), autoscaler, new)
        for name in names:
            await self._save(autoscaler, name)

    def _recommended(self, key: str, name: str, containers: int, autoscaler: JsonObject) -> JsonObject | None:
        found = recommend(self._model.aggregate(key, name), containers)
        return container_recommendation(name, found, meta.spec(autoscaler))

    def _say(self, said: list[JsonObject], type_: str, status: bool, message: str) -> list[JsonObject]:
        if (
            not status
            and conditions.get({"status": {"conditions": said}}, type_) is None
            and type_ == "NoPodsMatched"
        ):
            return said
        reason = "NoPodsMatched" if type_ == "NoPodsMatched" and status else ""
        made = conditions.make(type_, status, rfc3339(self.host.clock.now()), reason, message)
        return conditions.with_condition(said, made)

    async def _restore(self, key: str, autoscaler: JsonObject) -> None:
        """Take over what an earlier leader counted. Raises ApiError."""
        found = await self.reader(CHECKPOINTS).list(namespace=meta.namespace(autoscaler))
        for checkpoint in found.items:
            spec = meta.spec(checkpoint)
            if spec.get("vpaObjectName") != meta.name(autoscaler):
                continue
            aggregate = Aggregate()
            try:
                restore(aggregate, meta.status(checkpoint))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning("a checkpoint cannot be used", checkpoint=meta.key(checkpoint), error=error)
                continue
            self._model.aggregates[key, str(spec.get("containerName"))] = aggregate
        self._restored.add(key)

    async def _save(self, autoscaler: JsonObject, container: str) -> None:
        status = checkpoint_status(self._model.aggregate(meta.key(autoscaler), container), self.host.clock.now())
        name = checkpoint_name(meta.name(autoscaler), container)
        owner = {
            "apiVersion": f"{definitions.GROUP}/{definitions.VERSION}",
            "kind": "VerticalPodAutoscaler",
            "name": meta.name(autoscaler),
            "uid": meta.uid(autoscaler),
        }
        wanted: JsonObject = {
            "apiVersion": f"{definitions.GROUP}/{definitions.VERSION}",
            "kind": "VerticalPodAutoscalerCheckpoint",
            "metadata": {"name": name, "namespace": meta.namespace(autoscaler), "ownerReferences": [owner]},
            "spec": {"vpaObjectName": meta.name(autoscaler), "containerName": container},
        }
        resource = self.writer(CHECKPOINTS)
        try:
            made = await resource.get(name, namespace=meta.namespace(autoscaler))
        except ApiError as error:
            if error.code != 404:
                raise
            made = await resource.create(wanted)
        await resource.update_status({**made, "status": status})
