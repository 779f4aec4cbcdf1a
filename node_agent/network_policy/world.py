"""All that decides which traffic a node's pods may have, and the rules that follow from it; pure.

Fed with changes (`set_pod`, `set_namespace`, `set_policy`), asked for the whole state (`wanted`). A change costs the
selectors that this node's pods use and the pods of one namespace, never all pods; only a selector that is new looks
through the pods of the namespaces that it is for. Peers are sets of addresses that all rules share; a chain is named
after what it holds, so that pods with the same rules share one and a chain never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from node_agent.network_policy.model import LAST_PORT, Block, NamedPort, Peer, Pod, Policy, Ports, Rule

T = TypeVar("T")
Direction = Literal["from", "to"]
"""Which end of the traffic the pod is: `from` is its egress, `to` its ingress."""
DIRECTIONS: Final[tuple[Direction, ...]] = ("from", "to")
Members = Peer | NamedPort
"""What a set holds: the addresses of a peer, or address and port of all pods that have a port of a name."""
NOTHING: Final[frozenset[tuple[str, int]]] = frozenset()


@dataclass(frozen=True)
class Match:
    """Allows packets for which all that is given holds."""

    peer: Peer | Block | None = None
    protocol: str = ""
    ports: tuple[tuple[int, int], ...] = ()
    """Ranges, without overlaps; none: any port."""
    named: NamedPort | None = None


Chain = tuple[Match, ...]
"""Packets that no match allows are dropped."""


@dataclass(frozen=True)
class Wanted:
    """The state of a node's rules."""

    verdicts: Mapping[Direction, Mapping[str, Chain]] = field(default_factory=dict)
    """Address of a pod to its chain; one that is missing is not isolated in that direction."""
    sets: Mapping[Members, frozenset[tuple[str, int]]] = field(default_factory=dict)
    """(address, port or 0); the same object as before when nothing changed."""
    known: frozenset[str] = frozenset()
    """Addresses of this node's pods."""
    hold: bool = False
    """A pod that a policy selects has no address yet: addresses that are not known have to wait."""


