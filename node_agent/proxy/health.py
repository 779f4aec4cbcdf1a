"""The health check node ports of `externalTrafficPolicy: Local` services.

A load balancer asks each node at the service's healthCheckNodePort whether it has endpoints of that service: 200
with at least one, else 503. A few lines of HTTP by hand: the proxy stays small without a web framework.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from typing import Final

import orjson

from argosy import logs

log = logs.get("node_agent.proxy.health")

REQUEST_BYTES: Final = 8192
REQUEST_TIMEOUT_S: Final = 5.0


class HealthChecks:
    """One listener for each service that asks for it."""

    def __init__(self, address: str = "") -> None:
        """Listens on `address`; empty: on all."""
        self._address = address or None
        self._local: dict[str, int] = {}
        self._servers: dict[str, tuple[int, asyncio.Server]] = {}

    @property
    def ports(self) -> Mapping[str, int]:
        return {key: port for key, (port, _) in self._servers.items()}

    async def set(self, key: str, port: int, local: int) -> None:
        """Service `key` (`namespace/name`) has `local` endpoints here; `port` 0 stops answering."""
        self._local[key] = local
        known = self._servers.get(key)
        if known and known[0] != port:
            del self._servers[key]
            known[1].close()
            known = None
        if not port:
            self._local.pop(key, None)
        elif known is None:
            try:
                server = await asyncio.start_server(
                    functools.partial(self._answer, key), self._address, port, limit=REQUEST_BYTES
                )
            except OSError as error:
                log.warning("health check port cannot be opened", service=key, port=port, error=error)
                return
            self._servers[key] = (port, server)

    async def close(self) -> None:
        for _, server in self._servers.values():
            server.close()
        self._servers.clear()

    async def _answer(self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self.response(key))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    def response(self, key: str) -> bytes:
        local = self._local.get(key, 0)
        namespace, _, name = key.partition("/")
        body = orjson.dumps(
            {
                "service": {"namespace": namespace, "name": name},
                "localEndpoints": local,
                "serviceProxyHealthy": True,
            }
        )
        status = b"200 OK" if local else b"503 Service Unavailable"
        return (
            b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
            b"X-Load-Balancing-Endpoint-Weight: " + str(local).encode() + b"\r\n"
            b"Connection: close\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
