"""The stored objects of one custom resource, in whatever version they were written, and their forms in the others.

An object in the store keeps the version that it was written in. On its way out it is pruned and defaulted by the
schema of that version (so that new defaults show on old objects), and converted: by setting apiVersion (strategy
None), or by a webhook, which is asked beforehand (`prepare`), for what is served from the cache is served without
waiting. Upstream: `pkg/apiserver/customresource_handler.go` (schemaCoercingDecoder), `pkg/apiserver/conversion`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import orjson

from argosy.kinds.kind import Version
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.crd import shape
from control_plane.apiserver.crd.structure import Node
from control_plane.apiserver.storage import codec

Convert = Callable[[Sequence[JsonObject], str], Awaitable[list[JsonObject]]]
"""(objects, wanted apiVersion) to the converted objects, in order. Raises ApiError."""


class CustomEntry(Entry):
    """An entry whose forms its family makes."""

    __slots__ = ("_family",)

    def __init__(self, key: str, revision: int, obj: JsonObject, raw: bytes, family: Family) -> None:
        super().__init__(key, revision, obj, raw)
        self._family = family

    def at(self, revision: int) -> Entry:
        plain = super().at(revision)
        return CustomEntry(self.key, revision, plain.obj, plain.raw, self._family)

    def known(self, api_version: str) -> bool:
        return self.obj.get("apiVersion") == api_version or (self._forms is not None and api_version in self._forms)

    def keep(self, form: JsonObject) -> None:
        if self._forms is None:
            self._forms = {}
        self._forms[form["apiVersion"]] = (form, orjson.dumps(form))

    def form(self, version: Version | None, api_version: str) -> tuple[JsonObject, bytes]:
        if self.obj.get("apiVersion") == api_version:
            return self.obj, self.raw
        if self._forms is None or api_version not in self._forms:
            self.keep(self._family.converted(self.obj, api_version))
            assert self._forms is not None
        return self._forms[api_version]


class Family:
    """`nodes` are the schemas by apiVersion, `storage` the apiVersion that is written."""

    def __init__(self, kind: str, nodes: dict[str, Node], storage: str, convert: Convert | None = None) -> None:
        self.kind = kind
        self.nodes = nodes
        self.storage = storage
        self.terminating = False
        """Its definition is being deleted: no new objects."""
        self._convert = convert

    def coerce(self, obj: JsonObject) -> bool:
        """Prune and default a private object by the schema of its own version, in place; whether that changed it."""
        node = self.nodes.get(str(obj.get("apiVersion", "")))
        if node is None:
            return False
        pruned = bool(shape.prune(obj, node))
        return shape.default(obj, node) or pruned

    def decode(self, key: str, value: bytes, revision: int) -> Entry:
        """From stored bytes. Raises ValueError."""
        raw = codec.splice(value, revision)
        obj = orjson.loads(raw)
        if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
            raise ValueError("a stored object has no metadata")
        renamed = self._convert is None and obj.get("apiVersion") != self.storage
        if renamed:
            obj["apiVersion"] = self.storage
        if self.coerce(obj) or renamed:
            raw = codec.splice(codec.encode(obj), revision)
        return CustomEntry(key, revision, obj, raw, self)

    def converted(self, obj: JsonObject, api_version: str) -> JsonObject:
        """Without a webhook. Raises ApiError 500 where one should have been asked."""
        if self._convert is not None:
            raise errors.internal(f"{self.kind} was not converted to {api_version} in time")
        result = meta.copy_object(obj)
        result["apiVersion"] = api_version
        self.coerce(result)
        return result

    async def shown(self, obj: JsonObject, api_version: str) -> JsonObject:
        """An object in another version; may be `obj` itself. Raises ApiError."""
        if obj.get("apiVersion") == api_version:
            return obj
        if self._convert is None:
            return self.converted(obj, api_version)
        (result,) = await self._convert([obj], api_version)
        self.coerce(result)
        return result

    async def prepare(self, entries: Iterable[Entry], api_version: str) -> None:
        """Make the forms that `entries` lack, by one call of the webhook. Raises ApiError."""
        if self._convert is None:
            return
        lacking = [each for each in entries if isinstance(each, CustomEntry) and not each.known(api_version)]
        if not lacking:
            return
        forms = await self._convert([each.obj for each in lacking], api_version)
        for entry, form in zip(lacking, forms, strict=True):
            self.coerce(form)
            entry.keep(form)

    async def view(self, entry: Entry, api_version: str) -> Entry:
        """The entry as one of a version: what an update starts from."""
        await self.prepare((entry,), api_version)
        obj, raw = entry.form(None, api_version)
        return Entry(entry.key, entry.revision, obj, raw)

    async def to_storage(self, obj: JsonObject) -> JsonObject:
        """An object of any version as it is to be written; may share with `obj`. Raises ApiError."""
        if obj.get("apiVersion") == self.storage:
            return obj
        if self._convert is None:
            return {**obj, "apiVersion": self.storage}
        (result,) = await self._convert([obj], self.storage)
        node = self.nodes.get(self.storage)
        if node is not None:
            shape.prune(result, node)
        return result

    def made(self, key: str, revision: int, obj: JsonObject, stored: JsonObject, raw: bytes) -> Entry:
        """The entry of an object that was just written as `stored`."""
        entry = CustomEntry(key, revision, stored, raw, self)
        if stored is not obj:
            entry.keep(obj)
        return entry
