"""What every verb works with: the store, the caches, the schemas, admission and the machine's seams."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.host import Host
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Chain
from control_plane.apiserver.allocate.services import ServiceAllocator
from control_plane.apiserver.auth.attributes import action_of
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.cache.feeder import Feeder
from control_plane.apiserver.request import Answer, Request
from control_plane.apiserver.resources import Resources, Served
from control_plane.apiserver.schema.schemas import Schemas
from control_plane.apiserver.storage import codec
from control_plane.apiserver.storage.store import Store, unreadable


@dataclass(frozen=True)
class Context:
    host: Host
    store: Store
    feeder: Feeder
    resources: Resources
    schemas: Schemas
    admission: Chain
    allocator: ServiceAllocator
    authorization: Authorization

    def check_may_create(self, request: Request) -> None:
        """A write that finds nothing to change and makes the object is a create too. Raises ApiError 403."""
        self.authorization.check(action_of(request, "create"))

    async def newest(self, request: Request) -> Entry:
        """The object that a request names, as every acknowledged write left it. Raises ApiError 404."""
        await self.feeder.consistent()
        return self.cached(request)

    def cached(self, request: Request) -> Entry:
        """The object that a request names, as the cache has it. Raises ApiError 404, 500."""
        cache, key = request.served.cache, request.served.cache_key(request.namespace, request.name)
        if key in cache.unread:
            raise unreadable(cache.prefix + key, cache.unread[key])
        entry = cache.get(key)
        if entry is None:
            raise missing(request.served, request.name)
        return entry

    def remember(self, served: Served, entry: Entry) -> None:
        self.feeder.wrote(served.cache.prefix + entry.key, entry)


async def prepare(served: Served, entries: Iterable[Entry]) -> None:
    """Make the forms of entries that the answer is of; only a conversion webhook takes time for it."""
    if served.custom is not None:
        await served.custom.prepare(entries, served.api_version)


async def view(served: Served, entry: Entry) -> Entry:
    """What verbs work on: the stored form, or for custom resources the version that was asked for."""
    return entry if served.custom is None else await served.custom.view(entry, served.api_version)


async def encoded(served: Served, obj: JsonObject) -> tuple[JsonObject, bytes]:
    """An object that verbs worked on as it is stored, and its bytes."""
    stored = obj if served.custom is None else await served.custom.to_storage(obj)
    return stored, codec.encode(stored)


def made(served: Served, key: str, revision: int, obj: JsonObject, stored: JsonObject, value: bytes) -> Entry:
    """The entry of an object at its new revision; 0 for one that was not written."""
    if not revision:
        return Entry(key, revision, obj, codec.encode(obj))
    raw = codec.splice(value, revision)
    for form in (obj, stored):
        form["metadata"]["resourceVersion"] = str(revision)
    return (
        Entry(key, revision, obj, raw)
        if served.custom is None
        else served.custom.made(key, revision, obj, stored, raw)
    )


def missing(served: Served, name: str) -> errors.ApiError:
    return errors.not_found(served.group, served.plural, name)


def answer(served: Served, entry: Entry, code: int = 200) -> Answer:
    obj, raw = entry.form(served.convert, served.api_version)
    return Answer(obj, raw, code)
