"""The flat maps: changes one by one end where a full sync ends, and one change touches one service."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.proxy import nft_rules
from node_agent.proxy.model import Endpoint, NodeFacts, ServicePort

NODE = NodeFacts("here", ("10.244.0.0/16",))


class Table:
    """What nft would hold, refusing what it refuses."""

    def __init__(self) -> None:
        self.elements: dict[str, dict[str, str]] = {}
        self.chains: dict[str, list[str]] = {"refuse": []}
        self.sets: set[str] = set()

    def apply(self, lines: list[str]) -> None:
        for line in lines:
            verb, kind, _, _, name, rest = (*line.split(" ", 5), "")[:6]
            match verb, kind:
                case "add", "set":
                    self.sets.add(name)
                case "delete", "set":
                    assert not any(f"@{name}" in rule for rules in self.chains.values() for rule in rules)
                    self.sets.remove(name)
                case "add", "chain":
                    self.chains.setdefault(name, [])
                case "flush", "chain":
                    self.chains[name] = []
                case "delete", "chain":
                    assert name not in self.used(), f"{name} is used"
                    del self.chains[name]
                case "add", "rule":
                    self.chains[name].append(rest)
                case _, "element":
                    self._elements(verb, name, rest)
                case _:
                    raise AssertionError(line)
        assert self.used() <= set(self.chains)

    def _elements(self, verb: str, name: str, rest: str) -> None:
        held = self.elements.setdefault(name, {})
        for text in rest.strip("{} ").split(", "):
            key, _, value = text.partition(" : ")
            if verb == "add":
                assert held.get(key, value) == value, f"{name}: {key} leads elsewhere already"
                held[key] = value
            else:
                assert held.pop(key) == value

    def used(self) -> set[str]:
        values = [value for held in self.elements.values() for value in held.values()]
        texts = values + [rule for rules in self.chains.values() for rule in rules]
        return {name for text in texts for name in re.findall(r"goto (\S+?)(?=,|\s|$)", text)}

    def comparable(self) -> Any:
        elements = {name: held for name, held in self.elements.items() if held}
        shared = re.compile(r"(vip|port)-\d+")
        return elements, {name: rules for name, rules in self.chains.items() if not shared.fullmatch(name)}, self.sets


def port(name: str, shape: tuple[int, int, bool, bool, bool, bool]) -> tuple[ServicePort, ...]:
    count, local, affinity, internal_local, external_local, outside = shape
    if count < 0:
        return ()
    endpoints = tuple(Endpoint(f"10.244.0.{number}", 80, number < local) for number in range(count))
    here = tuple(item for item in endpoints if item.local)
    return (
        ServicePort(
            f"default/{name}",
            "IPv4",
            "tcp",
            f"10.96.0.{ord(name)}",
            80,
            node_port=30_000 + ord(name) if outside else 0,
            load_balancer_ips=(f"192.0.2.{ord(name)}",) if outside else (),
            source_ranges=("10.0.0.0/8",) if outside and affinity else (),
            affinity_s=60 if affinity else 0,
            internal_local=internal_local,
            external_local=external_local and outside,
            cluster_endpoints=endpoints,
            local_endpoints=here if internal_local or (external_local and outside) else (),
        ),
    )


shapes = st.tuples(st.integers(-1, 4), st.integers(0, 3), *[st.booleans()] * 4)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), shapes, min_size=1, max_size=3), max_size=6))
def test_changes_one_by_one_end_where_a_full_sync_ends(steps: list[dict[str, Any]]) -> None:
    held, table = nft_rules.Held("IPv4"), Table()
    state: dict[str, nft_rules.Piece] = {}
    for step in steps:
        wanted = {name: nft_rules.piece(port(name, shape), NODE) for name, shape in step.items()}
        table.apply(held.change(wanted))
        state.update(wanted)
    fresh = Table()
    fresh.apply(nft_rules.Held("IPv4").change(state))
    assert table.comparable() == fresh.comparable()


def test_one_change_touches_one_service() -> None:
    held = nft_rules.Held("IPv4")
    pieces = {name: nft_rules.piece(port(name, (3, 0, False, False, False, False)), NODE) for name in "abc"}
    held.change(pieces)
    lines = held.change({"a": nft_rules.piece(port("a", (2, 0, False, False, False, False)), NODE)})
    assert not any("10.96.0.98" in line for line in lines)
    assert len(lines) <= 12
    assert held.change({"a": nft_rules.piece(port("a", (2, 0, False, False, False, False)), NODE)}) == []
