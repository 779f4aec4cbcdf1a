"""What happened in the store: every change of every revision, gathered from all members as they apply it.

It is the truth that acknowledgements and watches are held against. That two members, or one before and after a
crash, apply different things at a revision is a violation by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from etcd.history import History, Item

FIRST_REVISION = 2


class Ledger:
    def __init__(self, violation: Callable[[str], None]) -> None:
        self.changes: dict[int, dict[bytes, Item]] = {}
        self._violation = violation
        self._read_up_to: dict[str, tuple[History, int]] = {}

    @property
    def revision(self) -> int:
        return max(self.changes, default=FIRST_REVISION - 1)

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
        for revision in sorted(self.changes):
            if revision > after and (up_to is None or revision <= up_to):
                for item in self.changes[revision].values():
                    if item.key.startswith(prefix):
                        yield item

    def missing(self) -> list[int]:
        """Revisions that nobody was seen to apply."""
        return [number for number in range(FIRST_REVISION, self.revision + 1) if number not in self.changes]
