"""Rules on the links of a LAN, as nftables text, from what is to be cut and lost. Pure.

Every member hangs on a port of the bridge. What comes in at a member's port is marked with the member's number, and
what goes out at another's is dropped by that mark: so a cut is between two members whatever addresses they use (a
pod's, a service's, one reached through the LAN's router, ARP), in one direction or both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TABLE: Final = "argosy_chaos"
MARK: Final = 0x00C4A000
"""A member's number is added to it."""
LOSS_STEPS: Final = 10_000


@dataclass(frozen=True)
class Loss:
    """Frames from `source` to `target` that are lost; an empty one stands for all."""

    source: str
    target: str
    percent: float


@dataclass(frozen=True)
class Wires:
    """What is wrong with the links of a LAN."""

    cuts: frozenset[tuple[str, str]] = frozenset()
    """(from, to)."""
    losses: tuple[Loss, ...] = ()
    away: Mapping[str, str] | None = None
    """Cables that a relay reads, so that the bridge's machine is not to hear them: member to device."""


def script(ports: Mapping[str, str], numbers: Mapping[str, int], wires: Wires) -> str:
    """Replaces, at once, all rules there were. `ports`: member to its port, as far as plugged in."""
    # Made before it is deleted: nft has no "delete if it exists" before 1.0.8.
    lines = [f"table netdev {TABLE}", f"delete table netdev {TABLE}"]
    chains = []
    for member in sorted(ports, key=lambda item: numbers[item]):
        number, device = numbers[member], ports[member]
        out = _from_member(member, wires)
        if out is not None:
            chains += _chain(f"from_{number}", "ingress", device, [f"meta mark set {MARK + number:#x}", *out])
        into = _to_member(member, numbers, wires)
        if into:
            chains += _chain(f"to_{number}", "egress", device, into)
    for member, device in sorted((wires.away or {}).items()):
        if member in ports:
            chains += _chain(f"away_{numbers[member]}", "ingress", device, ["drop"])
    if chains:
        lines += [f"table netdev {TABLE} {{", *chains, "}"]
    return "\n".join(lines) + "\n"


def _chain(name: str, hook: str, device: str, rules: Sequence[str]) -> list[str]:
    head = f'    type filter hook {hook} device "{device}" priority 0; policy accept;'
    return [f"  chain {name} {{", head, *(f"    {rule}" for rule in rules), "  }"]


def _from_member(member: str, wires: Wires) -> list[str] | None:
    """None: nobody asks where frames come from."""
    lost = [_lose(item.percent) for item in wires.losses if item.source == member and not item.target]
    asked = any(source == member for source, _ in wires.cuts)
    asked = asked or any(item.source == member and item.target for item in wires.losses)
    return lost if lost or asked else None


def _to_member(member: str, numbers: Mapping[str, int], wires: Wires) -> list[str]:
    marks = sorted(MARK + numbers[source] for source, target in wires.cuts if target == member and source in numbers)
    rules = [f"meta mark {{ {', '.join(f'{mark:#x}' for mark in marks)} }} drop"] if marks else []
    for item in wires.losses:
        if item.target == member:
            which = f"meta mark {MARK + numbers[item.source]:#x} " if item.source else ""
            rules.append(which + _lose(item.percent))
    return rules


def _lose(percent: float) -> str:
    steps = round(percent * LOSS_STEPS / 100)
    return "drop" if steps >= LOSS_STEPS else f"numgen random mod {LOSS_STEPS} < {steps} drop"
