"""The wire between Argosy's processes: gRPC with bytes in and bytes out, and the only importer of grpc.

Handlers take and return serialised messages, so that the transport can be exchanged (and the simulator can hand
in `argosy.rpc_memory`) without touching a service. A process gets a `Network` from its entry point and uses it
to serve and to dial.
"""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

# No process of ours forks without an exec at once; gRPC's fork handlers would only stop its threads on each.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

import grpc
import grpc.aio

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


_CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]
_SERVER_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


def _pairs(metadata: Metadata | None) -> list[tuple[str, str | bytes]]:
    return list(metadata.items()) if metadata else []


def _translate(error: Any) -> RpcError:
    number: int = error.code().value[0]
    trailing: dict[str, str | bytes] = {}
    for key, value in error.trailing_metadata() or ():
        trailing[str(key)] = value
    return RpcError(Code(number), error.details() or "", trailing)


class GrpcChannel:
    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._unary: dict[str, Any] = {}

    async def unary(
        self, method: str, request: bytes, *, timeout_s: float | None = None, metadata: Metadata | None = None
    ) -> bytes:
        call = self._unary.get(method)
        if call is None:
            call = self._unary[method] = self._channel.unary_unary(method)
        try:
            answer: bytes = await call(request, timeout=timeout_s, metadata=_pairs(metadata) or None)
        except grpc.aio.AioRpcError as error:
            raise _translate(error) from None
        except grpc.aio.UsageError as error:
            raise RpcError(Code.UNAVAILABLE, str(error)) from None
        return answer

    async def stream(
        self, method: str, requests: bytes | AsyncIterator[bytes], *, metadata: Metadata | None = None
    ) -> AsyncIterator[bytes]:
        pairs = _pairs(metadata) or None
        if isinstance(requests, bytes):
            call: Any = self._channel.unary_stream(method)(requests, metadata=pairs)
        else:
            call = self._channel.stream_stream(method)(requests, metadata=pairs)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _translate(error) from None
        except grpc.aio.UsageError as error:
            raise RpcError(Code.UNAVAILABLE, str(error)) from None
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Looks a method up once per call; everything else is bytes."""

    def __init__(self, methods: Methods) -> None:
        self._handlers: dict[str, Any] = {}
        for name, unary in methods.unary.items():
            self._handlers[name] = grpc.unary_unary_rpc_method_handler(_unary_handler(name, unary))
        for name, stream in methods.stream.items():
            self._handlers[name] = grpc.stream_stream_rpc_method_handler(_stream_handler(name, stream))

    def service(self, handler_call_details: Any) -> Any | None:
        return self._handlers.get(handler_call_details.method)


def _call(method: str, context: Any) -> Call:
    metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
    auth: Mapping[str, Sequence[bytes]] = context.auth_context()
    certificate = next(iter(auth.get("x509_pem_cert", ())), b"")
    return Call(method, metadata, context.peer(), certificate, context.time_remaining())


async def _abort(context: Any, error: RpcError) -> None:
    code = _GRPC_CODES[int(error.code)]
    await context.abort(code, error.message, tuple(_pairs(error.metadata)))


_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _unary_handler(name: str, handler: Unary) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def handle(request: bytes, context: Any) -> bytes:
        try:
            return await handler(request, _call(name, context))
        except RpcError as error:
            await _abort(context, error)
            raise

    return handle


def _stream_handler(name: str, handler: Stream) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
    async def handle(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        responses = handler(requests, _call(name, context))
        try:
            async for message in responses:
                yield message
        except RpcError as error:
            await _abort(context, error)
        finally:
            close = getattr(responses, "aclose", None)
            if close is not None:
                await close()

    return handle


class GrpcServer:
    def __init__(self, server: Any, address: str) -> None:
        self._server = server
        self._address = address

    @property
    def address(self) -> str:
        return self._address

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)


class GrpcNetwork:
    """The real network: grpc.aio, mTLS where `tls` is given."""

    async def serve(self, address: str, methods: Methods, tls: Tls | None = None) -> Server:
        server = grpc.aio.server(options=_SERVER_OPTIONS)
        server.add_generic_rpc_handlers((_Handlers(methods),))
        try:
            if tls is None:
                port = server.add_insecure_port(address)
            else:
                credentials = grpc.ssl_server_credentials(
                    [(tls.key, tls.certificate)], root_certificates=tls.ca, require_client_auth=True
                )
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        await server.start()
        bound = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        return GrpcServer(server, bound)

    def dial(self, address: str, tls: Tls | None = None) -> Channel:
        options = list(_CHANNEL_OPTIONS)
        if address.startswith("unix:"):
            options.append(("grpc.default_authority", "localhost"))
        if tls is None:
            return GrpcChannel(grpc.aio.insecure_channel(address, options=options))
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        credentials = grpc.ssl_channel_credentials(tls.ca, tls.key or None, tls.certificate or None)
        return GrpcChannel(grpc.aio.secure_channel(address, credentials, options=options))


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
