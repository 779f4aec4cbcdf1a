"""A two-way stream of bytes, whatever carries it: a socket, TLS, an HTTP connection taken over, WebSocket messages.

The SPDY session, the relay and the tunnels are written against `Pipe`, so that any two can be joined.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

CHUNK_BYTES: Final = 64 << 10


class Pipe(Protocol):
    async def read(self) -> bytes:
        """What came, up to CHUNK_BYTES; empty at the end. Raises OSError."""

    async def write(self, data: bytes) -> None:
        """Returns once there is room for more. Raises OSError."""

    async def end(self) -> None:
        """Nothing more will be written; where the carrier cannot say so, this closes."""

    def close(self) -> None:
        """Give it up, both ways; idempotent."""


class StreamPipe:
    """A pipe over asyncio's streams; `first` are bytes already read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
        self._reader, self._writer, self._first = reader, writer, first

    async def read(self) -> bytes:
        if self._first:
            data, self._first = self._first, b""
            return data
        return await self._reader.read(CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        await self._writer.drain()
        if self._writer.can_write_eof():
            self._writer.write_eof()
        else:
            self._writer.close()

    def close(self) -> None:
        self._writer.close()

    @property
    def writer(self) -> asyncio.StreamWriter:
        return self._writer


def take_over(transport: asyncio.Transport, previous: asyncio.BaseProtocol) -> StreamPipe:
    """A connection that an HTTP server accepted, from now on as a plain stream.

    `previous`, the server's own protocol, is told when the connection ends.
    """
    reader = asyncio.StreamReader(limit=CHUNK_BYTES)
    protocol = _Taken(reader, previous)
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    transport.resume_reading()
    writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    return StreamPipe(reader, writer)


class _Taken(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader, previous: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._previous = previous

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        asyncio.get_running_loop().call_soon(self._previous.connection_lost, exc)


async def relay(one: Pipe, two: Pipe) -> None:
    """Pass bytes both ways until either side ends; then close both. What came before the end is delivered."""

    async def forward(source: Pipe, target: Pipe) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read():
                await target.write(data)
            await target.end()

    tasks = [asyncio.ensure_future(forward(one, two)), asyncio.ensure_future(forward(two, one))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        one.close()
        two.close()
