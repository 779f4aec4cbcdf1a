"""A small HTTPS server for tests of what the API server asks: it answers as it is told, well or badly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from argosy import pki
from argosy.host import real_host
from argosy.http_pool import PooledHttp

NAME = "hook.default.svc"


@dataclass
class Heard:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


Answer = Callable[[Heard], "bytes | dict | tuple[int, dict] | Awaitable[bytes | dict | tuple[int, dict]]"]
"""Raw bytes (then the connection ends), or a JSON object, or (code, JSON object)."""


@dataclass
class HttpsServer:
    port: int = 0
    authority: pki.Authority | None = None
    connections: int = 0
    heard: list[Heard] = field(default_factory=list)
    answer: Answer = lambda heard: {}

    @property
    def bundle(self) -> str:
        import base64

        return base64.b64encode(self.authority.certificate).decode()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip("\r\n").split("\r\n")
                method, path, _ = first.split(" ")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                heard = Heard(method, path, headers, body)
                self.heard.append(heard)
                answer = self.answer(heard)
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                    break
                code, value = answer if isinstance(answer, tuple) else (200, answer)
                text = json.dumps(value).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (code, len(text)) + text)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def https_server(
    folder: Path, answer: Answer | None = None, *, names=(NAME,), client_ca: bytes = b""
) -> AsyncIterator[HttpsServer]:
    authority = pki.Authority.create("hook-ca", real_host())
    identity = authority.issue("hook", hosts=names, server=True)
    (folder / "hook.crt").write_bytes(identity.certificate)
    (folder / "hook.key").write_bytes(identity.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "hook.crt", folder / "hook.key")
    if client_ca:
        context.load_verify_locations(cadata=client_ca.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    made = HttpsServer(authority=authority)
    if answer is not None:
        made.answer = answer
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


class LoopbackHttp(PooledHttp):
    """192.0.2.N is 127.0.0.N here: loopback addresses may not be endpoints."""

    async def open(self, target, *arguments):
        host = target.host.replace("192.0.2.", "127.0.0.")
        return await super().open(replace(target, host=host), *arguments)


async def serve_as(api, server: HttpsServer, name: str = "hook", *, addresses=("192.0.2.1",)) -> None:
    """A Service whose endpoint is the server, for those who dial by LoopbackHttp."""
    services = api.client().resource("", "v1", "services")
    slices = api.client().resource("discovery.k8s.io", "v1", "endpointslices")
    await services.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": server.port}]},
        }
    )
    await slices.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]} for address in addresses],
            "ports": [{"name": "https", "port": server.port, "protocol": "TCP"}],
        }
    )
