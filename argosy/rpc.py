"""The wire between Argosy's processes: gRPC with bytes in and bytes out.

Handlers take and return serialised messages, so that the transport can be exchanged without touching a service. A
process gets a `Network` from its entry point and uses it to serve and to dial: `GrpcNetwork` dials with gRPC's own
library (`argosy.rpc_grpc`) and serves by `argosy.http2`; the simulator hands in `argosy.rpc_memory`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

MAX_MESSAGE_BYTES = 64 << 20

Metadata = Mapping[str, "str | bytes"]
"""Keys are lower case; a value is bytes exactly when its key ends in `-bin`."""


class Code(enum.IntEnum):
    """gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """A call that failed. Handlers raise it to answer with a status; channels raise it to callers."""

    def __init__(self, code: Code, message: str, metadata: Metadata | None = None) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.metadata: Metadata = metadata or {}


@dataclass(frozen=True)
class Call:
    """What a handler knows of its caller."""

    method: str
    """`/package.Service/Method`."""
    metadata: Metadata = field(default_factory=dict)
    peer: str = ""
    """The caller's address, for logs."""
    peer_certificate: bytes = b""
    """PEM of the verified client certificate; empty without mTLS."""
    time_left_s: float | None = None


Unary = Callable[[bytes, Call], Awaitable[bytes]]
Stream = Callable[[AsyncIterator[bytes], Call], AsyncIterator[bytes]]
"""Any streaming call; a request that is not a stream arrives as an iterator of one message."""


@dataclass(frozen=True)
class Methods:
    """What a server answers: full method names to handlers."""

    unary: Mapping[str, Unary] = field(default_factory=dict)
    stream: Mapping[str, Stream] = field(default_factory=dict)

    def merged(self, other: Methods) -> Methods:
        return Methods({**self.unary, **other.unary}, {**self.stream, **other.stream})


@dataclass(frozen=True)
class Tls:
    """PEM bytes of one side's identity and of the authority it trusts."""

    ca: bytes
    certificate: bytes = b""
    key: bytes = b""
    server_name: str = ""
    """Client side: the name that the server's certificate must carry, when it is not the dialled host."""

    @staticmethod
    def load(ca: str, certificate: str = "", key: str = "", server_name: str = "") -> Tls:
        """Read PEM files; empty names stay empty. Raises OSError."""

        def read(path: str) -> bytes:
            if not path:
                return b""
            with open(path, "rb") as file:
                return file.read()

        return Tls(read(ca), read(certificate), read(key), server_name)


class Channel(Protocol):
    """A connection to one server; calls share it. It reconnects by itself."""

    async def unary(
        self, method: str, request: bytes, *, timeout_s: float | None = None, metadata: Metadata | None = None
    ) -> bytes:
        """Raises RpcError."""

    def stream(
        self, method: str, requests: bytes | AsyncIterator[bytes], *, metadata: Metadata | None = None
    ) -> AsyncIterator[bytes]:
        """Responses as they come. Closing the iterator (`aclose`) or cancelling the reader cancels the call.

        `requests` is one message (server streaming) or an iterator of them. Raises RpcError while iterating.
        """

    async def close(self) -> None: ...


class Server(Protocol):
    @property
    def address(self) -> str:
        """`host:port` as bound (port 0 resolved)."""

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let running ones end for `grace_s`, then cancel them."""


class Network(Protocol):
    """How a process reaches others and is reached."""

    async def serve(self, address: str, methods: Methods, tls: Tls | None = None) -> Server:
        """Listen on `host:port` or `unix:PATH`; with `tls`, clients must show a certificate of its `ca`.

        Raises OSError when the address cannot be bound.
        """

    def dial(self, address: str, tls: Tls | None = None) -> Channel:
        """Connects lazily, on the first call."""


class GrpcNetwork:
    """The real network; mTLS where `tls` is given. Either side is loaded when it is first used."""

    async def serve(self, address: str, methods: Methods, tls: Tls | None = None) -> Server:
        from argosy.http2.server import Http2Server

        server = Http2Server(methods)
        await server.start(address, tls)
        return server

    def dial(self, address: str, tls: Tls | None = None) -> Channel:
        from argosy.rpc_grpc import dial

        return dial(address, tls)


async def wait_ready(channel: Channel, method: str, request: bytes, *, timeout_s: float) -> bytes:
    """Call until it answers; for start-up order. Raises the last RpcError after `timeout_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        try:
            return await channel.unary(method, request, timeout_s=min(2.0, timeout_s))
        except RpcError:
            if loop.time() >= deadline:
                raise
            await asyncio.sleep(0.02)
