"""Namespace: empties a namespace that is being deleted, pods first, says what remains, and lets it go.

Upstream: `pkg/controller/namespace/deletion/namespaced_resources_deleter.go`, KEP-5080 (ordered deletion).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy import logs
from argosy.discovery import ApiResource, discover
from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import NAMESPACES, PODS, Context, Controller

log = logs.get("controllers.namespace")

FINALIZER: Final = "kubernetes"
PAGE_ITEMS: Final = 500
PARALLEL: Final = 8
FINALIZERS_AGAIN_S: Final = 15.0


@dataclass
class Remains:
    """What a round of deletion left."""

    counts: dict[str, int] = field(default_factory=dict)
    """By `resource.group`, as in the condition's message."""
    finalizers: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    undiscovered: str = ""
    """Why it is not known what there is; nothing is called empty then."""
    again_s: float = 0.0
    """When another look makes sense; 0 when nothing remains."""


class NamespaceController(Controller):
    name = "namespace-controller"
    watches = (NAMESPACES, PODS)
    writes = (NAMESPACES,)
    """And the deletion of whatever the cluster has: its resources are discovered when a namespace goes."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = self.informer(NAMESPACES)
        self._namespaces.add_handler(added=self._changed, updated=lambda _old, new: self._changed(new))
        self.informer(PODS).add_handler(deleted=self._pod_gone)

    @property
    def workers(self) -> int:
        return self.config.concurrent_namespace_syncs

    def _changed(self, namespace: JsonObject) -> None:
        if meta.is_deleting(namespace):
            self.enqueue(namespace)

    def _pod_gone(self, pod: JsonObject) -> None:
        """Pods take their time to end; the last one's end lets the rest go on at once."""
        namespace = self._namespaces.get(meta.namespace(pod))
        if namespace is not None and not self.informer(PODS).list(meta.namespace(pod)):
            self._changed(namespace)

    async def reconcile(self, key: str) -> float | None:
        try:
            namespace = await self.reader(NAMESPACES).get(key)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        if not meta.is_deleting(namespace) or FINALIZER not in (meta.spec(namespace).get("finalizers") or ()):
            return None
        remains = await self._empty(key)
        namespace = await self._write_conditions(namespace, remains)
        if remains.undiscovered:
            raise RuntimeError(f"namespace {key}: {remains.undiscovered}")
        if remains.errors:
            raise RuntimeError(f"namespace {key}: {'; '.join(remains.errors)}")
        if remains.again_s:
            return remains.again_s
        await self._finalize(namespace)
        return None

    async def _empty(self, namespace: str) -> Remains:
        """Delete the pods; when none is left, everything else."""
        remains = Remains()
        try:
            found = await discover(self._client)
        except ApiError as error:
            remains.undiscovered = error.message
            return remains
        if found.stale:
            remains.undiscovered = "unable to retrieve the complete list of server APIs: " + ", ".join(found.stale)
        content = [each for each in found.resources if each.namespaced and {"delete", "list"} <= each.verbs]
        pods = [each for each in content if not each.group and each.plural == "pods"]
        for each in pods:
            await self._empty_one(namespace, each, remains)
        if remains.counts or remains.errors:
            return remains
        others = [each for each in content if each not in pods]
        for start in range(0, len(others), PARALLEL):
            batch = others[start : start + PARALLEL]
            await asyncio.gather(*(self._empty_one(namespace, kind, remains) for kind in batch))
        return remains

    async def _empty_one(self, namespace: str, kind: ApiResource, remains: Remains) -> None:
        resource = self._client.resource(kind.group, kind.version, kind.plural)
        name = f"{kind.plural}.{kind.group}"
        try:
            found = await resource.list(namespace=namespace, limit=PAGE_ITEMS)
            if not found.items:
                return
            if "deletecollection" in kind.verbs:
                await resource.delete_collection(namespace=namespace, propagation="Background")
            else:
                for obj in found.items:
                    await resource.delete(meta.name(obj), namespace=namespace, propagation="Background")
            left = await resource.list(namespace=namespace, limit=PAGE_ITEMS)
        except ApiError as error:
            remains.errors.append(f"{name}: {error.message}")
            return
        if left.items:
            remains.counts[name] = len(left.items) + (left.remaining or 0)
            for obj in left.items:
                for finalizer in meta.finalizers(obj):
                    remains.finalizers[finalizer] = remains.finalizers.get(finalizer, 0) + 1
            remains.again_s = max(remains.again_s, _patience_s(left.items))

    async def _write_conditions(self, namespace: JsonObject, remains: Remains) -> JsonObject:
        found = list(meta.status(namespace).get("conditions") or ())
        for new in deletion_conditions(remains, rfc3339(self.host.clock.now())):
            found = conditions.with_condition(found, new)
        status = {**meta.status(namespace), "phase": "Terminating", "conditions": found}
        if status == meta.status(namespace):
            return namespace
        return await self.writer(NAMESPACES).update_status({**namespace, "status": status})

    async def _finalize(self, namespace: JsonObject) -> None:
        spec = meta.spec(namespace)
        kept = [each for each in spec.get("finalizers") or () if each != FINALIZER]
        try:
            await self.writer(NAMESPACES).update(
                {**namespace, "spec": {**spec, "finalizers": kept}}, subresource="finalize"
            )
        except ApiError as error:
            if error.code != 404:
                raise
        log.info("namespace is empty", namespace=meta.name(namespace))


def _patience_s(items: Sequence[JsonObject]) -> float:
    """Half of the longest grace period; what waits for finalizers is asked after less often."""
    grace_s = max(int(meta.metadata(each).get("deletionGracePeriodSeconds") or 0) for each in items)
    if grace_s:
        return grace_s / 2 + 1
    return FINALIZERS_AGAIN_S / 2 + 1 if any(meta.finalizers(each) for each in items) else 1.0


def deletion_conditions(remains: Remains, now: str) -> list[JsonObject]:
    """The five conditions of a namespace on its way out; `True` says what keeps it."""

    def condition(type_: str, failed: bool, good: tuple[str, str], bad: tuple[str, str]) -> JsonObject:
        reason, message = bad if failed else good
        return conditions.make(type_, failed, now, reason, message)

    return [
        condition(
            "NamespaceDeletionDiscoveryFailure",
            bool(remains.undiscovered),
            ("ResourcesDiscovered", "All resources successfully discovered"),
            ("DiscoveryFailed", f"Discovery failed for some groups, 1 failing: {remains.undiscovered}"),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ("", ""),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            bool(remains.errors),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            (
                "ContentDeletionFailed",
                f"Failed to delete all resource types, {len(remains.errors)} remaining: "
                f"{', '.join(sorted(remains.errors))}",
            ),
        ),
        condition(
            "NamespaceContentRemaining",
            bool(remains.counts),
            ("ContentRemoved", "All content successfully removed"),
            ("SomeResourcesRemain", f"Some resources are remaining: {_counted(remains.counts, 'has {} resource')}"),
        ),
        condition(
            "NamespaceFinalizersRemaining",
            bool(remains.finalizers),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            (
                "SomeFinalizersRemain",
                f"Some content in the namespace has finalizers remaining: "
                f"{_counted(remains.finalizers, 'in {} resource')}",
            ),
        ),
    ]


def _counted(counts: Mapping[str, int], form: str) -> str:
    return ", ".join(f"{name} {form.format(count)} instances" for name, count in sorted(counts.items()))
