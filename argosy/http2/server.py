"""Listening for gRPC: addresses, mutual TLS, and an end in order. `argosy.rpc.GrpcNetwork.serve` is the caller."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable, Iterator
from typing import Final

from argosy.http2.connection import Connection
from argosy.rpc import Methods, Tls

CHECK_S: Final = 5.0
HANDSHAKE_S: Final = 10.0
CLOSE_S: Final = 1.0
BACKLOG: Final = 1024


class Http2Server:
    """An `argosy.rpc.Server`."""

    def __init__(self, methods: Methods) -> None:
        self.methods = methods
        self.connections: dict[Connection, None] = {}
        self.stopping = False
        self._address = ""
        self._server: asyncio.AbstractServer | None = None
        self._checking: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    @property
    def address(self) -> str:
        return self._address

    async def start(self, address: str, tls: Tls | None) -> None:
        """Listen on `host:port` or `unix:PATH`. Raises OSError, ssl.SSLError."""
        loop = asyncio.get_running_loop()
        context = server_context(tls) if tls is not None else None
        limit = HANDSHAKE_S if context is not None else None
        try:
            if address.startswith("unix:"):
                path = address.removeprefix("unix:")
                self._server = await loop.create_unix_server(
                    lambda: Connection(self), path, ssl=context, ssl_handshake_timeout=limit, backlog=BACKLOG
                )
                self._address = address
            else:
                host, _, port = address.rpartition(":")
                server = await loop.create_server(
                    lambda: Connection(self),
                    host.strip("[]"),
                    int(port),
                    ssl=context,
                    ssl_handshake_timeout=limit,
                    backlog=BACKLOG,
                )
                self._server = server
                self._address = f"{host}:{server.sockets[0].getsockname()[1]}"
        except OSError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        self._checking = loop.call_later(CHECK_S, self._check)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let running ones end for `grace_s`, then cancel them."""
        self.stopping = True
        if self._checking is not None:
            self._checking.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.go_away()
        await self._until(lambda: all(connection.idle for connection in self.connections), grace_s)
        for connection in list(self.connections):
            connection.cancel_all()
        await self._until(lambda: all(connection.idle for connection in self.connections), CLOSE_S)
        for connection in list(self.connections):
            connection.close()
        await self._until(lambda: not self.connections, CLOSE_S)
        for connection in list(self.connections):
            connection.abort()
        await self._until(lambda: not self.connections, CLOSE_S)
        if self._address.startswith("unix:"):
            with contextlib.suppress(OSError):
                os.unlink(self._address.removeprefix("unix:"))

    def changed(self) -> None:
        """A call or a connection ended."""
        self._changed.set()

    async def _until(self, condition: Callable[[], bool], limit_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while not condition() and (left_s := deadline - loop.time()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left_s)

    def _check(self) -> None:
        for connection in list(self.connections):
            connection.check_alive()
        self._checking = asyncio.get_running_loop().call_later(CHECK_S, self._check)


def server_context(tls: Tls) -> ssl.SSLContext:
    """Clients must show a certificate of `tls.ca`. Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=tls.ca.decode())
    context.set_alpn_protocols(["h2"])
    context.num_tickets = 0  # a client connects once and stays
    with _in_memory(tls.certificate) as certificate, _in_memory(tls.key) as key:
        context.load_cert_chain(certificate, key)
    return context


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path under which `content` can be read: ssl takes files only, and keys stay off the disk."""
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
