"""Applies rules with iptables, a change at a time (`--proxy-mode=iptables`).

The Proxy calls `sync` with the services that changed; the first call, a failed one and a look every so often
(`intact`) lead to `sync_all`. The backend is iptables-nft, or iptables-legacy where that is the machine's; both take
the same input.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from argosy import logs
from node_agent.proxy import restore, rules
from node_agent.proxy.command import CommandError, run
from node_agent.proxy.model import Family, NodeFacts, ServicePort

log = logs.get("node_agent.proxy.iptables")

Services = Mapping[str, Sequence[ServicePort]]
"""`namespace/name` to its ports, all families together."""


class Applier(Protocol):
    """What makes the kernel follow."""

    async def sync_all(self, services: Services, node: NodeFacts) -> None:
        """Write everything, and remove what does not belong. Raises CommandError."""

    async def sync(self, changed: Services, node: NodeFacts) -> None:
        """Write the services that changed (no ports: gone). Raises CommandError; then only `sync_all` helps."""

    async def intact(self) -> bool:
        """Whether the rules still stand (somebody may have flushed them)."""


class Iptables:
    """One family's rules."""

    def __init__(
        self, family: Family = "IPv4", prefix: Sequence[str] = (), which: Callable[[str], str | None] = shutil.which
    ) -> None:
        """`prefix` runs the tools elsewhere (tests: `nsenter --net=…`)."""
        self._family: Final = family
        name = "iptables" if family == "IPv4" else "ip6tables"
        kind = "-nft" if which(f"{name}-nft-restore") else ""
        self._restore = [*prefix, f"{name}{kind}-restore", "--noflush", "-w", "5"]
        self._save = [*prefix, f"{name}{kind}-save"]
        self._list = [*prefix, f"{name}{kind}", "-w", "5"]
        self._applied: dict[str, rules.Fragment] = {}

    async def sync_all(self, services: Services, node: NodeFacts) -> None:
        wanted = {key: self._fragment(ports, node) for key, ports in services.items()}
        saved = await run(self._save)
        frame = rules.frame(self._family)
        try:
            await run(self._restore, restore.full(frame, wanted.values(), saved))
        except CommandError:
            self._applied = {}
            raise
        self._applied = {key: piece for key, piece in wanted.items() if piece != rules.EMPTY}

    async def sync(self, changed: Services, node: NodeFacts) -> None:
        wanted = {key: self._fragment(ports, node) for key, ports in changed.items()}
        text = restore.change((self._applied.get(key), piece) for key, piece in wanted.items())
        if text:
            await run(self._restore, text)
        for key, piece in wanted.items():
            if piece == rules.EMPTY:
                self._applied.pop(key, None)
            else:
                self._applied[key] = piece

    async def intact(self) -> bool:
        """The canary chain is there, and the way to our chains."""
        try:
            await run([*self._list, "-t", "nat", "-S", "KUBE-PROXY-CANARY"])
            jumps = await run([*self._list, "-t", "nat", "-S", "PREROUTING"])
        except CommandError:
            return False
        return "-j KUBE-SERVICES" in jumps

    async def remove(self) -> None:
        """Take every rule of ours away."""
        saved = await run(self._save)
        text = restore.remove(rules.frame(self._family), saved)
        if text:
            await run(self._restore, text)
        self._applied = {}

    def _fragment(self, ports: Sequence[ServicePort], node: NodeFacts) -> rules.Fragment:
        return rules.fragment([port for port in ports if port.family == self._family], node)


class BothFamilies:
    """Two appliers as one; IPv6 only where the cluster has it."""

    def __init__(self, appliers: Sequence[Applier]) -> None:
        self._appliers = appliers

    async def sync_all(self, services: Services, node: NodeFacts) -> None:
        for applier in self._appliers:
            await applier.sync_all(services, node)

    async def sync(self, changed: Services, node: NodeFacts) -> None:
        for applier in self._appliers:
            await applier.sync(changed, node)

    async def intact(self) -> bool:
        for applier in self._appliers:
            if not await applier.intact():
                return False
        return True
