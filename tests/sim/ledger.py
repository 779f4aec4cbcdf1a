"""What happened in the store: every change of every revision, gathered from all members as they apply it.

It is the truth that acknowledgements and watches are held against. That two members, or one before and after a
crash, apply different things at a revision is a violation by itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice

from etcd.history import History, Item

FIRST_REVISION = 2


class Ledger:
    def __init__(self, violation: Callable[[str], None]) -> None:
        self.changes: dict[int, dict[bytes, Item]] = {}
        self._sorted: list[int] = []
        self._violation = violation
        self._read_up_to: dict[str, tuple[History, int]] = {}

    @property
    def revision(self) -> int:
        order = self._order()
        return order[-1] if order else FIRST_REVISION - 1

    def read(self, member: str, history: History) -> None:
        """Take what the member has applied since the last call."""
        known, up_to = self._read_up_to.get(member, (history, 0))
        if known is not history:
            up_to = 0
        if history.revision == up_to:
            return
        start = history.changes_from(up_to + 1) - history.changes_dropped
        changes = self.changes
        for item in history.changes[start:]:
            at = changes.get(item.mod_revision)
            if at is None:
                changes[item.mod_revision] = {item.key: item}
                continue
            before = at.setdefault(item.key, item)
            if before is not item and before.encoded != item.encoded:
                self._violation(f"{member} has another {item.key!r} at revision {item.mod_revision} than was there")
        self._read_up_to[member] = (history, history.revision)

    def items(self, prefix: bytes = b"", after: int = 0, up_to: int | None = None) -> Iterator[Item]:
        """Changes under a prefix in revision order, from `after` exclusively to `up_to` inclusively."""
        order = self._order()
        for revision in islice(order, bisect_right(order, after), None):
            if up_to is not None and revision > up_to:
                return
            for item in self.changes[revision].values():
                if item.key.startswith(prefix):
                    yield item

    def _order(self) -> list[int]:
        """All revisions, sorted once for all who ask between two changes."""
        if len(self._sorted) != len(self.changes):
            self._sorted = sorted(self.changes)
        return self._sorted

    def missing(self) -> list[int]:
        """Revisions that nobody was seen to apply."""
        return [number for number in range(FIRST_REVISION, self.revision + 1) if number not in self.changes]
