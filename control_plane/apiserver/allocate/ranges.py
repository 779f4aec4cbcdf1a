"""Which addresses and ports may be given out, and a free one among them.

What is taken is what the store says: one key per address or port (`cache.feeder.KeySet`), written in the same
transaction as its Service, so that several API servers can allocate at once and nothing needs repair. The lower
end of a range is kept for explicit requests as upstream does (KEP-3070, KEP-3668).
"""

from __future__ import annotations

import ipaddress
from typing import Final

from argosy.host import Rng
from control_plane.apiserver.cache.feeder import KeySet
from control_plane.apiserver.storage.store import ROOT

IP_PREFIX: Final = ROOT + "argosy/serviceips/"
PORT_PREFIX: Final = ROOT + "argosy/servicenodeports/"
PROBES: Final = 64
MAX_SCAN: Final = 1 << 17


class Exhausted(Exception):
    """Nothing is free."""


class Numbers:
    """Numbers [0, size) that stand for addresses or ports; `band` of them are left for explicit requests."""

    def __init__(self, size: int, band: int, rng: Rng) -> None:
        self._size = size
        self._band = band if band < size else 0
        self._rng = rng

    def free(self, taken: KeySet, avoid: set[str], name: _Namer) -> str:
        """A free name, by random probing and then by a scan. Raises Exhausted."""

        def is_free(number: int) -> bool:
            return name(number) not in taken.names and name(number) not in avoid

        for _ in range(PROBES):
            number = self._band + self._rng.randrange(self._size - self._band)
            if is_free(number):
                return name(number)
        for number in (*range(self._band, min(self._size, MAX_SCAN)), *range(self._band)):
            if is_free(number):
                return name(number)
        raise Exhausted


class _Namer:
    def __call__(self, number: int) -> str:
        raise NotImplementedError


class AddressRange(_Namer):
    """One family's service CIDR."""

    def __init__(self, cidr: str, rng: Rng) -> None:
        self.network = ipaddress.ip_network(cidr)
        self.family = f"IPv{self.network.version}"
        usable = self.network.num_addresses - (2 if self.network.version == 4 else 1)
        size = max(min(usable, 1 << 16 if self.network.version == 6 else usable), 1)
        self._numbers = Numbers(size, min(max(16, size // 16), 256), rng)

    def __call__(self, number: int) -> str:
        return str(self.network.network_address + 1 + number)

    def first(self) -> str:
        """The address of the `kubernetes` Service."""
        return self(0)

    def contains(self, address: str) -> bool:
        try:
            return ipaddress.ip_address(address) in self.network
        except ValueError:
            return False

    def free(self, taken: KeySet, avoid: set[str]) -> str:
        return self._numbers.free(taken, avoid, self)


class PortRange(_Namer):
    """`30000-32767`. Raises ValueError for anything else."""

    def __init__(self, text: str, rng: Rng) -> None:
        low, dash, high = text.partition("-")
        if not dash or not low.isdigit() or not high.isdigit() or not 0 < int(low) <= int(high) < 65536:
            raise ValueError(f"not a port range: {text}")
        self.low, self.high = int(low), int(high)
        size = self.high - self.low + 1
        self._numbers = Numbers(size, min(max(16, size // 32), 128), rng)

    def __call__(self, number: int) -> str:
        return str(self.low + number)

    def contains(self, port: int) -> bool:
        return self.low <= port <= self.high

    def free(self, taken: KeySet, avoid: set[str]) -> str:
        return self._numbers.free(taken, avoid, self)
