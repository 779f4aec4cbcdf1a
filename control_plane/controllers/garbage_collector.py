"""Garbage collector: deletes what its owners left behind, in the background or before them, or cuts it loose.

Upstream: `pkg/controller/garbagecollector/garbagecollector.go`. The graph (gc_graph.py) only says what is worth a
look; before anything is deleted, the object and its owners are read live, owners by uid. Keys are `delete/UID` and
`orphan/UID`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import Final

from argosy import logs
from argosy.client import Resource
from argosy.discovery import ApiResource, discover
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import Context, Controller, Loop
from control_plane.controllers.gc_graph import DELETE, FOREGROUND, ORPHAN, Graph, Identity, Node, blocks

log = logs.get("controllers.gc")

ABSENT_OWNERS: Final = 500
ENDED_OWNERS: Final = 5000
UNKNOWN_KIND_AGAIN_S: Final = 30.0
UNSEEN_AGAIN_S: Final = 2.0
DISCOVER_EVERY_S: Final = 30.0
"""Upstream's garbage collector looks for new resources so often; a custom or an aggregated one is seen at once."""
DISCOVER_AGAIN_S: Final = 1.0
SYNC_S: Final = 30.0
NEWCOMERS: Final = (
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
)
"""What tells of resources to come or go."""


class GarbageCollector(Controller):
    name = "garbage-collector-controller"
    watches = ()
    """Nothing in full: it takes everybody's metadata, see `__init__`."""
    writes = ()
    """Whatever the cluster has: its resources are discovered, again and again."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.graph = Graph()
        self._absent: OrderedDict[Identity, None] = OrderedDict()
        """Owners found to be gone: asked for once, not once by each dependent."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Uids whose end an informer showed: gone for sure, even when their kind is gone too."""
        self._informer_factory = context.informers
        self._kinds: dict[tuple[str, str], ApiResource] = {}
        """Everything that is served, by group and kind."""
        self._sources: dict[ApiResource, Informer] = {}
        self._changed = asyncio.Event()
        self._away = False
        """Some group could not be asked what it has."""

    @property
    def workers(self) -> int:
        return self.config.concurrent_gc_syncs

    async def run(self) -> None:
        """Not before all kinds are in the graph: foreground and orphan deletion must know every dependent."""
        while not await self._discover():  # noqa: ASYNC110  # nothing but another try can tell
            await asyncio.sleep(DISCOVER_AGAIN_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SYNC_S):
                for source in list(self._sources.values()):
                    await source.wait_synced()
        for kind in NEWCOMERS:
            self._informer_factory.metadata_informer(*kind).add_handler(
                added=self._definition_changed,
                updated=lambda _old, new: self._definition_changed(new),
                deleted=self._definition_changed,
            )
        await super().run()

    def loops(self) -> tuple[Loop, ...]:
        return (self._keep_discovering,)

    def _definition_changed(self, _definition: JsonObject) -> None:
        self._changed.set()

    async def _keep_discovering(self) -> None:
        """Sooner while a group is away, ever less so: one that has just come has not told its resources yet."""
        pause = DISCOVER_EVERY_S
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), pause if self._away else DISCOVER_EVERY_S)
                pause = DISCOVER_AGAIN_S
            except TimeoutError:
                pause = min(2 * pause, DISCOVER_EVERY_S)
            self._changed.clear()
            await self._discover()

    async def _discover(self) -> bool:
        """Follow what is served now, and what is no longer no more; False when it cannot be told."""
        try:
            found = await discover(self._client)
        except ApiError as error:
            log.warning("cannot discover the API's resources", error=error.message)
            return False
        self._away = bool(found.stale)
        self._kinds = {(each.group, each.kind): each for each in found.resources if "get" in each.verbs}
        wanted = {each: None for each in found.resources if is_collected(each)}
        for each in wanted:
            if each not in self._sources:
                informer = self._informer_factory.metadata_informer(each.group, each.version, each.plural)
                self._sources[each] = informer
                self._follow(each, informer)
        for each in [each for each in self._sources if each not in wanted]:
            if f"{each.group}/{each.version}" not in found.stale:
                await self._unfollow(each)
        return True

    async def _unfollow(self, resource: ApiResource) -> None:
        """What is no longer served is out of the graph, but that does not say that its objects are gone."""
        informer = self._sources.pop(resource)
        if all(other.plural != resource.plural or other.group != resource.group for other in self._sources):
            for obj in informer.list():
                self._add(self.graph.remove(meta.uid(obj)))
        await self._informer_factory.forget(informer)

    def _follow(self, kind: ApiResource, informer: Informer) -> None:
        def put(obj: JsonObject) -> None:
            identity = Identity(kind.api_version, kind.kind, meta.namespace(obj), meta.name(obj), meta.uid(obj))
            self._add(self.graph.put(identity, obj))
            self._tell_of_foreign_owners(identity, obj)

        def updated(_old: JsonObject, new: JsonObject) -> None:
            put(new)

        def removed(obj: JsonObject) -> None:
            self._ended[meta.uid(obj)] = None
            if len(self._ended) > ENDED_OWNERS:
                self._ended.popitem(last=False)
            self._gone(meta.uid(obj))

        informer.add_handler(added=put, updated=updated, deleted=removed)

    def _tell_of_foreign_owners(self, identity: Identity, obj: JsonObject) -> None:
        """An owner in another namespace is none: the object will go as soon as it is looked at."""
        for reference in meta.owner_references(obj):
            owner = self.graph.get(str(reference.get("uid", "")))
            if owner is not None and not owner.virtual and owner.identity.namespace not in ("", identity.namespace):
                self._tell_invalid(identity, reference)

    def _tell_invalid(self, identity: Identity, reference: JsonObject) -> None:
        named = (
            f"[{reference.get('apiVersion')}/{reference.get('kind')}, namespace: {identity.namespace}, "
            f"name: {reference.get('name')}, uid: {reference.get('uid')}]"
        )
        message = f'ownerRef {named} does not exist in namespace "{identity.namespace}"'
        self.events.event(_reference(identity), "Warning", "OwnerRefInvalidNamespace", message)

    def _add(self, work: list[str]) -> None:
        for key in work:
            self.queue.add(key)

    def _gone(self, uid: str) -> None:
        node = self.graph.get(uid)
        if node is not None:
            self._remember_absent(self._named(node.identity))
        self._add(self.graph.remove(uid))

    def _remember_absent(self, identity: Identity) -> None:
        self._absent[identity] = None
        if len(self._absent) > ABSENT_OWNERS:
            self._absent.popitem(last=False)

    async def reconcile(self, key: str) -> float | None:
        action, _, uid = key.partition("/")
        node = self.graph.get(uid)
        if node is None:
            return None
        if action + "/" == DELETE:
            return await self._attempt_delete(node)
        return await self._orphan_dependents(node)

    # Deleting.

    async def _attempt_delete(self, node: Node) -> float | None:
        if node.being_deleted and not node.waits_for_dependents:
            return None
        resource = self._resource(node.identity.api_version, node.identity.kind)
        if resource is None:
            return UNKNOWN_KIND_AGAIN_S
        latest = await self._live(node.identity, resource)
        if latest is None:
            self._gone(node.identity.uid)
            return None
        if node.virtual:
            # It exists; its informer will show it, if it is of a kind that has one.
            kind = self._kind(node.identity.api_version, node.identity.kind)
            return UNSEEN_AGAIN_S if kind is not None and kind in self._sources else None
        if node.waits_for_dependents:
            return await self._finish_foreground(node, latest, resource)
        references = meta.owner_references(latest)
        if not references or meta.is_deleting(latest):
            return None
        states = [await self._owner_state(node, reference) for reference in references]
        solid, dangling, waiting = (
            [ref for ref, state in zip(references, states, strict=True) if state == wanted]
            for wanted in ("solid", "dangling", "waiting")
        )
        if solid:
            if dangling or waiting:
                gone = [ref.get("uid") for ref in [*dangling, *waiting]]
                await self._set_owners(latest, resource, [ref for ref in references if ref.get("uid") not in gone])
            return None
        if waiting and node.dependents:
            if any(each.waits_for_dependents for each in self.graph.dependents(node.identity.uid)):
                # A circle of owners that wait for each other: this one lets go.
                latest = await self._unblock(latest, resource)
            await self._delete(latest, resource, "Foreground")
            return None
        await self._delete(latest, resource, _policy(latest))
        return None

    async def _owner_state(self, node: Node, reference: JsonObject) -> str:
        """solid, dangling or waiting (deleted in the foreground). Raises ApiError when it cannot be told."""
        uid = str(reference.get("uid", ""))
        if uid in self._ended:
            return "dangling"
        kind = self._kind(str(reference.get("apiVersion", "")), str(reference.get("kind", "")))
        if kind is None:
            self._changed.set()
            log.info("an owner's kind is not served", kind=reference.get("kind"), uid=node.identity.uid)
            return "solid"
        if kind.namespaced and not node.identity.namespace:
            self._tell_invalid(node.identity, reference)
            return "solid"
        namespace = node.identity.namespace if kind.namespaced else ""
        named = Identity(kind.api_version, kind.kind, namespace, str(reference.get("name", "")), uid)
        if named in self._absent:
            return "dangling"
        owner = await self._live(named, self._client.resource(kind.group, kind.version, kind.plural))
        if owner is None:
            self._remember_absent(named)
            return "dangling"
        if meta.is_deleting(owner) and FOREGROUND in meta.finalizers(owner):
            return "waiting"
        return "solid"

    async def _finish_foreground(self, node: Node, latest: JsonObject, resource: Resource) -> float | None:
        blocking = [each for each in self.graph.dependents(node.identity.uid) if blocks(each, node.identity.uid)]
        if not blocking:
            await self._remove_finalizer(latest, resource, FOREGROUND)
            return None
        for each in blocking:
            if not each.waits_for_dependents:
                self.queue.add(DELETE + each.identity.uid)
        return None

    async def _delete(self, latest: JsonObject, resource: Resource, policy: str) -> None:
        try:
            await resource.delete(
                meta.name(latest),
                namespace=meta.namespace(latest),
                propagation=policy,
                uid=meta.uid(latest),
                resource_version=meta.resource_version(latest),
            )
        except ApiError as error:
            if error.code != 404:
                raise
        log.info("collected", resource=resource.plural, name=meta.key(latest), policy=policy)

    # Orphaning.

    async def _orphan_dependents(self, node: Node) -> float | None:
        owner = self._resource(node.identity.api_version, node.identity.kind)
        if owner is None or not node.waits_for_orphans:
            return None
        for each in self.graph.dependents(node.identity.uid):
            resource = self._resource(each.identity.api_version, each.identity.kind)
            latest = await self._live(each.identity, resource) if resource is not None else None
            if resource is None or latest is None:
                continue
            references = meta.owner_references(latest)
            kept = [ref for ref in references if ref.get("uid") != node.identity.uid]
            if kept != references:
                await self._set_owners(latest, resource, kept)
        latest = await self._live(node.identity, owner)
        if latest is not None:
            await self._remove_finalizer(latest, owner, ORPHAN)
        return None

    # Reads and writes.

    def _kind(self, api_version: str, kind: str) -> ApiResource | None:
        return self._kinds.get((api_version.rpartition("/")[0], kind))

    def _named(self, identity: Identity) -> Identity:
        """With the namespace and version by which an owner is looked up."""
        kind = self._kind(identity.api_version, identity.kind)
        if kind is None:
            return identity
        namespace = identity.namespace if kind.namespaced else ""
        return Identity(kind.api_version, kind.kind, namespace, identity.name, identity.uid)

    def _resource(self, api_version: str, kind: str) -> Resource | None:
        found = self._kind(api_version, kind)
        return None if found is None else self._client.resource(found.group, found.version, found.plural)

    async def _live(self, identity: Identity, resource: Resource) -> JsonObject | None:
        """The object as the API server has it now; None when it is gone or another one has its name."""
        kind = self._kind(identity.api_version, identity.kind)
        namespace = identity.namespace if kind is not None and kind.namespaced else ""
        try:
            found = await resource.get(identity.name, namespace=namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return found if meta.uid(found) == identity.uid else None

    async def _set_owners(self, latest: JsonObject, resource: Resource, references: list[JsonObject]) -> JsonObject:
        return await self._change(latest, resource, {"ownerReferences": references or None})

    async def _unblock(self, latest: JsonObject, resource: Resource) -> JsonObject:
        references = [{**ref, "blockOwnerDeletion": False} for ref in meta.owner_references(latest)]
        return await self._set_owners(latest, resource, references)

    async def _remove_finalizer(self, latest: JsonObject, resource: Resource, finalizer: str) -> None:
        kept = [each for each in meta.finalizers(latest) if each != finalizer]
        if kept != meta.finalizers(latest):
            await self._change(latest, resource, {"finalizers": kept or None})

    async def _change(self, latest: JsonObject, resource: Resource, metadata: JsonObject) -> JsonObject:
        metadata = {**metadata, "uid": meta.uid(latest), "resourceVersion": meta.resource_version(latest)}
        return await resource.patch(meta.name(latest), {"metadata": metadata}, namespace=meta.namespace(latest))


def _policy(obj: JsonObject) -> str:
    """An object that already wants its dependents orphaned or waited for is deleted so."""
    finalizers = meta.finalizers(obj)
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


def is_collected(resource: ApiResource) -> bool:
    """Events end by themselves."""
    return resource.kind != "Event" and {"delete", "list", "watch"} <= resource.verbs


def _reference(identity: Identity) -> JsonObject:
    fields = ("apiVersion", "kind", "namespace", "name", "uid")
    values = (identity.api_version, identity.kind, identity.namespace, identity.name, identity.uid)
    return {name: value for name, value in zip(fields, values, strict=True) if value}