class World:
    def __init__(self, node: str) -> None:
        self._node = node
        self._pods: dict[str, dict[str, Pod]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._policies: dict[str, dict[str, Policy]] = {}
        self._local: dict[str, dict[str, Pod]] = {}
        self._chains: dict[str, dict[Direction, Chain]] = {}
        """Of each local pod that is isolated."""
        self._stale: dict[str, Pod | None] = {}
        self._members: dict[Members, dict[str, frozenset[tuple[str, int]]]] = {}
        """Of each set in use, by pod."""
        self._sets: dict[Members, frozenset[tuple[str, int]]] = {}

    def set_pod(self, key: str, pod: Pod | None) -> None:
        namespace = key.partition("/")[0]
        old = self._pods.get(namespace, {}).get(key)
        if pod == old:
            return
        _put(self._pods, namespace, key, pod)
        here = pod if pod is not None and pod.node == self._node else None
        if here is not None or key in self._local.get(namespace, ()):
            _put(self._local, namespace, key, here)
            self._stale[key] = here
        for members in self._members:
            self._enter(members, key, pod)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        for members in self._members:
            if isinstance(members, Peer) and members.namespaces is not None:
                for key, pod in self._pods.get(name, {}).items():
                    self._enter(members, key, pod)

    def set_policy(self, key: str, policy: Policy | None) -> None:
        namespace = key.partition("/")[0]
        _put(self._policies, namespace, key, policy)
        self._stale.update(self._local.get(namespace, {}))

    def wanted(self) -> Wanted:
        stale, self._stale = self._stale, {}
        for key, pod in stale.items():
            chains = self._chains_of(pod) if pod is not None else {}
            if chains:
                self._chains[key] = chains
            else:
                self._chains.pop(key, None)
        if stale:
            self._use_sets()
        verdicts: dict[Direction, dict[str, Chain]] = {direction: {} for direction in DIRECTIONS}
        known: set[str] = set()
        hold = False
        for pods in self._local.values():
            for key, pod in pods.items():
                known.update(pod.addresses)
                chains = self._chains.get(key, {})
                hold = hold or (bool(chains) and not pod.addresses)
                for direction, chain in chains.items():
                    verdicts[direction].update(dict.fromkeys(pod.addresses, chain))
        for members in self._members:
            if members not in self._sets:
                self._sets[members] = NOTHING.union(*self._members[members].values())
        return Wanted(verdicts, dict(self._sets), frozenset(known), hold)

    def _chains_of(self, pod: Pod) -> dict[Direction, Chain]:
        found: dict[Direction, Chain] = {}
        policies = self._policies.get(pod.namespace, {})
        selecting = [policies[key] for key in sorted(policies) if policies[key].selector.matches(pod.labels)]
        for direction in DIRECTIONS:
            given = [policy.ingress if direction == "to" else policy.egress for policy in selecting]
            isolating = [rules for rules in given if rules is not None]
            if isolating:
                matches = [
                    match for rules in isolating for rule in rules for match in matches_of(rule, direction, pod)
                ]
                found[direction] = tuple(dict.fromkeys(matches))
        return found

    def _use_sets(self) -> None:
        """The sets that chains ask for, no more and no fewer."""
        used: dict[Members, None] = {}
        for chain in dict.fromkeys(chain for chains in self._chains.values() for chain in chains.values()):
            used.update(dict.fromkeys(members_of(chain)))
        for members in [members for members in self._members if members not in used]:
            del self._members[members]
            self._sets.pop(members, None)
        for members in used:
            if members not in self._members:
                self._members[members] = {}
                for namespace in self._spaces(members):
                    for key, pod in self._pods.get(namespace, {}).items():
                        self._enter(members, key, pod)

    def _spaces(self, members: Members) -> Iterable[str]:
        if isinstance(members, NamedPort):
            return list(self._pods)
        return [members.namespace] if members.namespaces is None else list(self._namespaces)

    def _enter(self, members: Members, key: str, pod: Pod | None) -> None:
        """Put a pod into a set, or take it out, as it is now."""
        found = self._elements(members, pod) if pod is not None else NOTHING
        if found == self._members[members].get(key, NOTHING):
            return
        self._sets.pop(members, None)
        if found:
            self._members[members][key] = found
        else:
            self._members[members].pop(key, None)

    def _elements(self, members: Members, pod: Pod) -> frozenset[tuple[str, int]]:
        if isinstance(members, NamedPort):
            asked = (members.protocol, members.name)
            numbers = [port.number for port in pod.ports if (port.protocol, port.name) == asked]
            return frozenset((address, number) for address in pod.addresses for number in numbers)
        if members.namespaces is None:
            inside = pod.namespace == members.namespace
        else:
            labels = self._namespaces.get(pod.namespace)
            inside = labels is not None and members.namespaces.matches(labels)
        if not inside or not members.pods.matches(pod.labels):
            return NOTHING
        return frozenset((address, 0) for address in pod.addresses)


def matches_of(rule: Rule, direction: Direction, pod: Pod) -> list[Match]:
    """What a rule allows to or from one pod. Ports by name are those of the pod that is dialled."""
    peers: Iterable[Peer | Block | None] = (None,) if rule.peers is None else rule.peers
    if rule.ports is None:
        return [Match(peer) for peer in peers]
    ranges: dict[str, list[tuple[int, int]]] = {}
    named: list[NamedPort] = []
    for port in rule.ports:
        if not port.name:
            ranges.setdefault(port.protocol, []).append((port.first, port.last))
        elif direction == "from":
            named.append(NamedPort(port.protocol, port.name))
        else:
            ranges.setdefault(port.protocol, []).extend(_numbers(port, pod))
    found: list[Match] = []
    for peer in peers:
        for protocol, pairs in ranges.items():
            merged = merge(pairs)
            if (0, LAST_PORT) in merged:
                found.append(Match(peer, protocol))
            elif merged:
                found.append(Match(peer, protocol, merged))
        found += [Match(peer, port.protocol, named=port) for port in named]
    return found


def _numbers(port: Ports, pod: Pod) -> list[tuple[int, int]]:
    asked = (port.protocol, port.name)
    return [(item.number, item.number) for item in pod.ports if (item.protocol, item.name) == asked]


def merge(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges that do not overlap: nftables refuses others."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def members_of(chain: Chain) -> list[Members]:
    peers: list[Members] = [match.peer for match in chain if isinstance(match.peer, Peer)]
    return peers + [match.named for match in chain if match.named is not None]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _put(by_namespace: dict[str, dict[str, T]], namespace: str, key: str, value: T | None) -> None:
    inside = by_namespace.setdefault(namespace, {})
    if value is None:
        inside.pop(key, None)
    else:
        inside[key] = value
    if not inside:
        del by_namespace[namespace]
