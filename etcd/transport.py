"""Links between members: one TCP connection per pair, mutual TLS, length-prefixed msgpack.

The member with the greater name dials. A link counts once both sides have said Hello with the same cluster id and
each has seen that the other's certificate carries its member name. A link that is silent for `SILENT_S` or whose
peer does not read is closed and dialled anew. `Peers` is the seam: the simulator has links of its own
(etcd.sim_peers).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from argosy import logs
from etcd import messages

log = logs.get("etcd.transport")

SILENT_S = 4.0
BEAT_S = 1.0
REDIAL_S = (0.05, 1.0)
DIAL_TIMEOUT_S = 3.0
MAX_BUFFER_BYTES = 64 << 20
CONGESTED_BYTES = 4 << 20
_HEAD_BYTES = 4


class Peers(Protocol):
    """Ordered messages to the other members, lost when a link breaks."""

    async def start(
        self,
        on_message: Callable[[str, messages.Any], None],
        on_up: Callable[[str], None],
        on_down: Callable[[str], None],
    ) -> None:
        """Raises OSError when the address cannot be bound."""

    def send(self, peer: str, data: bytes) -> bool:
        """One encoded message; False when there is no link."""

    def congested(self, peer: str) -> bool:
        """The peer reads slower than we write: optional data should wait."""

    async def stop(self) -> None: ...


class TlsFiles:
    """PEM files of this member. The same certificate serves and dials."""

    def __init__(self, ca: str, certificate: str, key: str) -> None:
        """Raises OSError, ssl.SSLError."""
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
        self.server.load_cert_chain(certificate, key)
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
        self.client.load_cert_chain(certificate, key)
        self.client.check_hostname = False  # the member's name is checked instead, in Link
        for context in (self.server, self.client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3


def certificate_names(certificate: Mapping[str, Any] | None) -> list[str]:
    """Common name and DNS names of `SSLObject.getpeercert()`."""
    if not certificate:
        return []
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names + [value for key, value in certificate.get("subjectAltName", ()) if key == "DNS"]


class Link(asyncio.Protocol):
    """One connection. `peer` is who we dialled, empty on the accepting side until Hello."""

    def __init__(self, owner: TcpPeers, peer: str) -> None:
        self.peer = peer
        self.ready = False
        self.heard = owner.now()
        self.closed = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are of their own class
        if self.peer:
            self._hello()

    def data_received(self, data: bytes) -> None:
        self.heard = self._owner.now()
        buffer = self._buffer
        buffer += data
        offset = 0
        try:
            while len(buffer) - offset >= _HEAD_BYTES:
                size = int.from_bytes(buffer[offset : offset + _HEAD_BYTES], "little")
                if size > messages.MAX_FRAME_BYTES:
                    raise ValueError(f"a message of {size} bytes")
                end = offset + _HEAD_BYTES + size
                if len(buffer) < end:
                    break
                message = messages.decode(bytes(buffer[offset + _HEAD_BYTES : end]))
                offset = end
                self._receive(message)
        except (msgspec.DecodeError, ValueError) as error:
            log.warning("closing a link: bad message", peer=self.peer, error=error)
            self.abort()
            return
        if offset:
            del buffer[:offset]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self._owner.link_lost(self)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(len(data).to_bytes(_HEAD_BYTES, "little") + data)

    @property
    def connected(self) -> bool:
        """Past the TLS handshake."""
        return self._transport is not None

    def buffered_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _hello(self) -> None:
        owner = self._owner
        hello = messages.Hello(messages.PROTOCOL, owner.cluster_id, owner.name, self.peer)
        self.write(messages.encode(hello))

    def _receive(self, message: messages.Any) -> None:
        if self.ready:
            if not isinstance(message, messages.Beat | messages.Hello):
                self._owner.on_message(self.peer, message)
            return
        if not isinstance(message, messages.Hello):
            raise ValueError("no greeting")
        self._check(message)
        if not self.peer:
            self.peer = message.name
            self._hello()
        self.ready = True
        self._owner.link_ready(self)

    def _check(self, hello: messages.Hello) -> None:
        owner = self._owner
        if hello.cluster_id != owner.cluster_id:
            raise ValueError(f"{hello.name} belongs to cluster {hello.cluster_id:x}, we to {owner.cluster_id:x}")
        if hello.protocol != messages.PROTOCOL:
            raise ValueError(f"{hello.name} speaks protocol {hello.protocol}")
        if hello.to != owner.name or hello.name not in owner.addresses or hello.name == owner.name:
            raise ValueError(f"{hello.name} is no other member, or looks for {hello.to}")
        if self.peer and hello.name != self.peer:
            raise ValueError(f"{hello.name} answers at the address of {self.peer}")
        if owner.tls is not None:
            assert self._transport is not None
            names = certificate_names(self._transport.get_extra_info("peercert"))
            if hello.name not in names:
                raise ValueError(f"{hello.name} shows a certificate of {names}")


class TcpPeers:
    """The real Peers."""

    def __init__(
        self, name: str, cluster_id: int, listen: str, addresses: Mapping[str, str], tls: TlsFiles | None
    ) -> None:
        """`addresses` has every member's `host:port`, also our own; `listen` is where we bind."""
        self.name = name
        self.cluster_id = cluster_id
        self.addresses = dict(addresses)
        self.tls = tls
        self.on_message: Callable[[str, messages.Any], None] = lambda peer, message: None
        self._on_up: Callable[[str], None] = lambda peer: None
        self._on_down: Callable[[str], None] = lambda peer: None
        self._listen = listen
        self._links: dict[str, Link] = {}
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._beat = messages.encode(messages.Beat())
        self._accepted: dict[Link, None] = {}
        self._told_stranger = False

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def start(
        self,
        on_message: Callable[[str, messages.Any], None],
        on_up: Callable[[str], None],
        on_down: Callable[[str], None],
    ) -> None:
        self.on_message, self._on_up, self._on_down = on_message, on_up, on_down
        others = [name for name in self.addresses if name != self.name]
        if not others:
            return
        loop = asyncio.get_running_loop()
        host, _, port = self._listen.rpartition(":")
        context = self.tls.server if self.tls is not None else None
        self._server = await loop.create_server(self._accept, host.strip("[]"), int(port), ssl=context)
        for name in others:
            if self.name > name:
                self._tasks.append(loop.create_task(self._dial(name)))
        self._tasks.append(loop.create_task(self._watch()))

    def send(self, peer: str, data: bytes) -> bool:
        link = self._links.get(peer)
        if link is None:
            return False
        if link.buffered_bytes() > MAX_BUFFER_BYTES:
            log.warning("closing a link: the peer does not read", peer=peer)
            link.abort()
            return False
        link.write(data)
        return True

    def congested(self, peer: str) -> bool:
        link = self._links.get(peer)
        return link is None or link.buffered_bytes() > CONGESTED_BYTES

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()
        for link in [*self._links.values(), *self._accepted]:
            link.abort()
        for task in self._tasks:
            try:
                await task
            except asyncio.CancelledError:
                pass

    def link_ready(self, link: Link) -> None:
        old = self._links.get(link.peer)
        self._links[link.peer] = link
        self._accepted.pop(link, None)
        if old is not None:
            old.abort()
            self._on_down(link.peer)
        self._told_stranger = False
        log.info("link up", peer=link.peer)
        self._on_up(link.peer)

    def link_lost(self, link: Link) -> None:
        self._accepted.pop(link, None)
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            log.info("link down", peer=link.peer)
            self._on_down(link.peer)

    def _accept(self) -> Link:
        link = Link(self, "")
        self._accepted[link] = None
        return link

    async def _dial(self, peer: str) -> None:
        loop = asyncio.get_running_loop()
        host, _, port = self.addresses[peer].rpartition(":")
        wait = REDIAL_S[0]
        told = ""
        while True:
            link: Link | None = None
            try:
                context = self.tls.client if self.tls is not None else None
                connecting = loop.create_connection(
                    lambda: Link(self, peer), host.strip("[]"), int(port), ssl=context
                )
                _, link = await asyncio.wait_for(connecting, DIAL_TIMEOUT_S)
                assert link is not None
                await link.closed
                # With TLS 1.3 the dialling side is through before its certificate is looked at.
                text = "" if link.ready else "it ended the link without a greeting; does it trust our certificate?"
            except (OSError, TimeoutError) as error:
                text = f"{type(error).__name__}: {error}"
            if text and text != told:
                log.info("cannot reach a peer yet", peer=peer, error=text)
            told = text
            wait = REDIAL_S[0] if link is not None and link.ready else min(wait * 2, REDIAL_S[1])
            await asyncio.sleep(wait)

    async def _watch(self) -> None:
        """Keep idle links alive and close dead ones, also strangers that never greet."""
        while True:
            await asyncio.sleep(BEAT_S)
            for link in [*self._links.values(), *self._accepted]:
                if self.now() - link.heard > SILENT_S:
                    self._close_silent(link)
                elif link.ready:
                    link.write(self._beat)

    def _close_silent(self, link: Link) -> None:
        if link.connected:
            log.info("closing a silent link", peer=link.peer)
            link.abort()
            return
        # asyncio does not say which handshakes failed, nor how; one that knocks again and again is told once.
        self._accepted.pop(link, None)
        if not self._told_stranger:
            self._told_stranger = True
            log.warning("somebody's TLS handshake failed; is its certificate, or ours, of another cluster?")
