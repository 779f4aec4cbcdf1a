"""The one HTTP client seam: probes, hooks, webhooks and adapters; with an in-memory twin.

The real client is 100 lines of HTTP/1.1 over asyncio streams, a connection per request, and not aiohttp: every node
agent probes, and aiohttp would cost each of them 15 MB and a third of a second to import. It asks simple things of
servers near by; it does not compress, follow redirects or speak HTTP/2. argosy/http_pool.py is the same with
connections that are kept.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 64 << 10
MAX_BODY_BYTES = 4 << 20


class HttpError(Exception):
    """No answer could be had: refused, reset, timed out, or no HTTP."""


class DialError(HttpError):
    """There was no connection: nothing was asked."""


class NoTime(HttpError):
    """No answer came in time."""


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    """http:// or https://, with a literal or resolvable host."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    """Lower-case names; of repeated headers the last."""
    body: bytes


class HttpClient(Protocol):
    async def send(
        self,
        request: Request,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        server_name: str = "",
    ) -> Response:
        """One exchange; a longer body is cut at `max_body_bytes`. Raises HttpError.

        `tls` is for https; None trusts any certificate, as probes must. `server_name` is whose certificate is
        expected, where it is not the host of the URL.
        """


def verifying_context(ca: str = "") -> ssl.SSLContext:
    """TLS that checks who answers, by the PEM bundle `ca`, or by the machine's authorities.

    As Go checks, whose rules authors of webhooks know: any certificate of the bundle is trusted as it is, also one
    that is no authority; a name must stand among the alternative names. Raises ssl.SSLError for a bundle that holds
    no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:
        context.load_verify_locations(cadata=ca)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True)
class Place:
    """What a URL names."""

    host: str
    port: int
    is_tls: bool
    path: str
    """With the query."""
    netloc: str
    """As the Host header has it."""


def place_of(url: str) -> Place:
    """Raises ValueError for what is no http:// or https:// URL with a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("only http:// and https:// URLs with a host are supported")
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.hostname, parts.port or (443 if is_tls else 80), is_tls, path, parts.netloc)


def trusting_context() -> ssl.SSLContext:
    """TLS without checking who answers: the kubelet's probes do not know the pod's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class StreamHttp:
    """The real client."""

    def __init__(self) -> None:
        self._trusting: ssl.SSLContext | None = None

    async def send(
        self,
        request: Request,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        server_name: str = "",
    ) -> Response:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request, tls, max_body_bytes, server_name)
        except TimeoutError:
            raise NoTime(f"{request.url}: no answer within {timeout_s:g} s") from None
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise HttpError(f"{request.url}: {reason(error)}") from None

    async def _exchange(
        self, request: Request, tls: ssl.SSLContext | None, max_body_bytes: int, server_name: str
    ) -> Response:
        place = place_of(request.url)
        context = (tls or self._trust()) if place.is_tls else None
        head = _head(request, place.path, place.netloc)
        name = (server_name or None) if context is not None else None
        reader, writer = await asyncio.open_connection(
            place.host, place.port, ssl=context, server_hostname=name, limit=MAX_HEAD_BYTES
        )
        try:
            writer.write(head + request.body)
            await writer.drain()
            return await _read(reader, request.method, max_body_bytes)
        finally:
            writer.transport.abort()

    def _trust(self) -> ssl.SSLContext:
        if self._trusting is None:
            self._trusting = trusting_context()
        return self._trusting


def reason(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    if (
        isinstance(error, OSError)
        and error.errno is not None
        and error.errno > 0
        and not isinstance(error, ssl.SSLError)
    ):
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _head(request: Request, target: str, host: str) -> bytes:
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers.setdefault("host", host)
    headers["connection"] = "close"
    headers.setdefault("accept", "*/*")
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(request.body))
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in the request's head")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read(reader: asyncio.StreamReader, method: str, max_body_bytes: int) -> Response:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        words = head[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise ValueError(f"malformed HTTP response {head[0][:80]!r}")
        status = int(words[1])
        if status >= 200 or status == 101:
            break
    headers: dict[str, str] = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    if method == "HEAD" or status in (101, 204, 304):
        return Response(status, headers, b"")
    if headers.get("transfer-encoding", "").lower().endswith("chunked"):
        return Response(status, headers, await _chunked(reader, max_body_bytes))
    if "content-length" in headers:
        size = min(int(headers["content-length"]), max_body_bytes)
        return Response(status, headers, await reader.readexactly(size))
    body = bytearray()
    while len(body) < max_body_bytes:
        part = await reader.read(min(64 << 10, max_body_bytes - len(body)))
        if not part:
            break
        body += part
    return Response(status, headers, bytes(body))


async def _chunked(reader: asyncio.StreamReader, max_body_bytes: int) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0].strip(), 16)
        if size == 0:
            return bytes(body)
        wanted = min(size, max_body_bytes - len(body))
        body += await reader.readexactly(wanted)
        if wanted < size or len(body) >= max_body_bytes:
            return bytes(body)
        await reader.readexactly(2)


Handler = Callable[[Request], Awaitable[Response]]


class MemoryHttp:
    """The in-memory twin: servers are handlers under `host:port`."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def serve(self, address: str, handler: Handler) -> None:
        self._handlers[address] = handler

    def stop(self, address: str) -> None:
        self._handlers.pop(address, None)

    async def send(
        self,
        request: Request,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        server_name: str = "",
    ) -> Response:
        parts = urlsplit(request.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        handler = self._handlers.get(f"{parts.hostname}:{port}")
        if handler is None:
            raise DialError(f"{request.url}: connection refused")
        try:
            async with asyncio.timeout(timeout_s):
                response = await handler(request)
        except TimeoutError:
            raise NoTime(f"{request.url}: no answer within {timeout_s:g} s") from None
        return Response(response.status, response.headers, response.body[:max_body_bytes])
