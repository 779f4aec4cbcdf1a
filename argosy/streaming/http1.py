"""The few things of HTTP/1.1 that streaming needs of a client: one request, its answer as it comes, an upgrade.

argosy/http.py is the client for everything else; this one hands out the connection itself, which exec, attach and
port-forward take over. Used by the API server towards node agents and by the node agent towards the runtime;
argosy/http_pool.py keeps such connections for the next request.
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


class DialFailure(HttpFailure):
    """There was no connection: nothing was asked."""


class NoAnswer(HttpFailure):
    """The connection ended before the first byte of an answer."""


@dataclass(frozen=True)
class Target:
    """Where to connect. `check` sees the TLS connection before anything is sent, and raises HttpFailure."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    check: Callable[[ssl.SSLObject], None] | None = None
    server_name: str = ""
    """Whose certificate is expected, where it is not `host`'s."""


@dataclass(frozen=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


Keep = Callable[[Connection], None]


class Response:
    """An answer's head, and its body as it comes. `close` when done.

    `keep`, where given, takes the connection at the end when it can serve another request.
    """

    def __init__(
        self,
        status: int,
        headers: HeaderList,
        connection: Connection,
        keep: Keep | None = None,
        *,
        bodyless: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self._connection, self._reader, self._writer = connection, connection.reader, connection.writer
        self._keep = keep
        self._bodyless = bodyless or status in (204, 304)
        self._finished = self._bodyless

    def header(self, name: str) -> str:
        """The first of that name, or empty."""
        return next((value for key, value in self.headers if key == name), "")

    def pipe(self) -> StreamPipe:
        """The connection itself, after 101."""
        return StreamPipe(self._reader, self._writer)

    async def body(self) -> AsyncIterator[bytes]:
        """Chunks as they come. Raises HttpFailure when it breaks off."""
        if self._finished:
            return
        try:
            if "chunked" in self.header("transfer-encoding").lower():
                async for chunk in self._chunked():
                    yield chunk
                self._finished = True
            elif length := self.header("content-length"):
                left = int(length)
                if left < 0:
                    raise ValueError(length)
                while left > 0:
                    data = await self._reader.read(min(left, CHUNK_BYTES))
                    if not data:
                        raise HttpFailure("the answer breaks off")
                    left -= len(data)
                    self._finished = left == 0
                    yield data
                self._finished = True
            elif self.status >= 200:
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

    async def read(self, max_bytes: int) -> bytes:
        """The whole body. Raises HttpFailure for one that breaks off or is longer."""
        parts = bytearray()
        async for chunk in self.body():
            parts += chunk
            if len(parts) > max_bytes:
                raise HttpFailure(f"the answer is larger than {max_bytes} bytes")
        return bytes(parts)

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
        if self._keep is not None and self._finished and "close" not in self.header("connection").lower():
            self._keep(self._connection)
            self._keep = None
        else:
            self._writer.close()


async def connect(target: Target) -> Connection:
    """Raises DialFailure, and HttpFailure when `check` does."""
    name = (target.server_name or None) if target.tls is not None else None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=target.tls, server_hostname=name, limit=MAX_HEAD_BYTES
            )
    except TimeoutError:
        raise DialFailure(f"dial tcp {_address(target)}: i/o timeout") from None
    except ssl.SSLCertVerificationError as error:
        raise DialFailure(f"tls: failed to verify certificate: x509: {error.verify_message}") from None
    except (OSError, ssl.SSLError) as error:
        raise DialFailure(f"dial tcp {_address(target)}: {error.strerror or error}") from None
    if target.check is not None:
        try:
            target.check(writer.get_extra_info("ssl_object"))
        except BaseException:
            writer.close()
            raise
    return Connection(reader, writer)


def _address(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{host}:{target.port}"


def request_head(target: Target, method: str, path: str, headers: HeaderList = (), body: bytes = b"") -> bytes:
    """A request's head; `headers` may name another Host. Raises HttpFailure for what cannot stand in one."""
    for text in (method, path, *(part for pair in headers for part in pair)):
        if any(char in text for char in "\r\n\0"):
            raise HttpFailure("a line break in a request")
    given = {name.lower() for name, _ in headers}
    lines = [f"{method} {path} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"Host: {_address(target)}")
    lines += [f"{name}: {value}" for name, value in headers]
    if (body or method in ("POST", "PUT", "PATCH")) and "upgrade" not in given:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def exchange(
    connection: Connection, head: bytes, body: bytes = b"", keep: Keep | None = None, *, bodyless: bool = False
) -> Response:
    """Send a request and wait for the head of its answer. Raises HttpFailure, the connection closed."""
    reader, writer = connection.reader, connection.writer
    try:
        writer.write(head + body if body else head)
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            await writer.drain()
            while True:
                status, answered = parse_head(await reader.readuntil(b"\r\n\r\n"))
                if status >= 200 or status == 101:
                    break
    except BaseException as error:
        writer.close()
        if isinstance(error, TimeoutError):
            raise HttpFailure("no answer in time") from None
        if isinstance(error, asyncio.IncompleteReadError) and not error.partial:
            raise NoAnswer("EOF") from None
        if isinstance(error, asyncio.IncompleteReadError | asyncio.LimitOverrunError | ValueError):
            raise HttpFailure("the answer is not HTTP") from None
        if isinstance(error, ConnectionError):
            raise NoAnswer(str(error)) from None
        if isinstance(error, OSError) and not isinstance(error, HttpFailure):
            raise HttpFailure(str(error)) from None
        raise
    return Response(status, answered, connection, keep, bodyless=bodyless)


async def send(target: Target, method: str, path: str, headers: HeaderList = ()) -> Response:
    """One request without a body on a connection of its own. Raises HttpFailure.

    `path` is sent as it is, with its query; names in `headers` may repeat.
    """
    head = request_head(target, method, path, headers)
    return await exchange(await connect(target), head, bodyless=method == "HEAD")


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
