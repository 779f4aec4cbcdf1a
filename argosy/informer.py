"""A local copy of one resource, kept by list and watch, with indexes and change handlers.

    pods = factory.informer("", "v1", "pods", fields="spec.nodeName=node-1")
    pods.add_handler(added=..., updated=..., deleted=...)
    await pods.wait_synced()
    pods.get("default/web-0"); pods.by_owner(uid); pods.by_index("node", "node-1")

Everything that acts on state reads it here instead of asking the API server: controllers, the scheduler, the node
agent, the proxy and DNS. After a broken watch it resumes from the last resourceVersion it saw; when that is too old
it lists again and reports what disappeared meanwhile as deleted. Objects are shared: whoever changes one copies it
first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from argosy import logs
from argosy.client import Client, Event, EventType, ObjectList
from argosy.host import Host
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject

log = logs.get("argosy.informer")

BACKOFF_MIN_S: Final = 0.1
BACKOFF_MAX_S: Final = 10.0
PAGE_ITEMS: Final = 1000
YIELD_EVERY_ITEMS: Final = 500
"""A long list gives the event loop a turn after so many."""
NAMESPACE_INDEX: Final = "namespace"
OWNER_INDEX: Final = "owner"

Objects = list[JsonObject]
Keys = list[str]
IndexFunction = Callable[[JsonObject], Iterable[str]]
"""The values under which an object is found; pure."""


class Source(Protocol):
    """What an informer asks for: `argosy.client.Resource`, or a test's own."""

    @property
    def plural(self) -> str: ...

    async def list(
        self,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> ObjectList: ...

    def watch_batches(
        self,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
        bookmarks: bool = False,
        initial_events: bool = False,
    ) -> AsyncIterator[Sequence[Event]]: ...


@dataclass(frozen=True)
class Handler:
    """Called in the order of the changes, within the informer's task: handlers must be quick and never await.

    An object that was deleted and made again under its name is reported as deleted, then as added.
    """

    added: Callable[[JsonObject], None] | None = None
    updated: Callable[[JsonObject, JsonObject], None] | None = None
    """(old, new)"""
    deleted: Callable[[JsonObject], None] | None = None
    """Gets the last state known."""


def by_namespace(obj: JsonObject) -> Iterable[str]:
    return (meta.namespace(obj),)


def by_owner_uid(obj: JsonObject) -> Iterable[str]:
    return [str(owner.get("uid", "")) for owner in meta.owner_references(obj)]


def by_label(label: str) -> IndexFunction:
    """An index function over the values of one label."""

    def values(obj: JsonObject) -> Iterable[str]:
        value = meta.labels(obj).get(label)
        return () if value is None else (value,)

    return values


def metadata_only(obj: JsonObject) -> JsonObject:
    """What is left of an object for who reads its metadata, without the bulk that nobody reads from a cache."""
    metadata = {
        key: value for key, value in meta.metadata(obj).items() if key not in ("managedFields", "annotations")
    }
    return {"apiVersion": obj.get("apiVersion", ""), "kind": obj.get("kind", ""), "metadata": metadata}


class Cache:
    """Objects by `namespace/name`, with indexes. Every answer is in order of insertion."""

    def __init__(self) -> None:
        self._objects: dict[str, JsonObject] = {}
        self._functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, dict[str, None]]] = {}
        self.add_index(NAMESPACE_INDEX, by_namespace)
        self.add_index(OWNER_INDEX, by_owner_uid)

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Adding the same name again keeps the first function."""
        if name in self._functions:
            return
        self._functions[name] = function
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            self._index(name, key, obj)

    def get(self, key: str) -> JsonObject | None:
        return self._objects.get(key)

    def keys(self) -> Keys:
        return list(self._objects)

    def list(self) -> Objects:
        return list(self._objects.values())

    def by_index(self, name: str, value: str) -> Objects:
        """Raises KeyError for an index that was never added."""
        return [self._objects[key] for key in self._indexes[name].get(value, ())]

    def index_values(self, name: str) -> Keys:
        return list(self._indexes[name])

    def put(self, key: str, obj: JsonObject) -> JsonObject | None:
        """The object that it replaces."""
        old = self._objects.get(key)
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = obj
        for name in self._functions:
            self._index(name, key, obj)
        return old

    def pop(self, key: str) -> JsonObject | None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
        return old

    def _index(self, name: str, key: str, obj: JsonObject) -> None:
        index = self._indexes[name]
        for value in self._functions[name](obj):
            index.setdefault(value, {})[key] = None

    def _unindex(self, key: str, obj: JsonObject) -> None:
        for name, function in self._functions.items():
            index = self._indexes[name]
            for value in function(obj):
                keys = index.get(value)
                if keys is not None:
                    keys.pop(key, None)
                    if not keys:
                        del index[value]


class Informer:
    """One resource, perhaps narrowed by namespace and selectors. `run()` keeps it until it is cancelled."""

    def __init__(
        self,
        source: Source,
        host: Host,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        indexes: Mapping[str, IndexFunction] | None = None,
        transform: Callable[[JsonObject], JsonObject] | None = None,
    ) -> None:
        """`transform` gives what is kept of each object (it may drop what nobody reads); it must be pure."""
        self.source = source
        self.resource_version = ""
        """Of the last change applied."""
        self.has_synced = False
        self._host = host
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._transform = transform
        self._handlers: list[Handler] = []
        self._cache = Cache()
        self._synced = asyncio.Event()
        self._backoff_s = BACKOFF_MIN_S
        for name, function in (indexes or {}).items():
            self.add_index(name, function)

    def __len__(self) -> int:
        return len(self._cache)

    def add_index(self, name: str, function: IndexFunction) -> None:
        self._cache.add_index(name, function)

    def add_handler(
        self,
        *,
        added: Callable[[JsonObject], None] | None = None,
        updated: Callable[[JsonObject, JsonObject], None] | None = None,
        deleted: Callable[[JsonObject], None] | None = None,
    ) -> Handler:
        """What is in the cache already is reported as added at once."""
        handler = Handler(added, updated, deleted)
        self._handlers.append(handler)
        for obj in self._cache.list():
            self._tell_added(handler, obj)
        return handler

    def remove_handler(self, handler: Handler) -> None:
        self._handlers.remove(handler)

    def get(self, key: str) -> JsonObject | None:
        """By `namespace/name` (`name` for cluster scope)."""
        return self._cache.get(key)

    def list(self, namespace: str = "") -> Objects:
        return self._cache.by_index(NAMESPACE_INDEX, namespace) if namespace else self._cache.list()

    def keys(self) -> Keys:
        return self._cache.keys()

    def by_index(self, name: str, value: str) -> Objects:
        return self._cache.by_index(name, value)

    def index_values(self, name: str) -> Keys:
        """The values under which at least one object is found."""
        return self._cache.index_values(name)

    def by_owner(self, uid: str) -> Objects:
        """Objects with an owner reference (controlling or not) to that uid."""
        return self._cache.by_index(OWNER_INDEX, uid)

    async def wait_synced(self) -> None:
        """Until the first list is in the cache and its handlers were told."""
        await self._synced.wait()

    async def run(self) -> None:
        """Keep the cache until cancelled. Whatever fails is tried again, with growing pauses."""
        relist = True
        consistent = False
        while True:
            try:
                if relist:
                    await self._list(consistent)
                    relist, consistent = False, False
                await self._watch()
            except ApiError as error:
                expired = error.code == 410 or error.reason in ("Expired", "Gone")
                consistent = consistent or expired or "ResourceVersionTooLarge" in str(error.status)
                away = error.code == 503 and not relist
                relist = not away
                log.debug("watch ended", resource=self.source.plural, code=error.code, error=error.message)
                if expired and self._backoff_s == BACKOFF_MIN_S:
                    self._backoff_s *= 2
                    continue
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("informer failed, lists again", resource=self.source.plural)
                relist, consistent = True, True
            await self._pause()

    async def _pause(self) -> None:
        """Jittered, doubling; `_progress` resets it."""
        await asyncio.sleep(self._backoff_s * (0.5 + self._host.rng.random()))
        self._backoff_s = min(BACKOFF_MAX_S, self._backoff_s * 2)

    def _progress(self) -> None:
        self._backoff_s = BACKOFF_MIN_S

    async def _list(self, consistent: bool) -> None:
        """First from any server's cache; then never older than what was seen; after 410 the newest there is."""
        version = "" if consistent else self.resource_version or "0"
        limit = PAGE_ITEMS if consistent else 0
        items: list[JsonObject] = []
        continue_ = ""
        while True:
            page = await self.source.list(
                namespace=self._namespace,
                labels=self._labels,
                fields=self._fields,
                resource_version="" if continue_ else version,
                limit=limit,
                continue_=continue_,
            )
            items.extend(page.items)
            continue_ = page.continue_
            if not continue_:
                break
        await self._replace(items, page.resource_version)
        self._progress()

    async def _replace(self, items: Sequence[JsonObject], version: str) -> None:
        listed: dict[str, None] = {meta.key(obj): None for obj in items}
        for key in [key for key in self._cache if key not in listed]:
            self._remove(key, None)
        for number, obj in enumerate(items):
            old = self._cache.get(meta.key(obj))
            if old is None or meta.resource_version(old) != meta.resource_version(obj):
                self._apply(obj)
            if number % YIELD_EVERY_ITEMS == YIELD_EVERY_ITEMS - 1:
                await asyncio.sleep(0)
        self.resource_version = version
        self.has_synced = True
        self._synced.set()

    async def _watch(self) -> None:
        """Apply changes until the server closes the watch."""
        batches = self.source.watch_batches(
            namespace=self._namespace,
            labels=self._labels,
            fields=self._fields,
            resource_version=self.resource_version,
            bookmarks=True,
        )
        async for batch in batches:
            for event in batch:
                if event.type is EventType.DELETED:
                    self._remove(meta.key(event.object), event.object)
                elif event.type is not EventType.BOOKMARK:
                    self._apply(event.object)
                self.resource_version = meta.resource_version(event.object) or self.resource_version
            if batch:
                self._progress()

    def _apply(self, obj: JsonObject) -> None:
        key = meta.key(obj)
        kept = self._transform(obj) if self._transform else obj
        old = self._cache.get(key)
        if old is not None and meta.uid(old) != meta.uid(kept):
            self._remove(key, None)
            old = None
        self._cache.put(key, kept)
        for handler in self._handlers:
            if old is None:
                self._tell_added(handler, kept)
            elif handler.updated is not None:
                try:
                    handler.updated(old, kept)
                except Exception:
                    log.exception("update handler failed", resource=self.source.plural, key=key)

    def _remove(self, key: str, last: JsonObject | None) -> None:
        """`last` is the state at deletion, where the server told it."""
        old = self._cache.pop(key)
        if old is None:
            return
        gone = old if last is None else self._transform(last) if self._transform else last
        for handler in self._handlers:
            if handler.deleted is not None:
                try:
                    handler.deleted(gone)
                except Exception:
                    log.exception("delete handler failed", resource=self.source.plural, key=key)

    def _tell_added(self, handler: Handler, obj: JsonObject) -> None:
        if handler.added is not None:
            try:
                handler.added(obj)
            except Exception:
                log.exception("add handler failed", resource=self.source.plural, key=meta.key(obj))


