"""The nftables table of network policies: from the wanted state to statements, and one transaction a change.

On the forward path, after addresses of Services were translated, before anything else. Traffic between pods of one
node crosses the bridge and passes here by br_netfilter, which a node's network switches on; traffic between a node
and its own pods is not forwarded, so it is always allowed, as upstream wants it. Called by enforcer.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from node_agent.network.cni import BRIDGE
from node_agent.network_policy.model import Block, Peer
from node_agent.network_policy.world import DIRECTIONS, Chain, Direction, Match, Members, Wanted, digest
from node_agent.proxy.command import CommandError, run

TABLE: Final = "inet argosy-policy"
FAMILIES: Final = ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr"))
PEER_FIELD: Final[Mapping[Direction, str]] = {"from": "daddr", "to": "saddr"}
OWN_FIELD: Final[Mapping[Direction, str]] = {"from": "saddr", "to": "daddr"}
NEIGHBOURS: Final = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert"

Contents = dict[str, dict[str, str]]
"""Of each set or map its elements; a set's values are empty."""


def frame() -> list[str]:
    """The statements that make the table anew, without any pod."""
    lines = [f"add table {TABLE}", f"delete table {TABLE}", f"add table {TABLE}"]
    rules = ["ct state established,related accept", f"icmpv6 type {{ {NEIGHBOURS} }} accept"]
    for number, ip, kind in FAMILIES:
        lines.append(f"add set {TABLE} self-{number} {{ type {kind} . {kind}; }}")
        lines.append(f"add set {TABLE} known-{number} {{ type {kind}; }}")
        lines += [f"add map {TABLE} {direction}-{number} {{ type {kind} : verdict; }}" for direction in DIRECTIONS]
        rules.append(f"{ip} saddr . {ip} daddr @self-{number} accept")
    rules.append("jump hold")
    for direction in DIRECTIONS:
        rules += [f"{ip} {OWN_FIELD[direction]} vmap @{direction}-{number}" for number, ip, _ in FAMILIES]
    lines.append(f"add chain {TABLE} hold")
    lines.append(f"add chain {TABLE} forward {{ type filter hook forward priority -5; }}")
    return lines + [f"add rule {TABLE} forward {rule}" for rule in rules]


def hold_rules() -> list[str]:
    """For addresses on the bridge that are not known yet."""
    rules = [f'iifname "{BRIDGE}" {ip} saddr != @known-{number} drop' for number, ip, _ in FAMILIES]
    return rules + [f'oifname "{BRIDGE}" {ip} daddr != @known-{number} drop' for number, ip, _ in FAMILIES]


def set_name(members: Members, family: int) -> str:
    if isinstance(members, Peer):
        text = f"{members.namespace}|{members.pods}|{members.namespaces}|{members.namespaces is None}"
        return f"peer-{digest(text)}-{family}"
    return f"port-{digest(f'{members.protocol} {members.name}')}-{family}"


def rules_of(match: Match, direction: Direction) -> list[str]:
    """A match that means both families becomes a rule for each."""
    if match.peer is None and match.named is None:
        return [" ".join([*_ports(match), "return"])]
    rules: list[str] = []
    for number, ip, _ in FAMILIES:
        parts: list[str] = []
        if isinstance(match.peer, Block):
            if match.peer.family != number:
                continue
            parts += _block(match.peer, ip, PEER_FIELD[direction])
        elif match.peer is not None:
            parts.append(f"{ip} {PEER_FIELD[direction]} @{set_name(match.peer, number)}")
        if match.named is not None:
            name = set_name(match.named, number)
            parts.append(f"{ip} daddr . {match.protocol.lower()} dport @{name}")
        else:
            parts += _ports(match)
        rules.append(" ".join([*parts, "return"]))
    return rules


def _block(block: Block, ip: str, field: str) -> list[str]:
    whole = "meta nfproto ipv4" if ip == "ip" else "meta nfproto ipv6"
    parts = [whole if block.cidr.endswith("/0") else f"{ip} {field} {block.cidr}"]
    if block.excepted:
        parts.append(f"{ip} {field} != {{ {', '.join(block.excepted)} }}")
    return parts


def _ports(match: Match) -> list[str]:
    if not match.protocol:
        return []
    protocol = match.protocol.lower()
    if not match.ports:
        return [f"meta l4proto {protocol}"]
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in match.ports]
    return [f"{protocol} dport {{ {', '.join(texts)} }}"]


