"""Applies rules with nftables (`--proxy-mode=nftables`): one table, one transaction a change.

The same `Applier` as iptables.py has. `nft_rules.py` says what the rules are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node_agent.proxy import nft_rules
from node_agent.proxy.command import CommandError, run
from node_agent.proxy.iptables import Services
from node_agent.proxy.model import Family, NodeFacts, ServicePort


class Nftables:
    """One family's rules."""

    def __init__(self, family: Family = "IPv4", prefix: Sequence[str] = ()) -> None:
        """`prefix` runs the tool elsewhere (tests: `nsenter --net=…`)."""
        self._family: Final = family
        self._nft = [*prefix, "nft"]
        self._table = ("ip" if family == "IPv4" else "ip6", nft_rules.TABLE)
        self._held = nft_rules.Held(family)

    async def sync_all(self, services: Services, node: NodeFacts) -> None:
        """The whole table anew; clients' affinity starts afresh."""
        held = nft_rules.Held(self._family)
        pieces = {key: self._piece(ports, node) for key, ports in services.items()}
        lines = nft_rules.frame(self._family, node) + held.change(pieces)
        await self._apply(lines)
        self._held = held

    async def sync(self, changed: Services, node: NodeFacts) -> None:
        lines = self._held.change({key: self._piece(ports, node) for key, ports in changed.items()})
        if lines:
            await self._apply(lines)

    async def intact(self) -> bool:
        try:
            found = await run([*self._nft, "list", "chain", *self._table, "nat-prerouting"])
        except CommandError:
            return False
        return "jump find" in found

    async def remove(self) -> None:
        family, name = self._table
        await self._apply([f"add table {family} {name}", f"delete table {family} {name}"])

    async def _apply(self, lines: Sequence[str]) -> None:
        await run([*self._nft, "-f", "-"], "\n".join(lines) + "\n")

    def _piece(self, ports: Sequence[ServicePort], node: NodeFacts) -> nft_rules.Piece:
        return nft_rules.piece([port for port in ports if port.family == self._family], node)