class InformerFactory:
    """The informers of one process: whoever asks for the same resource and selectors gets the same one."""

    def __init__(self, client: Client, host: Host) -> None:
        self._client = client
        self._host = host
        self._informers: dict[tuple[str, ...], Informer] = {}
        self._tasks: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._started = False

    def informer(
        self,
        group: str,
        version: str,
        plural: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> Informer:
        """Runs at once when the factory was started before."""
        key = (group, version, plural, namespace, labels, fields)
        found = self._informers.get(key)
        if found is None:
            found = self._informers[key] = Informer(
                self._client.resource(group, version, plural),
                self._host,
                namespace=namespace,
                labels=labels,
                fields=fields,
            )
            if self._started:
                self._start(key)
        return found

    def metadata_informer(self, group: str, version: str, plural: str) -> Informer:
        """For who reads names, labels and owners only: a whole informer if there is one, else one that keeps no more.

        Ask for it after the whole ones, or the resource is watched twice.
        """
        whole = self._informers.get((group, version, plural, "", "", ""))
        if whole is not None:
            return whole
        key = (group, version, plural, "", "", "", "metadata")
        found = self._informers.get(key)
        if found is None:
            source = self._client.resource(group, version, plural)
            found = self._informers[key] = Informer(source, self._host, transform=metadata_only)
            if self._started:
                self._start(key)
        return found

    async def run(self) -> None:
        """Run all informers, those still to come too, until cancelled."""
        self.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.stop()

    def start(self) -> None:
        self._started = True
        for key in self._informers:
            if key not in self._tasks:
                self._start(key)

    async def stop(self) -> None:
        self._started = False
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def forget(self, informer: Informer) -> None:
        """Stop one for good (its resource is no longer served)."""
        for key, held in list(self._informers.items()):
            if held is informer:
                del self._informers[key]
                task = self._tasks.pop(key, None)
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    async def wait_synced(self) -> None:
        for informer in list(self._informers.values()):
            await informer.wait_synced()

    def _start(self, key: tuple[str, ...]) -> None:
        name = f"informer {key[2]}"
        self._tasks[key] = asyncio.get_running_loop().create_task(self._informers[key].run(), name=name)