class Held:
    """What the kernel holds; `change` gives the statements that lead to what is wanted."""

    def __init__(self) -> None:
        self._sets: dict[Members, frozenset[tuple[str, int]]] = {}
        self._chains: dict[str, None] = {}
        self._maps: Contents = {}
        self._hold = False
        self._names: dict[tuple[Direction, Chain], tuple[str, list[str]]] = {}

    def change(self, wanted: Wanted) -> list[str]:
        new, changed, gone = self._change_sets(wanted.sets)
        maps, chains = self._maps_of(wanted)
        lines = new + changed
        for name, rules in chains.items():
            if name not in self._chains:
                lines.append(f"add chain {TABLE} {name}")
                lines += [f"add rule {TABLE} {name} {rule}" for rule in rules]
        for name, elements in maps.items():
            lines += change_elements(name, self._maps.get(name, {}), elements)
        old = [name for name in self._chains if name not in chains]
        lines += [f"flush chain {TABLE} {name}" for name in old] + [f"delete chain {TABLE} {name}" for name in old]
        lines += gone
        if wanted.hold != self._hold:
            lines.append(f"flush chain {TABLE} hold")
            lines += [f"add rule {TABLE} hold {rule}" for rule in (hold_rules() if wanted.hold else ())]
        self._sets, self._maps, self._hold = dict(wanted.sets), maps, wanted.hold
        self._chains = dict.fromkeys(chains)
        return lines

    def _change_sets(
        self, wanted: Mapping[Members, frozenset[tuple[str, int]]]
    ) -> tuple[list[str], list[str], list[str]]:
        new: list[str] = []
        changed: list[str] = []
        for members, elements in wanted.items():
            old = self._sets.get(members)
            if old is elements:
                continue
            for number, _, kind in FAMILIES:
                name = set_name(members, number)
                if old is None:
                    key = kind if isinstance(members, Peer) else f"{kind} . inet_service"
                    new.append(f"add set {TABLE} {name} {{ type {key}; }}")
                before, after = _texts(old or (), number), _texts(elements, number)
                changed += change_elements(name, before, after)
        gone = [members for members in self._sets if members not in wanted]
        old_names = [set_name(members, number) for members in gone for number in (4, 6)]
        return new, changed, [f"delete set {TABLE} {name}" for name in old_names]

    def _maps_of(self, wanted: Wanted) -> tuple[Contents, dict[str, list[str]]]:
        maps: Contents = {}
        chains: dict[str, list[str]] = {}
        names: dict[tuple[Direction, Chain], tuple[str, list[str]]] = {}
        for number, _, _ in FAMILIES:
            known = [address for address in sorted(wanted.known) if family_of(address) == number]
            maps[f"known-{number}"] = dict.fromkeys(known, "")
            maps[f"self-{number}"] = dict.fromkeys([f"{address} . {address}" for address in known], "")
            for direction in DIRECTIONS:
                elements = maps.setdefault(f"{direction}-{number}", {})
                for address, chain in wanted.verdicts.get(direction, {}).items():
                    if family_of(address) != number:
                        continue
                    key = (direction, chain)
                    name, rules = names[key] = names.get(key) or self._names.get(key) or _chain(direction, chain)
                    chains[name] = rules
                    elements[address] = f"jump {name}"
        self._names = names
        return maps, chains


def _chain(direction: Direction, chain: Chain) -> tuple[str, list[str]]:
    rules = [rule for match in chain for rule in rules_of(match, direction)] + ["drop"]
    return f"{direction}-{digest(chr(10).join(rules))}", rules


def _texts(elements: Iterable[tuple[str, int]], family: int) -> dict[str, str]:
    found = sorted(item for item in elements if family_of(item[0]) == family)
    return {f"{address} . {port}" if port else address: "" for address, port in found}


def family_of(address: str) -> int:
    return 6 if ":" in address else 4


def change_elements(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Delete, then add: an element whose value changes is both."""
    gone = [key for key in old if new.get(key) != old[key]]
    come = [f"{key} : {value}" if value else key for key, value in new.items() if old.get(key) != value]
    lines = [f"delete element {TABLE} {name} {{ {', '.join(gone)} }}"] if gone else []
    return lines + ([f"add element {TABLE} {name} {{ {', '.join(come)} }}"] if come else [])


class PolicyTable:
    """Applies to the network namespace of this process."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        """`prefix` runs the tool elsewhere (tests: `nsenter --net=…`)."""
        self._nft = [*prefix, "nft"]
        self._held: Held | None = None

    async def apply(self, wanted: Wanted) -> None:
        """At once or not at all; after a failure, and the first time, the whole table anew. Raises CommandError."""
        held, lines = self._held, []
        if held is None:
            held, lines = Held(), frame()
        lines += held.change(wanted)
        if not lines:
            return
        self._held = None
        await run([*self._nft, "-f", "-"], "\n".join(lines) + "\n")
        self._held = held

    async def intact(self) -> bool:
        try:
            found = await run([*self._nft, "list", "chain", *TABLE.split(), "forward"])
        except CommandError:
            return False
        return "jump hold" in found

    def forget(self) -> None:
        """Write everything anew the next time."""
        self._held = None

    async def remove(self) -> None:
        """Raises CommandError."""
        self._held = None
        await run([*self._nft, "-f", "-"], f"add table {TABLE}\ndelete table {TABLE}\n")
