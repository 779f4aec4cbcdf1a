"""The resources that this server serves: every kind in every version, with its place in the store and its cache.

The table is made from `argosy.kinds.ALL` at start; custom resources are added and removed while it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from argosy.kinds.kind import Kind, Subresource, Version
from argosy.objects.storage import NODE_FIELD, SELECTED_NODE_FIELD
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.cache.resource import FieldGetter, ResourceCache
from control_plane.apiserver.storage.store import ROOT

INDEXED_FIELDS: Final = {
    ("", "pods"): ("spec.nodeName",),
    ("", "persistentvolumeclaims"): (SELECTED_NODE_FIELD,),
    ("", "persistentvolumes"): (NODE_FIELD,),
}
PREFERRED_FIRST: Final = ("",)


def prefix_of(kind: Kind) -> str:
    """The store's prefix of a kind's keys."""
    return f"{ROOT}{kind.group}/{kind.plural}/" if kind.group else f"{ROOT}{kind.plural}/"


class Custom(Protocol):
    """How the objects of a custom resource are kept (`crd.family`)."""

    terminating: bool
    """No new objects are taken."""

    async def prepare(self, entries: Iterable[Entry], api_version: str) -> None: ...

    async def view(self, entry: Entry, api_version: str) -> Entry: ...

    async def shown(self, obj: JsonObject, api_version: str) -> JsonObject: ...

    async def to_storage(self, obj: JsonObject) -> JsonObject: ...

    def made(self, key: str, revision: int, obj: JsonObject, stored: JsonObject, raw: bytes) -> Entry: ...


@dataclass(frozen=True)
class Served:
    """One resource in one group and version."""

    kind: Kind
    group: str
    version: str
    convert: Version | None
    """None: served as it is stored."""
    cache: ResourceCache
    """Empty for virtual kinds."""
    custom: Custom | None = None
    """Of custom resources, whose kind is that of one version."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def plural(self) -> str:
        return self.kind.plural

    @property
    def fields(self) -> Mapping[str, FieldGetter]:
        """Field selector labels of this version."""
        if self.convert is not None and self.convert.fields is not None:
            return self.convert.fields
        return self.kind.fields

    def store_key(self, namespace: str, name: str) -> str:
        return f"{self.cache.prefix}{self.cache_key(namespace, name)}"

    def cache_key(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}" if self.kind.namespaced else name

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.kind.subresources if sub.name == name), None)

    def to_storage(self, obj: JsonObject) -> JsonObject:
        if self.convert is None:
            return obj
        return {**self.convert.to_storage(obj), "apiVersion": self.kind.api_version, "kind": self.kind.kind}

    def from_storage(self, obj: JsonObject) -> JsonObject:
        if self.convert is None:
            return obj
        return {**self.convert.from_storage(obj), "apiVersion": self.api_version}


class Resources:
    """Look-ups by (group, version, plural); iteration in registration order."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._table: dict[tuple[str, str, str], Served] = {}
        self._by_kind: dict[tuple[str, str, str], Served] = {}
        self._stored: dict[tuple[str, str], Served] = {}
        self.generation = 0
        """Counts what is added and removed: what is made from the table is made anew then."""
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> Served:
        """Serve a kind in all its versions; gives the stored one."""
        self.generation += 1
        fields: dict[str, FieldGetter] = {
            name: kind.fields[name]
            for name in INDEXED_FIELDS.get((kind.group, kind.plural), ())
            if name in kind.fields
        }
        cache = ResourceCache(prefix_of(kind), fields)
        stored = Served(kind, kind.group, kind.version, None, cache)
        self._stored[kind.group, kind.plural] = stored
        self._register(stored)
        for version in kind.versions:
            group = kind.group if version.group is None else version.group
            self._register(Served(kind, group, version.version, version, cache))
        return stored

    def put(self, stored: Served, served: Iterable[Served]) -> None:
        """Serve a custom resource, in the place of what was served of it. `stored` may be in no served version."""
        self.remove(stored.group, stored.plural)
        self._stored[stored.group, stored.plural] = stored
        for item in served:
            self._register(item)

    def remove(self, group: str, plural: str) -> None:
        self.generation += 1
        self._stored.pop((group, plural), None)
        for table in (self._table, self._by_kind):
            for key in [key for key, served in table.items() if (served.group, served.plural) == (group, plural)]:
                del table[key]

    def _register(self, served: Served) -> None:
        self._table[served.group, served.version, served.kind.plural] = served
        self._by_kind.setdefault((served.group, served.version, served.kind.kind), served)

    def get(self, group: str, version: str, plural: str) -> Served | None:
        return self._table.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> Served | None:
        return self._by_kind.get((group, version, kind))

    def stored(self, group: str, plural: str) -> Served | None:
        """A resource as it is stored, whatever versions are served."""
        return self._stored.get((group, plural))

    def require(self, group: str, plural: str) -> Served:
        """A resource that the server itself needs. Raises LookupError when no such kind is there."""
        found = self._stored.get((group, plural))
        if found is None:
            raise LookupError(f"the kind {plural}.{group} is not served")
        return found

    def caches(self) -> Iterator[ResourceCache]:
        """The caches to feed: one per stored kind."""
        for served in self._stored.values():
            if not served.kind.virtual:
                yield served.cache

    def all(self) -> Iterator[Served]:
        return iter(self._table.values())

    def groups(self) -> dict[str, list[str]]:
        """Served groups with their versions, best first: the core group first, versions as Kubernetes ranks them."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._table:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        for versions in found.values():
            versions.sort(key=version_rank)
        return found


def version_rank(version: str) -> tuple[int, int, int]:
    """v2 before v1 before v1beta2 before v1beta1 before v1alpha1 (k8s.io/apimachinery `pkg/version`)."""
    body = version.removeprefix("v")
    for stage, word in enumerate(("", "beta", "alpha")):
        major, found, minor = body.partition(word) if word else (body, "", "")
        if major.isdigit() and (not word or (found and minor.isdigit())):
            return stage, -int(major), -int(minor or 0)
    return 3, 0, 0
