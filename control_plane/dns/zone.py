"""The index from names to records, kept per change, and the answer to a question. No I/O.

A name is known when it has records or when a known name ends with it (an empty non-terminal); what is known but has
no record of the asked type is NODATA, what is not known is NXDOMAIN. Both come with the zone's SOA, so that resolvers
may remember them (RFC 2308).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from control_plane.dns import names
from control_plane.dns.records import Record, address_record

CNAME_DEPTH: Final = 8
REVERSE_ZONES: Final = ("in-addr.arpa", "ip6.arpa")
VERSION: Final = "1.1.0"
"""Of the DNS specification; `dns-version.DOMAIN` says it as TXT."""


class Outcome(Enum):
    ANSWER = "answer"
    NODATA = "no data"
    NXDOMAIN = "no such name"
    ELSEWHERE = "not ours"


@dataclass(frozen=True)
class Answer:
    outcome: Outcome
    records: Sequence[Record] = ()
    additional: Sequence[Record] = ()
    """Addresses of what SRV records name."""
    text: str = ""
    """A TXT record's content."""


@dataclass
class _Entry:
    records: dict[Record, int] = field(default_factory=dict)
    """With how many owners put it there."""
    below: int = 0
    """How many records have this name as a proper suffix."""


class Zone:
    """The records of one cluster."""

    def __init__(self, domain: str, namespace_exists: Callable[[str], bool] = lambda _: True) -> None:
        """`namespace_exists` decides for which namespaces pod names are answered."""
        self.domain = names.normal(domain)
        self._namespace_exists = namespace_exists
        self._entries: dict[str, _Entry] = {}
        self._owned: dict[str, tuple[Record, ...]] = {}
        for name in ("svc", "pod"):
            self._entry(f"{name}.{self.domain}", 1)
        self.serial = 1

    def __len__(self) -> int:
        return sum(len(entry.records) for entry in self._entries.values())

    def set(self, owner: str, records: Iterable[Record]) -> bool:
        """What `owner` (`namespace/name` of a service) says from now on; whether that is a change."""
        new = tuple(records)
        old = self._owned.get(owner, ())
        if new == old:
            return False
        for record in new:
            self._add(record)
        for record in old:
            self._remove(record)
        if new:
            self._owned[owner] = new
        else:
            self._owned.pop(owner, None)
        self.serial = (self.serial + 1) & 0xFFFFFFFF
        return True

    def ours(self, name: str) -> bool:
        return name == self.domain or name.endswith("." + self.domain)

    def ask(self, name: str, kind: str) -> Answer:
        """`kind` is a record type's name, or `ANY`."""
        name = names.normal(name)
        if not self.ours(name):
            entry = self._entries.get(name)
            if entry is None or not name.endswith(REVERSE_ZONES):
                return Answer(Outcome.ELSEWHERE)
            return self._chosen(entry, kind)
        entry = self._entries.get(name)
        if entry is not None:
            return self._chosen(entry, kind)
        if name == f"dns-version.{self.domain}":
            return Answer(Outcome.ANSWER, text=VERSION) if kind in ("TXT", "ANY") else Answer(Outcome.NODATA)
        if name == self.domain:
            return Answer(Outcome.NODATA)
        return self._pod(name, kind)

    def _chosen(self, entry: _Entry, kind: str) -> Answer:
        records = [record for record in entry.records if kind in (record.type, "ANY")]
        if not records:
            aliases = [record for record in entry.records if record.type == "CNAME"]
            return self._follow(aliases, kind) if aliases else Answer(Outcome.NODATA)
        additional: dict[Record, None] = {}
        for record in records:
            if record.type == "SRV":
                additional.update(dict.fromkeys(self.addresses(record.value)))
        return Answer(Outcome.ANSWER, records, list(additional))

    def _follow(self, chain: list[Record], kind: str) -> Answer:
        """A CNAME within the zone is answered with what it leads to."""
        while len(chain) < CNAME_DEPTH:
            entry = self._entries.get(chain[-1].value)
            if entry is None:
                break
            found = [record for record in entry.records if record.type == kind]
            if found:
                return Answer(Outcome.ANSWER, [*chain, *found])
            further = [record for record in entry.records if record.type == "CNAME"]
            if not further or further[0] in chain:
                break
            chain = [*chain, further[0]]
        return Answer(Outcome.ANSWER, chain)

    def addresses(self, name: str) -> list[Record]:
        entry = self._entries.get(names.normal(name))
        return [record for record in entry.records if record.type in ("A", "AAAA")] if entry else []

    def _pod(self, name: str, kind: str) -> Answer:
        labels = name[: -len(self.domain) - 1].split(".")
        if labels[-1] != "pod" or len(labels) not in (2, 3) or not self._namespace_exists(labels[-2]):
            if labels[-1] == "svc" and len(labels) == 2 and self._namespace_exists(labels[0]):
                return Answer(Outcome.NODATA)
            return Answer(Outcome.NXDOMAIN)
        if len(labels) == 2:
            return Answer(Outcome.NODATA)
        ip = names.undashed(labels[0])
        if not ip:
            return Answer(Outcome.NXDOMAIN)
        record = address_record(name, ip)
        return Answer(Outcome.ANSWER, [record]) if kind in (record.type, "ANY") else Answer(Outcome.NODATA)

    def _add(self, record: Record) -> None:
        entry = self._entry(record.name, 0)
        count = entry.records.get(record, 0)
        entry.records[record] = count + 1
        if not count:
            self._suffixes(record.name, 1)

    def _remove(self, record: Record) -> None:
        entry = self._entries.get(record.name)
        if entry is None:
            return
        count = entry.records.get(record, 0)
        if count > 1:
            entry.records[record] = count - 1
        elif count == 1:
            del entry.records[record]
            self._suffixes(record.name, -1)
            self._drop_if_empty(record.name)

    def _entry(self, name: str, below: int) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = _Entry()
        entry.below += below
        return entry

    def _suffixes(self, name: str, step: int) -> None:
        if not self.ours(name):
            return
        rest = name
        while True:
            rest = rest.partition(".")[2]
            if len(rest) <= len(self.domain):
                return
            self._entry(rest, step)
            self._drop_if_empty(rest)

    def _drop_if_empty(self, name: str) -> None:
        entry = self._entries.get(name)
        if entry is not None and not entry.records and entry.below <= 0:
            del self._entries[name]
