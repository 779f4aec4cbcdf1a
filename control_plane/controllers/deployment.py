"""Deployment: moves pods from old templates to the present one by scaling ReplicaSets.

Upstream: `pkg/controller/deployment/`. The arithmetic is in deployment_math.py, the conditions in
deployment_status.py; here are the reads and writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from argosy.objects import conditions, generate, meta, selectors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import deployment_math as math
from control_plane.controllers import deployment_status as progress
from control_plane.controllers import pods
from control_plane.controllers.base import (
    CONTROLLER_INDEX,
    DEPLOYMENTS,
    ORPHAN_INDEX,
    PODS,
    REPLICA_SETS,
    Context,
    Controller,
    ResourceName,
    by_controller,
    by_orphanhood,
)
from control_plane.controllers.ownership import claim, owner_in
from control_plane.controllers.replicaset import namespace_terminating, selector_of, without_zeros


class DeploymentController(Controller):
    name = "deployment-controller"
    watches = (DEPLOYMENTS, REPLICA_SETS, PODS)
    writes = (DEPLOYMENTS, REPLICA_SETS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._deployments = self.informer(DEPLOYMENTS)
        self._sets = self.informer(REPLICA_SETS)
        self._pods = self.informer(PODS)
        self._sets.add_index(CONTROLLER_INDEX, by_controller)
        self._sets.add_index(ORPHAN_INDEX, by_orphanhood)
        self._pods.add_index(CONTROLLER_INDEX, by_controller)
        self.enqueue_changes(self._deployments)
        self._sets.add_handler(added=self._set_changed, updated=self._set_updated, deleted=self._set_changed)
        self._pods.add_handler(updated=self._pod_updated, deleted=self._pod_gone)

    @property
    def workers(self) -> int:
        return self.config.concurrent_deployment_syncs

    # Changes become keys.

    def _owner(self, replica_set: JsonObject) -> JsonObject | None:
        return owner_in(self._deployments, "Deployment", replica_set)

    def _set_changed(self, replica_set: JsonObject) -> None:
        owner = self._owner(replica_set)
        if owner is not None:
            self.enqueue(owner)
        elif meta.controller_of(replica_set) is None:
            labels = meta.labels(replica_set)
            for deployment in self._deployments.list(meta.namespace(replica_set)) if labels else ():
                if selector_of(deployment).matches(labels):
                    self.enqueue(deployment)

    def _set_updated(self, old: JsonObject, new: JsonObject) -> None:
        before = self._owner(old)
        if before is not None:
            self.enqueue(before)
        self._set_changed(new)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
        if pods.is_terminal(new) and not pods.is_terminal(old):
            self._pod_gone(new)

    def _pod_gone(self, pod: JsonObject) -> None:
        """A Recreate deployment waits for the old pods' end; no ReplicaSet changes when the last one goes."""
        reference = meta.controller_of(pod)
        if reference is None or reference.get("kind") != "ReplicaSet":
            return
        replica_set = self._sets.get(f"{meta.namespace(pod)}/{reference.get('name')}")
        owner = self._owner(replica_set) if replica_set is not None else None
        if owner is not None and math.strategy(owner) == "Recreate":
            self.enqueue(owner)

    # One key.

    async def reconcile(self, key: str) -> float | None:
        deployment = self._deployments.get(key)
        if deployment is None:
            return None
        selector = selectors.from_object(meta.spec(deployment).get("selector"))
        if selector.everything or selector.nothing:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self.events.event(deployment, "Warning", "SelectingAll", message)
            await self._observe(deployment)
            return None
        sets = await self._claim(deployment, selector)
        if meta.is_deleting(deployment):
            return await self._write_status(deployment, sets, math.split(deployment, sets)[0], rollout=False)
        condition = progress.paused_condition(deployment, self.host.clock.now())
        if condition is not None:
            found = meta.status(deployment).get("conditions") or []
            status = {**meta.status(deployment), "conditions": progress.with_condition(found, condition)}
            await self.writer(DEPLOYMENTS).update_status({**deployment, "status": status})
            return None
        if meta.spec(deployment).get("paused") or math.is_scaling_event(deployment, sets):
            return await self._rescale(deployment, sets)
        if math.is_rolling(deployment):
            return await self._roll(deployment, sets)
        return await self._recreate(deployment, sets)

    async def _observe(self, deployment: JsonObject) -> None:
        status, generation = meta.status(deployment), meta.generation(deployment)
        if int(status.get("observedGeneration", 0)) < generation:
            seen = {**status, "observedGeneration": generation}
            await self.writer(DEPLOYMENTS).update_status({**deployment, "status": seen})

    async def _claim(self, deployment: JsonObject, selector: selectors.Selector) -> list[JsonObject]:
        candidates = self._sets.by_index(CONTROLLER_INDEX, meta.uid(deployment))
        candidates += self._sets.by_index(ORPHAN_INDEX, meta.namespace(deployment))
        return await claim(deployment, selector, candidates, self.reader(DEPLOYMENTS), self.writer(REPLICA_SETS))

    async def _rescale(self, deployment: JsonObject, sets: list[JsonObject]) -> float | None:
        """A changed number of replicas, or a paused deployment: sizes change, templates don't."""
        new, old = math.split(deployment, sets)
        if new is not None:
            deployment, new = await self._bring_up_to_date(deployment, new, old)
            sets = [*old, new]
        for step in math.rescale(deployment, new, old):
            sets = await self._scale(deployment, sets, step)
        if meta.spec(deployment).get("paused"):
            await self._trim_history(deployment, old)
        return await self._write_status(deployment, sets, new, rollout=False)

    async def _roll(self, deployment: JsonObject, sets: list[JsonObject]) -> float | None:
        ensured = await self._ensure_new(deployment, sets)
        if ensured is None:
            return None
        deployment, new, sets = ensured
        target = math.wanted(deployment)
        size = target if math.wanted(new) > target else math.new_set_replicas(deployment, sets, new)
        if size != math.wanted(new):
            sets = await self._scale(deployment, sets, math.Scale(new, size))
            return await self._write_status(deployment, sets, new)
        steps = math.scale_down_old(deployment, sets, new)
        for step in steps:
            sets = await self._scale(deployment, sets, step)
        if not steps and progress.is_rolled_out(deployment):
            await self._trim_history(deployment, [each for each in sets if meta.uid(each) != meta.uid(new)])
        return await self._write_status(deployment, sets, new)

    async def _recreate(self, deployment: JsonObject, sets: list[JsonObject]) -> float | None:
        """First all old pods go, to the last process; then the new ones come."""
        new, old = math.split(deployment, sets)
        leaving = math.active(old)
        for each in leaving:
            sets = await self._scale(deployment, sets, math.Scale(each, 0))
        if leaving or self._old_pods_run(old):
            return await self._write_status(deployment, sets, new)
        ensured = await self._ensure_new(deployment, sets)
        if ensured is None:
            return None
        deployment, new, sets = ensured
        if math.wanted(new) != math.wanted(deployment):
            sets = await self._scale(deployment, sets, math.Scale(new, math.wanted(deployment)))
        elif progress.is_rolled_out(deployment):
            await self._trim_history(deployment, old)
        return await self._write_status(deployment, sets, new)

    def _old_pods_run(self, old: Sequence[JsonObject]) -> bool:
        """Pods that are being deleted still run."""
        return any(
            not pods.is_terminal(pod) for each in old for pod in self._pods.by_index(CONTROLLER_INDEX, meta.uid(each))
        )

    # The new ReplicaSet. Each step gives the deployment as it is after its own writes.

    async def _ensure_new(
        self, deployment: JsonObject, sets: list[JsonObject]
    ) -> tuple[JsonObject, JsonObject, list[JsonObject]] | None:
        """(deployment, ReplicaSet of the present template, all sets); None when there can be none yet."""
        new, old = math.split(deployment, sets)
        if new is None:
            made = await self._create(deployment, sets, old)
            if made is None:
                return None
            deployment, new = made
        deployment, new = await self._bring_up_to_date(deployment, new, old)
        return deployment, new, [*old, new]

    async def _bring_up_to_date(
        self, deployment: JsonObject, new: JsonObject, old: list[JsonObject]
    ) -> tuple[JsonObject, JsonObject]:
        """Revision, copied annotations and minReadySeconds; the deployment's own revision with them."""
        newest = max((math.revision(each) for each in old), default=0) + 1
        annotations = math.new_set_annotations(deployment, new, newest)
        change: JsonObject = {}
        if annotations != meta.annotations(new):
            change["metadata"] = {"annotations": annotations}
        ready_s = int(meta.spec(deployment).get("minReadySeconds", 0))
        if ready_s != int(meta.spec(new).get("minReadySeconds", 0)):
            change["spec"] = {"minReadySeconds": ready_s}
        if change:
            new = await self._patch(REPLICA_SETS, new, change)
        revision = annotations[math.REVISION]
        if meta.annotations(deployment).get(math.REVISION) != revision:
            change = {"metadata": {"annotations": {math.REVISION: revision}}}
            deployment = await self._patch(DEPLOYMENTS, deployment, change)
        if conditions.get(deployment, "Progressing") is None:
            message = f'Found new replica set "{meta.name(new)}"'
            deployment = await self._note_progress(deployment, True, "FoundNewReplicaSet", message)
        return deployment, new

    async def _create(
        self, deployment: JsonObject, sets: Sequence[JsonObject], old: Sequence[JsonObject]
    ) -> tuple[JsonObject, JsonObject] | None:
        made = self._new_set(deployment, sets, old)
        name = meta.name(made)
        try:
            created = await self.writer(REPLICA_SETS).create(made)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return await self._taken(deployment, made)
            if namespace_terminating(error):
                return None
            message = f'Failed to create new replica set "{name}": {error.message}'
            self.events.event(deployment, "Warning", "ReplicaSetCreateError", message)
            await self._note_progress(deployment, False, "ReplicaSetCreateError", message)
            raise
        if math.wanted(created):
            message = f"Scaled up replica set {name} from 0 to {math.wanted(created)}"
            self.events.event(deployment, "Normal", "ScalingReplicaSet", message)
        message = f'Created new replica set "{name}"'
        return await self._note_progress(deployment, True, "NewReplicaSetCreated", message), created

    def _new_set(self, deployment: JsonObject, sets: Sequence[JsonObject], old: Sequence[JsonObject]) -> JsonObject:
        spec = meta.spec(deployment)
        template = spec["template"]
        hash_ = generate.template_hash(template, int(meta.status(deployment).get("collisionCount", 0)))
        source = template.get("metadata") or {}
        labels = {**(source.get("labels") or {}), math.TEMPLATE_HASH: hash_}
        selector = spec["selector"]
        match_labels = {**(selector.get("matchLabels") or {}), math.TEMPLATE_HASH: hash_}
        newest = max((math.revision(each) for each in old), default=0) + 1
        return {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta.name(deployment)}-{hash_}",
                "namespace": meta.namespace(deployment),
                "labels": labels,
                "annotations": math.new_set_annotations(deployment, None, newest),
                "ownerReferences": [meta.owner_reference(deployment)],
            },
            "spec": {
                "replicas": math.new_set_replicas(deployment, sets, None),
                "minReadySeconds": int(spec.get("minReadySeconds", 0)),
                "selector": {**selector, "matchLabels": match_labels},
                "template": {**template, "metadata": {**source, "labels": labels}},
            },
        }

    async def _taken(self, deployment: JsonObject, made: JsonObject) -> tuple[JsonObject, JsonObject] | None:
        """The wanted name exists: ours that the cache does not show yet, or another template's with the same hash."""
        found = await self.reader(REPLICA_SETS).get(meta.name(made), namespace=meta.namespace(made))
        owner = meta.controller_of(found)
        ours = owner is not None and owner.get("uid") == meta.uid(deployment)
        if ours and math.same_template(meta.spec(found)["template"], meta.spec(made)["template"]):
            return deployment, found
        status = dict(meta.status(deployment))
        status["collisionCount"] = int(status.get("collisionCount", 0)) + 1
        await self.writer(DEPLOYMENTS).update_status({**deployment, "status": status})
        return None

    # Writes.

    async def _scale(self, deployment: JsonObject, sets: list[JsonObject], step: math.Scale) -> list[JsonObject]:
        """`sets` with the scaled one in its place."""
        target, before = step.replica_set, math.wanted(step.replica_set)
        annotations = math.replica_annotations(deployment)
        shown = meta.annotations(target)
        if before == step.replicas and all(shown.get(key) == text for key, text in annotations.items()):
            return sets
        change = {"metadata": {"annotations": annotations}, "spec": {"replicas": step.replicas}}
        scaled = await self._patch(REPLICA_SETS, target, change)
        if before != step.replicas:
            direction = "up" if step.replicas > before else "down"
            message = f"Scaled {direction} replica set {meta.name(target)} from {before} to {step.replicas}"
            self.events.event(deployment, "Normal", "ScalingReplicaSet", message)
        return [scaled if meta.uid(each) == meta.uid(target) else each for each in sets]

    async def _patch(self, resource: ResourceName, obj: JsonObject, change: JsonObject) -> JsonObject:
        """A merge patch of exactly the version that was looked at. Raises ApiError Conflict."""
        version = {"uid": meta.uid(obj), "resourceVersion": meta.resource_version(obj)}
        change = {**change, "metadata": {**(change.get("metadata") or {}), **version}}
        return await self.writer(resource).patch(meta.name(obj), change, namespace=meta.namespace(obj))

    async def _trim_history(self, deployment: JsonObject, old: Sequence[JsonObject]) -> None:
        async def delete(each: JsonObject) -> None:
            try:
                await self.writer(REPLICA_SETS).delete(
                    meta.name(each),
                    namespace=meta.namespace(each),
                    uid=meta.uid(each),
                    resource_version=meta.resource_version(each),
                )
            except ApiError as error:
                if error.code != 404:
                    raise

        await asyncio.gather(*(delete(each) for each in math.expired_history(deployment, old)))

    async def _note_progress(self, deployment: JsonObject, status: bool, reason: str, message: str) -> JsonObject:
        if progress.deadline_s(deployment) is None:
            return deployment
        made = progress.condition("Progressing", status, reason, message, self.host.clock.now())
        old = meta.status(deployment).get("conditions") or []
        found = progress.with_condition(old, made)
        if found == old:
            return deployment
        new = {**meta.status(deployment), "conditions": found}
        return await self.writer(DEPLOYMENTS).update_status({**deployment, "status": new})

    async def _write_status(
        self, deployment: JsonObject, sets: Sequence[JsonObject], new: JsonObject | None, *, rollout: bool = True
    ) -> float | None:
        now = self.host.clock.now()
        build = progress.rollout if rollout else progress.counts
        status = build(deployment, sets, new, now)
        if without_zeros(status) != without_zeros(meta.status(deployment)):
            await self.writer(DEPLOYMENTS).update_status({**deployment, "status": status})
        return progress.check_again_s(deployment, status, now)
