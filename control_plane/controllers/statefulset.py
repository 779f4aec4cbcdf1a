"""StatefulSet: pods that keep their names, their order and their volumes.

What is to be done is decided in stateful_plan.py; here are the reads and writes. Upstream:
`pkg/controller/statefulset/`.
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import history
from control_plane.controllers import stateful_plan as planning
from control_plane.controllers import stateful_pods as members
from control_plane.controllers.base import (
    CONTROLLER_INDEX,
    CONTROLLER_REVISIONS,
    ORPHAN_INDEX,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
    Context,
    Controller,
    by_controller,
    by_orphanhood,
)
from control_plane.controllers.ownership import claim, owner_in
from control_plane.controllers.replicaset import namespace_terminating, selector_of, slow_start, without_zeros
from control_plane.controllers.stateful_plan import Action, Revisions, Step


class StatefulSetController(Controller):
    name = "statefulset-controller"
    watches = (STATEFUL_SETS, PODS, CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS)
    writes = (STATEFUL_SETS, PODS, CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets = self.informer(STATEFUL_SETS)
        self._pods = self.informer(PODS)
        self._revisions = self.informer(CONTROLLER_REVISIONS)
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        for informer in (self._pods, self._revisions):
            informer.add_index(CONTROLLER_INDEX, by_controller)
            informer.add_index(ORPHAN_INDEX, by_orphanhood)
        self.enqueue_changes(self._sets)
        self._pods.add_handler(added=self._pod_changed, updated=self._pod_updated, deleted=self._pod_changed)
        self._claims.add_handler(deleted=self._claim_gone)

    @property
    def workers(self) -> int:
        return self.config.concurrent_statefulset_syncs

    # Changes become keys.

    def _owner(self, pod: JsonObject) -> JsonObject | None:
        return owner_in(self._sets, "StatefulSet", pod)

    def _pod_changed(self, pod: JsonObject) -> None:
        owner = self._owner(pod)
        if owner is not None:
            self.enqueue(owner)
        elif meta.controller_of(pod) is None:
            # A set may adopt pods of its own names only.
            parent, ordinal = members.parent_and_ordinal(meta.name(pod))
            if ordinal >= 0:
                self._enqueue_named(meta.namespace(pod), parent)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
        before, owner = self._owner(old), self._owner(new)
        if before is not None and (owner is None or meta.uid(before) != meta.uid(owner)):
            self.enqueue(before)
        self._pod_changed(new)

    def _claim_gone(self, gone: JsonObject) -> None:
        """A pod may wait for a claim of a former pod to go. `DATA-SET-0`: either part may have dashes in it."""
        base = members.parent_and_ordinal(meta.name(gone))[0]
        for at, char in enumerate(base):
            if char == "-":
                self._enqueue_named(meta.namespace(gone), base[at + 1 :])

    def _enqueue_named(self, namespace: str, name: str) -> None:
        found = self._sets.get(f"{namespace}/{name}")
        if found is not None:
            self.enqueue(found)

    # One key.

    async def reconcile(self, key: str) -> float | None:
        set_ = self._sets.get(key)
        if set_ is None or self.is_behind(key):
            return None
        selector = selector_of(set_)
        if selector.nothing:
            return None
        pods = await claim(set_, selector, self._candidates(set_), self.reader(STATEFUL_SETS), self.writer(PODS))
        revisions, ordered, collisions = await self._bring_history(set_)
        now = self.host.clock.now()
        plan = planning.plan(set_, revisions, pods, lambda name: self._claim(set_, name), now)
        failure: Exception | None = None
        for steps in plan.phases:
            failure = await self._run(key, set_, steps)
            if failure is not None:
                break
        gone = plan.updating if failure is None else ()
        status = planning.status(set_, revisions, collisions, pods, gone, now)
        if without_zeros(status) != without_zeros(meta.status(set_)):
            await self.writer(STATEFUL_SETS).update_status({**set_, "status": status})
        if failure is not None:
            raise failure
        await self._trim_history(set_, revisions, ordered, pods)
        return planning.next_available_s(set_, pods, now)

    def _candidates(self, set_: JsonObject) -> list[JsonObject]:
        found = self._pods.by_index(CONTROLLER_INDEX, meta.uid(set_))
        return found + [
            pod for pod in self._pods.by_index(ORPHAN_INDEX, meta.namespace(set_)) if members.is_member(set_, pod)
        ]

    def _claim(self, set_: JsonObject, name: str) -> JsonObject | None:
        return self._claims.get(f"{meta.namespace(set_)}/{name}")

    # Revisions.

    async def _bring_history(self, set_: JsonObject) -> tuple[Revisions, list[JsonObject], int]:
        candidates = self._revisions.by_index(CONTROLLER_INDEX, meta.uid(set_))
        candidates += self._revisions.by_index(ORPHAN_INDEX, meta.namespace(set_))
        writer = self.writer(CONTROLLER_REVISIONS)
        known = await claim(set_, selector_of(set_), candidates, self.reader(STATEFUL_SETS), writer)
        collisions = int(meta.status(set_).get("collisionCount") or 0)
        if meta.is_deleting(set_) and known:
            update, ordered = history.in_order(known)[-1], history.in_order(known)
        else:
            update, ordered, collisions = await history.RevisionWriter(writer, history.HASH_LABEL).current(
                set_, known, collisions
            )
        named = meta.status(set_).get("currentRevision")
        current = next((each for each in ordered if meta.name(each) == named), update)
        return Revisions(current, update), ordered, collisions

    async def _trim_history(
        self, set_: JsonObject, revisions: Revisions, ordered: Sequence[JsonObject], pods: Sequence[JsonObject]
    ) -> None:
        limit = int(meta.spec(set_).get("revisionHistoryLimit", 10))
        live = [meta.name(revisions.current), meta.name(revisions.update), *map(members.revision_of, pods)]
        writer = history.RevisionWriter(self.writer(CONTROLLER_REVISIONS), history.HASH_LABEL)
        for each in history.expired(ordered, live, limit):
            await writer.delete(each)

    # Steps.

    async def _run(self, key: str, set_: JsonObject, steps: Sequence[Step]) -> Exception | None:
        """In order one by one, or (Parallel) in batches that grow. Gives the first failure, which ends it."""
        if members.is_parallel(set_):
            waiting = iter(steps)
            _, error = await slow_start(len(steps), lambda: self._do(key, set_, next(waiting)))
            return error
        for step in steps:
            try:
                await self._do(key, set_, step)
            except (ApiError, ClaimBusy) as error:
                return error
        return None

    async def _do(self, key: str, set_: JsonObject, step: Step) -> None:
        pod = step.pod
        match step.action:
            case Action.CREATE:
                await self._create(key, set_, pod)
            case Action.CLAIMS:
                if not meta.is_deleting(pod) and members.in_range(set_, pod):
                    await self._create_claims(set_, pod)
                await self._own_claims(set_, pod)
            case Action.UPDATE:
                await self._update(set_, pod)
            case Action.DELETE:
                await self._delete(set_, pod)

    async def _create(self, key: str, set_: JsonObject, pod: JsonObject) -> None:
        try:
            await self._create_claims(set_, pod)
            created = await self.writer(PODS).create(pod)
        except (ApiError, ClaimBusy) as error:
            if isinstance(error, ApiError):
                if namespace_terminating(error):
                    return
                if error.reason == "AlreadyExists":
                    raise
            self._tell_pod("create", set_, pod, error)
            raise
        self.wrote(key, PODS, created)
        self._tell_pod("create", set_, pod)

    async def _create_claims(self, set_: JsonObject, pod: JsonObject) -> None:
        """Raises ApiError, ClaimBusy."""
        for wanted in members.claims(set_, pod):
            name = meta.name(wanted)
            found = self._claim(set_, name)
            if found is not None:
                if meta.is_deleting(found):
                    raise ClaimBusy(f"pvc {name} is being deleted")
                continue
            try:
                await self.writer(PERSISTENT_VOLUME_CLAIMS).create(wanted)
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    continue
                if not namespace_terminating(error):
                    message = f"create Claim {name} for Pod {meta.name(pod)} in StatefulSet {meta.name(set_)} "
                    self.events.event(set_, "Warning", "FailedCreate", f"{message}failed error: {error.message}")
                raise
            message = f"create Claim {name} Pod {meta.name(pod)} in StatefulSet {meta.name(set_)} success"
            self.events.event(set_, "Normal", "SuccessfulCreate", message)

    async def _own_claims(self, set_: JsonObject, pod: JsonObject) -> None:
        """Owners of the pod's claims by the retention policy."""
        for name in members.claim_names(set_, pod):
            found = self._claim(set_, name)
            owners = None if found is None else members.claim_owners(set_, pod, found)
            if found is None or owners is None:
                continue
            metadata = {
                "uid": meta.uid(found),
                "resourceVersion": meta.resource_version(found),
                "ownerReferences": owners or None,
            }
            await self.writer(PERSISTENT_VOLUME_CLAIMS).patch(
                name, {"metadata": metadata}, namespace=meta.namespace(found)
            )

    async def _update(self, set_: JsonObject, pod: JsonObject) -> None:
        """Puts back what makes the pod a member. Volumes of a pod cannot change: the API refuses, an event tells."""
        change: JsonObject = {}
        if not members.identity_matches(set_, pod):
            labels = members.identity_labels(meta.name(pod), members.ordinal_of(pod))
            change["metadata"] = {"labels": labels}
        if not members.storage_matches(set_, pod):
            change["spec"] = {"volumes": members.volumes(set_, pod)}
        try:
            if "spec" in change:
                await self._create_claims(set_, pod)
            await self._own_claims(set_, pod)
            if not change:
                return
            change["metadata"] = {
                **change.get("metadata", {}),
                "uid": meta.uid(pod),
                "resourceVersion": meta.resource_version(pod),
            }
            await self.writer(PODS).patch(meta.name(pod), change, namespace=meta.namespace(pod))
        except (ApiError, ClaimBusy) as error:
            if not (isinstance(error, ApiError) and error.reason == "Conflict"):
                self._tell_pod("update", set_, pod, error)
            raise
        self._tell_pod("update", set_, pod)

    async def _delete(self, set_: JsonObject, pod: JsonObject) -> None:
        try:
            await self.writer(PODS).delete(meta.name(pod), namespace=meta.namespace(pod), uid=meta.uid(pod))
        except ApiError as error:
            if error.code in (404, 409):
                return
            self._tell_pod("delete", set_, pod, error)
            raise
        self._tell_pod("delete", set_, pod)

    def _tell_pod(self, verb: str, set_: JsonObject, pod: JsonObject, error: Exception | None = None) -> None:
        done = f"{verb} Pod {meta.name(pod)} in StatefulSet {meta.name(set_)}"
        if error is None:
            self.events.event(set_, "Normal", f"Successful{verb.title()}", f"{done} successful")
        else:
            text = error.message if isinstance(error, ApiError) else str(error)
            self.events.event(set_, "Warning", f"Failed{verb.title()}", f"{done} failed error: {text}")


class ClaimBusy(Exception):
    """A claim that the pod needs is on its way out."""
