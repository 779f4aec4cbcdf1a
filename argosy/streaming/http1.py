"""The few things of HTTP/1.1 that streaming needs of a client: one request, its answer as it comes, an upgrade.

argosy/http.py is the client for everything else; this one hands out the connection itself, which exec, attach and
port-forward take over. Used by the API server towards node agents and by the node agent towards the runtime.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from argosy.streaming.pipe import CHUNK_BYTES, StreamPipe

CONNECT_TIMEOUT_S: Final = 10.0
HEAD_TIMEOUT_S: Final = 60.0
MAX_HEAD_BYTES: Final = 64 << 10
MAX_ERROR_BYTES: Final = 64 << 10

HeaderList = Sequence[tuple[str, str]]


class HttpFailure(OSError):
    """No answer, or one that is not HTTP."""


@dataclass(frozen=True)
class Target:
    """Where to connect. `check` sees the TLS connection before anything is sent, and raises HttpFailure."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    check: Callable[[ssl.SSLObject], None] | None = None


class Response:
    """An answer's head, and its body as it comes. `close` when done."""

    def __init__(
        self, status: int, headers: HeaderList, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.status = status
        self.headers = headers
        self._reader, self._writer = reader, writer

    def header(self, name: str) -> str:
        """The first of that name, or empty."""
        return next((value for key, value in self.headers if key == name), "")

    def pipe(self) -> StreamPipe:
        """The connection itself, after 101."""
        return StreamPipe(self._reader, self._writer)

    async def body(self) -> AsyncIterator[bytes]:
        """Chunks as they come. Raises HttpFailure when it breaks off."""
        try:
            if "chunked" in self.header("transfer-encoding").lower():
                async for chunk in self._chunked():
                    yield chunk
            elif length := self.header("content-length"):
                left = int(length)
                while left > 0:
                    data = await self._reader.read(min(left, CHUNK_BYTES))
                    if not data:
                        raise HttpFailure("the answer breaks off")
                    left -= len(data)
                    yield data
            elif self.status >= 200 and self.status not in (204, 304):
                while data := await self._reader.read(CHUNK_BYTES):
                    yield data
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise HttpFailure(f"the answer breaks off: {error}") from None

    async def _chunked(self) -> AsyncIterator[bytes]:
        while True:
            size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                while (await self._reader.readuntil(b"\r\n")) != b"\r\n":
                    pass
                return
            while size > 0:
                data = await self._reader.read(min(size, CHUNK_BYTES))
                if not data:
                    raise HttpFailure("the answer breaks off")
                size -= len(data)
                yield data
            await self._reader.readexactly(2)

    async def text(self) -> str:
        """A short body whole (an error's)."""
        parts: list[bytes] = []
        with contextlib.suppress(HttpFailure, TimeoutError):
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                async for chunk in self.body():
                    parts.append(chunk)
                    if sum(map(len, parts)) >= MAX_ERROR_BYTES:
                        break
        return b"".join(parts)[:MAX_ERROR_BYTES].decode("utf-8", "replace")

    def close(self) -> None:
        self._writer.close()


async def send(target: Target, method: str, path: str, headers: HeaderList = ()) -> Response:
    """One request without a body on a connection of its own. Raises HttpFailure.

    `path` is sent as it is, with its query; names in `headers` may repeat.
    """
    for text in (method, path, *(part for pair in headers for part in pair)):
        if any(char in text for char in "\r\n\0"):
            raise HttpFailure("a line break in a request")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=target.tls, limit=MAX_HEAD_BYTES
            )
    except TimeoutError:
        raise HttpFailure(f"dial tcp {target.host}:{target.port}: i/o timeout") from None
    except (OSError, ssl.SSLError) as error:
        raise HttpFailure(f"dial tcp {target.host}:{target.port}: {error.strerror or error}") from None
    try:
        if target.check is not None:
            target.check(writer.get_extra_info("ssl_object"))
        host = f"[{target.host}]" if ":" in target.host else target.host
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{target.port}"]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
        status, answered = parse_head(head)
    except BaseException as error:
        writer.close()
        if isinstance(error, TimeoutError):
            raise HttpFailure("no answer in time") from None
        if isinstance(error, asyncio.IncompleteReadError | asyncio.LimitOverrunError | ValueError):
            raise HttpFailure("the answer is not HTTP") from None
        if isinstance(error, OSError) and not isinstance(error, HttpFailure):
            raise HttpFailure(str(error)) from None
        raise
    return Response(status, answered, reader, writer)


def parse_head(head: bytes) -> tuple[int, HeaderList]:
    """(status, headers with lower-case names). Raises ValueError."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, status, *_ = [*first.split(" ", 2), ""]
    if not version.startswith("HTTP/1."):
        raise ValueError("not HTTP/1")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("not a header")
        headers.append((name.strip().lower(), value.strip()))
    return int(status), headers


def head(status: int, reason: str, headers: Mapping[str, str]) -> bytes:
    """An answer's head, for connections that were taken over."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
