"""The cluster's DNS server: UDP and TCP on one port, answers from the index, follows the API by informers.

    await Dns(Config(listen="10.77.2.1:53", ...), host, client).run()

Nodes reach it as the Service kube-dns (10.96.0.10). Names outside of the cluster's domain go to the `--upstream`
resolvers, or are refused when there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from argosy import logs
from argosy.client import Client
from argosy.config import option
from argosy.host import Host
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.dns import records, wire
from control_plane.dns.upstream import Busy, Upstream, parse_servers
from control_plane.dns.zone import Zone

log = logs.get("control_plane.dns")

TCP_IDLE_S: Final = 10.0
MAX_TCP_CONNECTIONS: Final = 256
MAX_FORWARDED: Final = 512
BY_SERVICE: Final = "service"


@dataclass(frozen=True)
class Config:
    """Flags of the DNS server."""

    listen: str = option(help="IP:PORT for UDP and TCP")
    api_servers: tuple[str, ...] = option((), help="gRPC addresses of API servers, host:port or unix:PATH")
    ca: str = option("", help="PEM file of the cluster's authority")
    certificate: str = option("", help="PEM file of this client's certificate")
    key: str = option("", help="PEM file of its key")
    cluster_domain: str = option("cluster.local", help="the domain of the cluster's names")
    upstream: tuple[str, ...] = option((), help="resolvers for other names, IP or IP:PORT; none: they are refused")
    log_level: str = option("info", help="debug, info, warning or error")
    log_file: str = option("", help="file for logs instead of stderr")


class Dns:
    """`run` serves until cancelled. Raises OSError when the address cannot be bound."""

    def __init__(self, config: Config, host: Host, client: Client) -> None:
        self._config = config
        self._host = host
        self.listening = asyncio.Event()
        self.address: tuple[str, int] = ("", 0)
        """As bound, once `listening` is set."""
        self._upstream = Upstream(parse_servers(config.upstream))
        slim = _without_managed_fields
        self._services = Informer(client.resource("", "v1", "services"), host, transform=slim)
        self._slices = Informer(
            client.resource("discovery.k8s.io", "v1", "endpointslices"),
            host,
            indexes={BY_SERVICE: lambda obj: (records.key_of_slice(obj),)},
            transform=slim,
        )
        self._namespaces = Informer(client.resource("", "v1", "namespaces"), host, transform=slim)
        self.zone = Zone(config.cluster_domain, lambda name: self._namespaces.get(name) is not None)
        self._tcp_connections = 0
        self._forwarding: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        for informer, key_of in ((self._services, meta.key), (self._slices, records.key_of_slice)):
            _follow(informer, key_of, self._refresh)
        async with asyncio.TaskGroup() as group:
            for informer in (self._services, self._slices, self._namespaces):
                group.create_task(informer.run())
            for informer in (self._services, self._slices, self._namespaces):
                await informer.wait_synced()
            await self._serve()

    def _refresh(self, key: str) -> None:
        """Bring one service's records up to date; what it says wrongly does not stop the others."""
        service = self._services.get(key) if key else None
        found: tuple[records.Record, ...] = ()
        if service is not None:
            try:
                slices = self._slices.by_index(BY_SERVICE, key) if records.headless(service) else []
                found = records.service_records(service, slices, self.zone.domain)
            except (KeyError, TypeError, ValueError, AttributeError):
                log.exception("service left out: it cannot be understood", service=key)
        self.zone.set(key, found)

    async def _serve(self) -> None:
        host, _, port = self._config.listen.rpartition(":")
        host = host.strip("[]")
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._tcp, host, int(port), limit=wire.MAX_UDP_BYTES * 4)
        try:
            self.address = server.sockets[0].getsockname()[:2]
            transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=self.address)
            try:
                log.info("serving", address=f"{self.address[0]}:{self.address[1]}", records=len(self.zone))
                self.listening.set()
                await loop.create_future()
            finally:
                transport.close()
        finally:
            server.close()
            for task in self._forwarding:
                task.cancel()

    def datagram(self, data: bytes, address: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        question = wire.parse(data)
        if isinstance(question, bytes):
            if question:
                transport.sendto(question, address)
            return
        reply = self._local(question, udp=True)
        if reply is not None:
            transport.sendto(reply, address)
        elif len(self._forwarding) < MAX_FORWARDED:
            task = asyncio.ensure_future(self._forward_datagram(question, data, address, transport))
            self._forwarding.add(task)
            task.add_done_callback(self._forwarding.discard)

    def _local(self, question: wire.Question, *, udp: bool) -> bytes | None:
        reply = wire.answer(question, self.zone, self._host.rng, recursion=bool(self._upstream), udp=udp)
        if reply is None and not self._upstream:
            return wire.refuse(question, "REFUSED")
        return reply

    async def _forward(self, question: wire.Question, data: bytes, *, udp: bool) -> bytes:
        try:
            reply = await self._upstream.ask(data, udp=udp)
        except Busy:
            reply = None
        return reply if reply is not None else wire.refuse(question, "SERVFAIL")

    async def _forward_datagram(
        self, question: wire.Question, data: bytes, address: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        reply = await self._forward(question, data, udp=True)
        if not transport.is_closing():
            transport.sendto(reply, address)

    async def _tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tcp_connections >= MAX_TCP_CONNECTIONS:
            writer.close()
            return
        self._tcp_connections += 1
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(size)
                question = wire.parse(data)
                if isinstance(question, bytes):
                    reply = question
                else:
                    reply = self._local(question, udp=False) or await self._forward(question, data, udp=False)
                if not reply:
                    return
                writer.write(len(reply).to_bytes(2, "big") + reply)
                async with asyncio.timeout(TCP_IDLE_S):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tcp_connections -= 1
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, dns: Dns) -> None:
        self._dns = dns

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            self._dns.datagram(data, addr, self._transport)
        except Exception:
            log.exception("question could not be answered", peer=addr[0])


def _follow(informer: Informer, key_of: Callable[[JsonObject], str], refresh: Callable[[str], None]) -> None:
    def one(obj: JsonObject) -> None:
        refresh(key_of(obj))

    def both(old: JsonObject, new: JsonObject) -> None:
        before, after = key_of(old), key_of(new)
        refresh(after)
        if before != after:
            refresh(before)

    informer.add_handler(added=one, updated=both, deleted=one)


def _without_managed_fields(obj: JsonObject) -> JsonObject:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}
