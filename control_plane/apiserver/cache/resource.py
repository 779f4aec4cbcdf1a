"""The cached state of one resource: objects by key, indexes, recent changes, and the watchers of each index value.

A change is offered only to the watchers it can concern: those of everything, of its namespace, of its name, and
of its values of the indexed fields (pods' spec.nodeName), before and after. The feeder is the only writer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.cache.events import Change
from control_plane.apiserver.cache.watcher import Watcher

RING_MIN_CHANGES: Final = 256
RING_BYTES: Final = 4 << 20
RING_MAX_CHANGES: Final = 20_000
ALL: Final = ""
BY_NAMESPACE: Final = "metadata.namespace"
BY_KEY: Final = "key"

FieldGetter = Callable[[JsonObject], str]
Decode = Callable[[str, bytes, int], Entry]


class TooOld(Exception):
    """The revision is older than the kept changes; `oldest` is the first that can be resumed from."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {revision} ({oldest})")
        self.oldest = oldest


class ResourceCache:
    """`prefix` is the store's key prefix, e.g. `/registry/pods/`; `indexed` the indexed field labels."""

    def __init__(
        self, prefix: str, indexed: Mapping[str, FieldGetter] | None = None, decode: Decode = Entry.stored
    ) -> None:
        """`decode` makes an entry of (key, stored bytes, revision)."""
        self.prefix = prefix
        self.decode = decode
        self._indexed = dict(indexed or {})
        self._entries: dict[str, Entry] = {}
        self._by_namespace: dict[str, dict[str, Entry]] = {}
        self._by_field: dict[str, dict[str, dict[str, Entry]]] = {name: {} for name in self._indexed}
        self._sorted: list[str] | None = None
        self._ring: deque[Change] = deque()
        self._ring_bytes = 0
        self._oldest = 0
        """Resuming strictly after any revision from here on misses nothing."""
        self._watchers: dict[tuple[str, str], dict[int, Watcher]] = {}
        self._watcher_count = 0
        self.changed_revision = 0
        """The revision of the last change of this resource."""
        self.ready = False
        self.unread: dict[str, str] = {}
        """Keys of stored objects that could not be decrypted, and why."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def watchers(self) -> int:
        return self._watcher_count

    @property
    def oldest(self) -> int:
        return self._oldest

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def entries(self) -> Iterable[Entry]:
        """Every object, in no order."""
        return self._entries.values()

    def select(self, namespace: str = "", field: str = "", value: str = "") -> list[Entry]:
        """Objects in the order of their keys; of one namespace, or of one value of an indexed field."""
        if field and field in self._by_field:
            found = self._by_field[field].get(value, {})
            entries = [found[key] for key in sorted(found)]
            if namespace:
                return [entry for entry in entries if entry.obj["metadata"].get("namespace") == namespace]
            return entries
        if namespace:
            inside = self._by_namespace.get(namespace, {})
            return [inside[key] for key in sorted(inside)]
        if self._sorted is None:
            self._sorted = sorted(self._entries)
        return [self._entries[key] for key in self._sorted]

    def indexes(self, field: str) -> bool:
        return field in self._by_field

    # what the feeder does

    def reset(self, entries: Iterable[Entry], revision: int) -> None:
        """Start anew from a full read at `revision`; watchers are cut off, for changes were missed."""
        self._entries.clear()
        self._by_namespace.clear()
        for values in self._by_field.values():
            values.clear()
        self._sorted = None
        self._ring.clear()
        self._ring_bytes = 0
        self._oldest = revision
        for entry in entries:
            self._put(entry, None)
            self.changed_revision = max(self.changed_revision, entry.revision)
        self.ready = True
        self.retire()

    def retire(self) -> None:
        """Cut watchers off. What is there stays, for requests that are under way when another cache takes over."""
        for bucket in list(self._watchers.values()):
            for watcher in list(bucket.values()):
                watcher.close()

    def apply(self, key: str, entry: Entry | None, revision: int) -> None:
        """One change from the store: the new state, or None for a deletion."""
        old = self._entries.get(key)
        if entry is None and old is None:
            return
        if old is not None and revision <= old.revision:
            return
        if entry is None:
            self._remove(key, old)
        else:
            self._put(entry, old)
        self.changed_revision = revision
        change = Change(revision, entry, old)
        self._remember(change)
        for watcher in self._concerned(change):
            watcher.push(change)

    def _put(self, entry: Entry, old: Entry | None) -> None:
        key = entry.key
        if key not in self._entries:
            self._sorted = None
        self._entries[key] = entry
        namespace = entry.obj["metadata"].get("namespace")
        if namespace:
            self._by_namespace.setdefault(namespace, {})[key] = entry
        for field, getter in self._indexed.items():
            values = self._by_field[field]
            value = getter(entry.obj)
            if old is not None and (before := getter(old.obj)) != value:
                _drop(values, before, key)
            values.setdefault(value, {})[key] = entry

    def _remove(self, key: str, old: Entry | None) -> None:
        assert old is not None
        del self._entries[key]
        self._sorted = None
        namespace = old.obj["metadata"].get("namespace")
        if namespace:
            _drop(self._by_namespace, namespace, key)
        for field, getter in self._indexed.items():
            _drop(self._by_field[field], getter(old.obj), key)

    def _remember(self, change: Change) -> None:
        self._ring.append(change)
        self._ring_bytes += len(change.entry.raw)
        while len(self._ring) > RING_MAX_CHANGES or (
            self._ring_bytes > RING_BYTES and len(self._ring) > RING_MIN_CHANGES
        ):
            dropped = self._ring.popleft()
            self._ring_bytes -= len(dropped.entry.raw)
            self._oldest = dropped.revision

    def _concerned(self, change: Change) -> list[Watcher]:
        if not self._watchers:
            return []
        keys = {(ALL, ""): None, (BY_KEY, change.entry.key): None}
        namespace = change.entry.obj["metadata"].get("namespace")
        if namespace:
            keys[BY_NAMESPACE, namespace] = None
        for field, getter in self._indexed.items():
            for entry in (change.old, change.new):
                if entry is not None:
                    keys[field, getter(entry.obj)] = None
        found: list[Watcher] = []
        for key in keys:
            bucket = self._watchers.get(key)
            if bucket:
                found.extend(bucket.values())
        return found

    # what watchers do

    def watch(self, watcher: Watcher, bucket: tuple[str, str], since: int | None) -> None:
        """Register, after replaying changes since `since`; None: only what comes. Raises TooOld."""
        if since is not None:
            if since < self._oldest:
                raise TooOld(since, self._oldest)
            for change in self._since(since):
                watcher.push(change)
        watcher.bucket = bucket
        self._watchers.setdefault(bucket, {})[id(watcher)] = watcher
        self._watcher_count += 1

    def unwatch(self, watcher: Watcher) -> None:
        bucket = self._watchers.get(watcher.bucket)
        if bucket is not None and bucket.pop(id(watcher), None) is not None:
            self._watcher_count -= 1
            if not bucket:
                del self._watchers[watcher.bucket]

    def _since(self, revision: int) -> list[Change]:
        newer: list[Change] = []
        for change in reversed(self._ring):
            if change.revision <= revision:
                break
            newer.append(change)
        newer.reverse()
        return newer

    def bucket_for(self, namespace: str, name: str, pinned: Callable[[str], str | None]) -> tuple[str, str]:
        """The narrowest bucket that holds everything a watch of these selectors can see."""
        if name and namespace:
            return BY_KEY, f"{namespace}/{name}"
        if name and not self._by_namespace:
            return ALL, ""
        for field in self._indexed:
            value = pinned(field)
            if value is not None:
                return field, value
        if namespace:
            return BY_NAMESPACE, namespace
        return ALL, ""


def _drop(groups: dict[str, dict[str, Entry]], value: str, key: str) -> None:
    group = groups.get(value)
    if group is not None:
        group.pop(key, None)
        if not group:
            del groups[value]
