"""`iptables-restore --noflush` input, from fragments of rules: pure.

A change writes only the chains and lines that differ. A full sync writes every chain, adds missing jumps and removes
the chains of services that are gone, from what `iptables-save` says is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from node_agent.proxy.rules import EMPTY, OWNED_PREFIXES, Chain, Fragment, Frame, Lines

TABLES: Final = ("filter", "nat")
"""In the order in which they are committed: a refusal goes away before its chain is there, never after."""


@dataclass
class _Table:
    declared: dict[str, None] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    dropped: dict[str, None] = field(default_factory=dict)

    def text(self, name: str) -> list[str]:
        if not (self.declared or self.rules or self.shared or self.dropped):
            return []
        lines = [f"*{name}"]
        lines += [f":{chain} - [0:0]" for chain in (*self.declared, *self.dropped)]
        lines += self.rules
        lines += self.shared
        lines += [f"-X {chain}" for chain in self.dropped]
        lines.append("COMMIT")
        return lines


def change(pairs: Iterable[tuple[Fragment | None, Fragment | None]]) -> str:
    """Input that turns the old fragments into the new ones; empty when nothing differs."""
    tables = {name: _Table() for name in TABLES}
    for old, new in pairs:
        _change(tables, old or EMPTY, new or EMPTY)
    return _text(tables)


def _change(tables: Mapping[str, _Table], old: Fragment, new: Fragment) -> None:
    nat = tables["nat"]
    for name, rules in new.chains.items():
        if old.chains.get(name) != rules:
            _write(nat, name, rules)
    for name in old.chains:
        if name not in new.chains:
            nat.dropped[name] = None
    for chain in {**old.lines, **new.lines}:
        before, after = old.lines.get(chain, ()), new.lines.get(chain, ())
        shared = tables[chain[0]].shared
        shared.extend(f"-I {chain[1]} {rule}" for rule in after if rule not in before)
        shared.extend(f"-D {chain[1]} {rule}" for rule in before if rule not in after)


def full(frame: Frame, fragments: Iterable[Fragment], saved: str) -> str:
    """Input that makes everything as it should be, whatever was there. `saved` is `iptables-save` output."""
    tables = {name: _Table() for name in TABLES}
    shared: dict[Chain, list[str]] = {}
    for piece in fragments:
        for name, rules in piece.chains.items():
            _write(tables["nat"], name, rules)
        for chain, lines in piece.lines.items():
            shared.setdefault(chain, []).extend(lines)
    for chain, last in frame.chains.items():
        _write(tables[chain[0]], chain[1], (*shared.get(chain, ()), *last))
    nat = tables["nat"]
    for name in saved_chains(saved).get("nat", ()):
        if name.startswith(OWNED_PREFIXES) and name not in nat.declared:
            nat.dropped[name] = None
    present = saved_jumps(saved)
    for jump in frame.jumps:
        if (jump.table, jump.builtin, _essence(jump.rule)) not in present:
            tables[jump.table].shared.append(f"-I {jump.builtin} {jump.rule}")
    return _text(tables)


def remove(frame: Frame, saved: str) -> str:
    """Input that takes away every rule and chain of ours that is there (leaving the mode, shutting a node down)."""
    tables = {name: _Table() for name in TABLES}
    present = saved_jumps(saved)
    for jump in frame.jumps:
        if (jump.table, jump.builtin, _essence(jump.rule)) in present:
            tables[jump.table].rules.append(f"-D {jump.builtin} {jump.rule}")
    ours = set(frame.chains)
    for table, names in saved_chains(saved).items():
        for name in names:
            if (table, name) in ours or (table == "nat" and name.startswith(OWNED_PREFIXES)):
                tables[table].dropped[name] = None
    return _text(tables)


def _write(table: _Table, name: str, rules: Sequence[str]) -> None:
    table.declared[name] = None
    table.rules.extend(f"-A {name} {rule}" for rule in rules)


def _text(tables: Mapping[str, _Table]) -> str:
    lines = [line for name in TABLES for line in tables[name].text(name)]
    return "\n".join(lines) + "\n" if lines else ""


def saved_chains(saved: str) -> dict[str, Lines]:
    """Chain names by table, from `iptables-save` output."""
    result: dict[str, list[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            result.setdefault(table, []).append(line[1:].split(" ", 1)[0])
    return {name: tuple(chains) for name, chains in result.items()}


def saved_jumps(saved: str) -> set[tuple[str, str, str]]:
    """(table, chain, essence) of each rule in the built-in chains."""
    result = set()
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith("-A ") and not line.startswith("-A KUBE-"):
            _, chain, rule = (*line.split(" ", 2), "")[:3]
            result.add((table, chain, _essence(rule)))
    return result


def _essence(rule: str) -> str:
    """A jump without its comment, as `iptables-save` prints it back."""
    words = rule.split('"')
    text = "".join(words[0::2]) if len(words) > 1 else rule
    return " ".join(text.replace("-m comment --comment", "").split())
