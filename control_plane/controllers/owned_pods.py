"""Changes of pods become work for the set that controls them, or that may adopt them.

ReplicaSets, ReplicationControllers and DaemonSets follow their pods alike: what they made or deleted is ticked off in
their expectations (upstream: addPod, updatePod, deletePod of `pkg/controller/{replicaset,daemon}`).
"""

from __future__ import annotations

from collections.abc import Callable

from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.selectors import Selector
from argosy.objects.types import JsonObject
from control_plane.controllers.expectations import Expectations
from control_plane.controllers.ownership import owner_in


class OwnedPods:
    """Handles the pods of one kind of set; `enqueue` takes the set that has work."""

    def __init__(
        self,
        sets: Informer,
        kind: str,
        selector_of: Callable[[JsonObject], Selector],
        expectations: Expectations,
        enqueue: Callable[[JsonObject], None],
    ) -> None:
        self._sets = sets
        self._kind = kind
        self._selector_of = selector_of
        self._expectations = expectations
        self._enqueue = enqueue

    def follow(self, pods: Informer) -> None:
        pods.add_handler(added=self._added, updated=self._updated, deleted=self._deleted)

    def _owner(self, pod: JsonObject) -> JsonObject | None:
        return owner_in(self._sets, self._kind, pod)

    def _enqueue_adopters(self, pod: JsonObject) -> None:
        labels = meta.labels(pod)
        for each in self._sets.list(meta.namespace(pod)) if labels else ():
            if self._selector_of(each).matches(labels):
                self._enqueue(each)

    def _added(self, pod: JsonObject) -> None:
        if meta.is_deleting(pod):
            self._deleted(pod)
            return
        owner = self._owner(pod)
        if owner is not None:
            self._expectations.created(meta.key(owner))
            self._enqueue(owner)
        elif meta.controller_of(pod) is None:
            self._enqueue_adopters(pod)

    def _updated(self, old: JsonObject, new: JsonObject) -> None:
        before, owner = self._owner(old), self._owner(new)
        if before is not None and (owner is None or meta.uid(before) != meta.uid(owner)):
            self._enqueue(before)
        if meta.is_deleting(new):
            self._deleted(new)
        elif owner is not None:
            self._enqueue(owner)
        elif meta.controller_of(new) is None and (
            meta.labels(old) != meta.labels(new) or meta.controller_of(old) is not None
        ):
            self._enqueue_adopters(new)

    def _deleted(self, pod: JsonObject) -> None:
        owner = self._owner(pod)
        if owner is not None:
            self._expectations.deleted(meta.key(owner), meta.uid(pod))
            self._enqueue(owner)
