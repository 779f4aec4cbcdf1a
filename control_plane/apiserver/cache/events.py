"""One change of one object, as the cache hands it to watchers; its wire forms are made once and shared."""

from __future__ import annotations

from enum import Enum

from control_plane.apiserver.cache.entry import Entry


class Type(Enum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    ERROR = "ERROR"


class Change:
    """From `old` to `new` (None: absent) at `revision`."""

    __slots__ = ("_gone", "lines", "new", "old", "revision")

    def __init__(self, revision: int, new: Entry | None, old: Entry | None) -> None:
        self.revision = revision
        self.new = new
        self.old = old
        self._gone: Entry | None = None
        self.lines: dict[tuple[Type, str], bytes] = {}
        """Watch lines by (type, apiVersion): written once, whoever asks first."""

    @property
    def entry(self) -> Entry:
        """The newest state, or the last one."""
        entry = self.new or self.old
        assert entry is not None
        return entry

    def gone(self) -> Entry:
        """The last state with the resourceVersion of this change: the object of a DELETED event."""
        if self._gone is None:
            assert self.old is not None
            self._gone = self.old.at(self.revision)
        return self._gone


class Item:
    """What a watcher is given: a type, an entry, and the change that it came from (None for initial state)."""

    __slots__ = ("change", "entry", "type")

    def __init__(self, type_: Type, entry: Entry, change: Change | None = None) -> None:
        self.type = type_
        self.entry = entry
        self.change = change
