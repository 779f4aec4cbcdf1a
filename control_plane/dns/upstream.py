"""Asking other resolvers for names that are not the cluster's, within bounds.

Used by `server.py` when `--upstream` names resolvers. Each question goes to one after the other until one answers;
TCP where the client came by TCP, so that long answers pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from argosy import logs

log = logs.get("control_plane.dns.upstream")

TIMEOUT_S: Final = 2.0
MAX_PENDING: Final = 512
MAX_ANSWER_BYTES: Final = 65_535


class Busy(Exception):
    """Too many questions are under way."""


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self, query: bytes) -> None:
        self._query = query
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._query)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if len(data) >= 12 and data[:2] == self._query[:2] and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


class Upstream:
    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        self._servers = servers
        self._pending = 0

    def __bool__(self) -> bool:
        return bool(self._servers)

    async def ask(self, query: bytes, *, udp: bool) -> bytes | None:
        """The first answer; None when no server gave one. Raises Busy."""
        if self._pending >= MAX_PENDING:
            raise Busy
        self._pending += 1
        try:
            for server in self._servers:
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        return await (self._udp(query, server) if udp else self._tcp(query, server))
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                    log.debug("resolver did not answer", server=server[0], error=repr(error))
            return None
        finally:
            self._pending -= 1

    async def _udp(self, query: bytes, server: tuple[str, int]) -> bytes:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(lambda: _Exchange(query), remote_addr=server)
        try:
            return await protocol.answer
        finally:
            transport.close()

    async def _tcp(self, query: bytes, server: tuple[str, int]) -> bytes:
        reader, writer = await asyncio.open_connection(*server, limit=MAX_ANSWER_BYTES)
        try:
            writer.write(len(query).to_bytes(2, "big") + query)
            await writer.drain()
            size = int.from_bytes(await reader.readexactly(2), "big")
            return await reader.readexactly(size)
        finally:
            writer.close()


def parse_servers(texts: Sequence[str]) -> list[tuple[str, int]]:
    """`IP` or `IP:PORT` each. Raises ValueError."""
    result = []
    for text in texts:
        host, colon, port = text.rpartition(":")
        result.append((host, int(port)) if colon and ":" not in host else (text, 53))
    return result
