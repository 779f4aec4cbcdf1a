"""Keys and their versions: the multi-version part of the state machine, pure and without a wire.

`current` holds each live key's newest version, `past` the superseded versions that no compaction has dropped yet,
and `changes` every version in revision order, which is what watches replay. A version (`Item`) is immutable and
carries its encoded KeyValue, made once. One operation costs a dict lookup plus, for a new or deleted key, O(log n)
in `SortedKeys`; a key costs about 250 bytes beside its name and value.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice

from argosy.pb import etcd_pb2 as pb
from etcd.keys import SortedKeys


class Item:
    """One version of a key. A tombstone has version 0."""

    __slots__ = ("create_revision", "encoded", "key", "lease", "mod_revision", "version")

    def __init__(
        self, key: bytes, create_revision: int, mod_revision: int, version: int, lease: int, encoded: bytes
    ) -> None:
        self.key = key
        self.create_revision = create_revision
        self.mod_revision = mod_revision
        self.version = version
        self.lease = lease
        self.encoded = encoded
        """The KeyValue message."""

    @property
    def value(self) -> bytes:
        return pb.KeyValue.FromString(self.encoded).value

    @staticmethod
    def make(key: bytes, value: bytes, create_revision: int, mod_revision: int, version: int, lease: int) -> Item:
        encoded = pb.KeyValue(
            key=key,
            create_revision=create_revision,
            mod_revision=mod_revision,
            version=version,
            value=value,
            lease=lease,
        ).SerializeToString()
        return Item(key, create_revision, mod_revision, version, lease, encoded)

    @staticmethod
    def tombstone(key: bytes, revision: int) -> Item:
        return Item(key, 0, revision, 0, 0, pb.KeyValue(key=key, mod_revision=revision).SerializeToString())

    @staticmethod
    def decode(encoded: bytes) -> Item:
        """From a snapshot. Raises google.protobuf.message.DecodeError."""
        kv = pb.KeyValue.FromString(encoded)
        return Item(kv.key, kv.create_revision, kv.mod_revision, kv.version, kv.lease, encoded)


def _mod(item: Item) -> int:
    return item.mod_revision


class History:
    """All versions of all keys from the compacted revision on."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.current: dict[bytes, Item] = {}
        self.past: dict[bytes, list[Item]] = {}
        self.changes: list[Item] = []
        self.changes_dropped = 0
        """How many changes compaction took off the front: position in `changes` + this = position for ever."""
        self.size_bytes = 0
        """Encoded bytes of all versions held."""
        self._live = SortedKeys()
        self._dead = SortedKeys()
        self._dropping: list[Item] = []

    # Reading

    def get(self, key: bytes, revision: int | None = None) -> Item | None:
        """The version of a key visible at `revision` (None: the newest). The revision is not checked."""
        item = self.current.get(key)
        if revision is None or (item is not None and item.mod_revision <= revision):
            return item
        versions = self.past.get(key)
        if versions is None:
            return None
        at = bisect_right(versions, revision, key=_mod)
        if at == 0 or versions[at - 1].version == 0:
            return None
        return versions[at - 1]

    def count(self, start: bytes, end: bytes | None) -> int:
        """Live keys in [start, end)."""
        return self._live.count(start, end)

    def items(self, start: bytes, end: bytes | None, limit: int = 0) -> list[Item]:
        """Live keys' versions in [start, end) in key order, at most `limit` when that is above 0."""
        current = self.current
        keys = self._live.between(start, end)
        return [current[key] for key in (islice(keys, limit) if limit > 0 else keys)]

    def items_at(self, start: bytes, end: bytes | None, revision: int) -> list[Item]:
        """What `items` gave when the store was at `revision`, which must not be compacted."""
        keys = merge(self._live.between(start, end), self._dead.between(start, end))
        found = (self.get(key, revision) for key in keys)
        return [item for item in found if item is not None]

    def changes_from(self, revision: int) -> int:
        """The everlasting position of the first change at or after `revision`."""
        return bisect_left(self.changes, revision, key=_mod) + self.changes_dropped

    # Writing: the caller sets `revision` once its operation is complete

    def put(self, item: Item) -> Item | None:
        """Store a new version; gives the one before."""
        key = item.key
        old = self.current.get(key)
        if old is None:
            if key in self.past:
                self._dead.remove(key)
            self._live.add(key)
        else:
            self._supersede(old)
        self.current[key] = item
        self.changes.append(item)
        self.size_bytes += len(item.encoded)
        return old

    def delete(self, key: bytes, revision: int) -> Item:
        """Store a tombstone over a live key; gives the version before."""
        old = self.current.pop(key)
        self._live.remove(key)
        self._dead.add(key)
        self._supersede(old)
        tombstone = Item.tombstone(key, revision)
        self.past[key].append(tombstone)
        self.changes.append(tombstone)
        self.size_bytes += len(tombstone.encoded)
        return old

    def _supersede(self, old: Item) -> None:
        versions = self.past.get(old.key)
        if versions is None:
            self.past[old.key] = [old]
        else:
            versions.append(old)

    # Compaction: `compact` decides, `drop` does the work in slices (etcd.compaction says why)

    def compact(self, revision: int) -> None:
        """Forget what is not visible at `revision` or later. The revision is not checked."""
        count = bisect_left(self.changes, revision, key=_mod)
        end = bisect_right(self.changes, revision, lo=count, key=_mod)
        self.compacted = revision
        self._dropping.extend(self.changes[:end])
        self.changes_dropped += count
        del self.changes[:count]

    def drop(self, budget: int) -> bool:
        """Physically drop versions of up to `budget` changes; False when nothing is left to drop."""
        dropping = self._dropping
        for _ in range(min(budget, len(dropping))):
            self._drop_key(dropping.pop().key)
        return bool(dropping)

    def _drop_key(self, key: bytes) -> None:
        versions = self.past.get(key)
        if versions is None:
            return
        at = bisect_right(versions, self.compacted, key=_mod)
        item = self.current.get(key)
        if at and versions[at - 1].version and not (item is not None and item.mod_revision <= self.compacted):
            at -= 1
        self.size_bytes -= sum(len(version.encoded) for version in versions[:at])
        if at < len(versions):
            del versions[:at]
            return
        del self.past[key]
        if item is None:
            self._dead.remove(key)

    # Snapshots

    def capture(self) -> Capture:
        """A fixed view for a snapshot writer in another thread, cheap to take.

        Until the writer is done `drop` must not be called: version lists then only grow at their ends.
        """
        return Capture(
            self.revision, self.compacted, list(self.current.values()), list(self.past.values()), self.changes[:]
        )

    def restore(self, revision: int, compacted: int, items: Iterable[Item]) -> None:
        """Rebuild from a snapshot's items, in revision order. Raises ValueError when they are not."""
        self.__init__()  # type: ignore[misc]  # start over in place: others hold this object
        last = 0
        for item in items:
            if item.mod_revision < last or item.mod_revision > revision:
                raise ValueError("snapshot items are out of order")
            last = item.mod_revision
            old = self.current.pop(item.key, None)
            if old is not None:
                self._supersede(old)
            if item.version:
                self.current[item.key] = item
            else:
                self.past.setdefault(item.key, []).append(item)
            if item.mod_revision >= compacted:
                self.changes.append(item)
            self.size_bytes += len(item.encoded)
        self.revision = revision
        self.compacted = compacted
        self._live = SortedKeys(self.current)
        self._dead = SortedKeys(key for key in self.past if key not in self.current)
        self._dropping = self.changes[: bisect_right(self.changes, compacted, key=_mod)]


class Capture:
    """The immutable versions of one moment."""

    def __init__(
        self, revision: int, compacted: int, current: list[Item], past: list[list[Item]], changes: list[Item]
    ) -> None:
        self.revision = revision
        self.compacted = compacted
        self._current = current
        self._past = past
        self._changes = changes

    def items(self) -> Iterator[Item]:
        """What `History.restore` takes: for each key the version visible at the compacted revision, then changes."""
        base = [item for item in self._current if item.mod_revision < self.compacted]
        for versions in self._past:
            at = bisect_right(versions, self.compacted, key=_mod)
            if at and versions[at - 1].version and versions[at - 1].mod_revision < self.compacted:
                base.append(versions[at - 1])
        newest: dict[bytes, Item] = {}
        for item in base:
            before = newest.get(item.key)
            if before is None or before.mod_revision < item.mod_revision:
                newest[item.key] = item
        yield from sorted(newest.values(), key=lambda item: (item.mod_revision, item.key))
        yield from self._changes
