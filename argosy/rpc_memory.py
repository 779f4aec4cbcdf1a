"""The in-memory twin of `argosy.rpc`: the network of the simulator and of tests.

One `MemoryNetwork` is a LAN; `.host(name)` is what a process on that host gets as its Network. Links have
latency, can be cut and healed, and hosts can crash. Everything runs on the running event loop's own time, with
no threads and no iterated sets, so that the same seed gives the same run.

It behaves as GrpcNetwork does (tests/unit/argosy/test_rpc.py runs one suite on both) with two simplifications:
certificates are not verified, a client is trusted when both sides name the same CA bytes and it shows a
certificate, and a server's name is not checked; every address but `unix:` ones is global to the network.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import cached_property, partial

from argosy import logs
from argosy.host import Rng
from argosy.rpc import MAX_MESSAGE_BYTES, Call, Channel, Code, Metadata, Methods, RpcError, Tls
from argosy.rpc_inbox import Feed, Inbox, resolve

KEEPALIVE_S = 15.0
"""A call over a cut link dies after this long: gRPC's keepalive time and timeout as argosy.rpc sets them."""

Observer = Callable[[str, str, str, bytes], None]
"""(from host, to host, method, message); an error's text stands for a status that is not OK."""

log = logs.get("argosy.rpc_memory")


class MemoryNetwork:
    """A LAN of named hosts. All methods are to be called on the event loop that the calls run on."""

    def __init__(
        self,
        rng: Rng,
        *,
        latency_s: float = 0.0,
        jitter_s: float = 0.0,
        grain_s: float = 0.0,
        keepalive_s: float = KEEPALIVE_S,
    ) -> None:
        """Messages arrive at multiples of `grain_s`, several at once, as network cards hand them over."""
        self.grain_s = grain_s
        self._rng = rng
        self._latency_s = latency_s
        self._jitter_s = jitter_s
        self._keepalive_s = keepalive_s
        self._links: dict[tuple[str, str], float] = {}
        self._cuts: dict[tuple[str, str], int] = {}
        self._cut_count = 0
        self._next_port = 20000
        self._next_call = 0
        self._hosts: dict[str, MemoryHost] = {}
        self.servers: dict[str, MemoryServer] = {}
        self.exchanges: dict[int, Exchange] = {}
        self.observer: Observer | None = None
        """Told of every message that is sent: a simulator's trace."""

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The one that this network lives on: asking asyncio each time costs a system call."""
        return asyncio.get_running_loop()

    def host(self, name: str) -> MemoryHost:
        """The Network of one host; after `crash` a new one, and the old one's channels stay dead."""
        found = self._hosts.get(name)
        if found is None:
            found = self._hosts[name] = MemoryHost(self, name)
        return found

    def set_latency(self, a: str, b: str, latency_s: float) -> None:
        """One-way latency of the link between two hosts, both directions."""
        self._links[a, b] = self._links[b, a] = latency_s

    def delay_s(self, source: str, target: str) -> float:
        """The next message's travel time."""
        delay = 0.0 if source == target else self._links.get((source, target), self._latency_s)
        return delay + self._rng.random() * self._jitter_s if self._jitter_s else delay

    def partition(self, a: str, b: str, one_way: bool = False) -> None:
        """Cut messages from `a` to `b`, and back unless `one_way`. What was sent waits for `heal`."""
        for pair in [(a, b)] if one_way else [(a, b), (b, a)]:
            self._cut_count += 1
            self._cuts[pair] = self._cut_count
            asyncio.get_running_loop().call_later(self._keepalive_s, self._expire, pair, self._cut_count)

    def heal(self, a: str | None = None, b: str | None = None) -> None:
        """Mend the link between two hosts, all links of one, or all."""
        for pair in list(self._cuts):
            if (a is None or a in pair) and (b is None or b in pair):
                del self._cuts[pair]
        for exchange in list(self.exchanges.values()):
            exchange.wake()

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cuts

    def crash(self, name: str, *, silent: bool = False) -> None:
        """The host dies: its servers vanish, its calls end. Peers see it at once, or by keepalive if `silent`."""
        dead = self._hosts.pop(name, None)
        if dead is not None:
            dead.dead = True
        for address in [address for address, server in self.servers.items() if server.host == name]:
            self.servers.pop(address).closed = True
        for exchange in list(self.exchanges.values()):
            if name in (exchange.client_host, exchange.server_host):
                delay = self._keepalive_s if silent else self.delay_s(exchange.server_host, exchange.client_host)
                exchange.crash(name, delay)

    def port(self) -> int:
        self._next_port += 1
        return self._next_port

    def call_number(self) -> int:
        self._next_call += 1
        return self._next_call

    def watch_stall(self, exchange: Exchange) -> None:
        """A call began over a cut link: it ends by keepalive unless the link heals."""
        pair = (exchange.client_host, exchange.server_host)
        for cut in (pair, pair[::-1]):
            number = self._cuts.get(cut)
            if number is not None:
                asyncio.get_running_loop().call_later(self._keepalive_s, self._expire_one, exchange, cut, number)

    def _expire(self, pair: tuple[str, str], number: int) -> None:
        for exchange in list(self.exchanges.values()):
            if pair in ((exchange.client_host, exchange.server_host), (exchange.server_host, exchange.client_host)):
                self._expire_one(exchange, pair, number)

    def _expire_one(self, exchange: Exchange, pair: tuple[str, str], number: int) -> None:
        if self._cuts.get(pair) == number:
            exchange.lose("keepalive watchdog timeout")


class MemoryHost:
    """`argosy.rpc.Network` as one host sees it."""

    def __init__(self, network: MemoryNetwork, name: str) -> None:
        self.network = network
        self.name = name
        self.dead = False

    async def serve(self, address: str, methods: Methods, tls: Tls | None = None) -> MemoryServer:
        if self.dead:
            raise OSError(f"host {self.name} has crashed")
        if not address.startswith("unix:"):
            name, _, port = address.rpartition(":")
            if not name or not port.isdigit():
                raise OSError(f"cannot listen on {address}: not host:port")
            if int(port) == 0:
                address = f"{name}:{self.network.port()}"
        key = self._key(address)
        if key in self.network.servers:
            raise OSError(f"cannot listen on {address}: in use")
        server = MemoryServer(self.network, self.name, address, key, methods, tls)
        self.network.servers[key] = server
        return server

    def dial(self, address: str, tls: Tls | None = None) -> Channel:
        return MemoryChannel(self, self._key(address), tls)

    def listen(
        self,
        address: str,
        method: str,
        request: bytes,
        on_message: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> Exchange:
        """Open a stream whose messages are handed over as they arrive: no task wakes for each (`MemoryServer.fed`).

        `client_done` of what it gives hangs up. Raises RpcError when this host is dead.
        """
        channel = MemoryChannel(self, self._key(address), None)
        return channel.start(method, None, None, request, Feed(on_message, on_end))

    def _key(self, address: str) -> str:
        return f"{self.name}!{address}" if address.startswith("unix:") else address


class MemoryServer:
    def __init__(
        self, network: MemoryNetwork, host: str, address: str, key: str, methods: Methods, tls: Tls | None
    ) -> None:
        self._network = network
        self._address = address
        self._key = key
        self.host = host
        self.methods = methods
        self.tls = tls
        self.closed = False
        self.fed: dict[str, Callable[[bytes, Exchange], None]] = {}
        """Stream methods without a task: called with the only request, and the call to `put` messages into."""

    @property
    def address(self) -> str:
        return self._address

    def running(self) -> list[Exchange]:
        calls = self._network.exchanges.values()
        return [one for one in calls if one.server is self and one.task is not None and not one.answered]

    async def stop(self, grace_s: float) -> None:
        if self.closed:
            return
        self.closed = True
        self._network.servers.pop(self._key, None)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        while self.running() and loop.time() < deadline:
            ended = loop.create_future()
            for exchange in self.running():
                exchange.on_end.append(ended)
            timer = loop.call_at(deadline, resolve, ended)
            await ended
            timer.cancel()
        tasks = [one.task for one in self.running() if one.task is not None]
        for exchange in self.running():
            exchange.lose("server shut down")
        for task in tasks:
            try:
                await task
            except asyncio.CancelledError:
                if not task.cancelled():
                    raise


class MemoryChannel:
    def __init__(self, host: MemoryHost, key: str, tls: Tls | None) -> None:
        self._host = host
        self._key = key
        self._tls = tls
        self._closed = False
        self._calls: dict[int, Exchange] = {}

    async def unary(
        self, method: str, request: bytes, *, timeout_s: float | None = None, metadata: Metadata | None = None
    ) -> bytes:
        _check_size(request)
        exchange = self.start(method, metadata, timeout_s, request)
        try:
            answer = await exchange.responses.pop()
            if answer is None or await exchange.responses.pop() is not None:
                raise RpcError(Code.UNIMPLEMENTED, "a unary call needs exactly one response")
            return answer
        finally:
            self._end(exchange)

    async def stream(
        self, method: str, requests: bytes | AsyncIterator[bytes], *, metadata: Metadata | None = None
    ) -> AsyncIterator[bytes]:
        whole = requests if isinstance(requests, bytes) else None
        if whole is not None:
            _check_size(whole)
        exchange = self.start(method, metadata, None, whole)
        feeder: asyncio.Task[None] | None = None
        try:
            if not isinstance(requests, bytes):
                feeder = asyncio.get_running_loop().create_task(_feed(exchange, requests))
            while (message := await exchange.responses.pop()) is not None:
                yield message
        finally:
            if feeder is not None:
                feeder.cancel()
            self._end(exchange)

    async def close(self) -> None:
        self._closed = True
        for exchange in list(self._calls.values()):
            exchange.responses.end(RpcError(Code.CANCELLED, "channel closed"))

    def start(
        self,
        method: str,
        metadata: Metadata | None,
        timeout_s: float | None,
        request: bytes | None,
        responses: Inbox | None = None,
    ) -> Exchange:
        """Begin a call whose responses go to that inbox. Raises RpcError when the channel is closed."""
        network = self._host.network
        if self._closed or self._host.dead:
            raise RpcError(Code.UNAVAILABLE, "channel is closed")
        server = network.servers.get(self._key)
        exchange = Exchange(network, self._host.name, server, self._key, responses or Inbox())
        self._calls[exchange.number] = exchange
        exchange.open(method, dict(metadata or {}), self._tls, timeout_s, request)
        return exchange

    def _end(self, exchange: Exchange) -> None:
        self._calls.pop(exchange.number, None)
        exchange.client_done()


async def _feed(exchange: Exchange, requests: AsyncIterator[bytes]) -> None:
    try:
        async for message in requests:
            await exchange.send(message)
        exchange.half_close()
    except RpcError as error:
        exchange.responses.end(error)
    except Exception as error:
        log.exception("a request iterator failed")
        exchange.responses.end(RpcError(Code.CANCELLED, f"request iterator failed: {error}"))


class Lane:
    """One direction of one call: first in, first out, late by the link's latency, held while it is cut."""

    def __init__(self, network: MemoryNetwork, source: str, target: str) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._last_due = 0.0

    def send(self, action: Callable[[], None]) -> None:
        network = self._network
        due, grain_s = network.loop.time() + network.delay_s(self._source, self._target), network.grain_s
        if grain_s:
            due = -(-due // grain_s) * grain_s
        if due < self._last_due:
            due = self._last_due
        self._last_due = due
        self._queue.append((due, action))
        if self._timer is None:
            self._timer = network.loop.call_at(self._queue[0][0], self._deliver)

    def wake(self) -> None:
        if self._queue and self._timer is None:
            self._timer = self._network.loop.call_at(self._queue[0][0], self._deliver)

    def __len__(self) -> int:
        return len(self._queue)

    def clear(self) -> None:
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _deliver(self) -> None:
        self._timer = None
        if self._network.is_cut(self._source, self._target):
            return
        now = self._network.loop.time()
        queue = self._queue
        queue.popleft()[1]()
        while queue and queue[0][0] <= now:
            queue.popleft()[1]()
        if queue:
            self.wake()


class Exchange:
    """One call: its two lanes, the two inboxes at their ends, and the handler's task."""

    def __init__(
        self,
        network: MemoryNetwork,
        client_host: str,
        server: MemoryServer | None,
        address: str,
        responses: Inbox,
    ) -> None:
        self.number = network.call_number()
        self.client_host = client_host
        self.server = server
        self.server_host = server.host if server is not None else client_host
        self.requests = Inbox()
        self.responses = responses
        self.task: asyncio.Task[None] | None = None
        self.on_end: list[asyncio.Future[None]] = []
        self._network = network
        self._address = address
        self._up = Lane(network, client_host, self.server_host)
        self._down = Lane(network, self.server_host, client_host)
        self._timers: list[asyncio.TimerHandle] = []
        self.answered = False
        self.on_gone: Callable[[], None] | None = None
        """Of a fed stream: its client is gone, or the connection."""
        self.method = ""
        network.exchanges[self.number] = self

    def open(
        self,
        method: str,
        metadata: dict[str, str | bytes],
        tls: Tls | None,
        timeout_s: float | None,
        request: bytes | None,
    ) -> None:
        """Client side: begin, with the only request if there is just one. The handler starts when this arrives."""
        self.method = method
        loop = self._network.loop
        deadline = None
        if timeout_s is not None:
            deadline = loop.time() + timeout_s
            self._timers.append(loop.call_at(deadline, self._deadline))
        self._network.watch_stall(self)
        if request is not None:
            self._observe(self.client_host, self.server_host, request)
        self._up.send(lambda: self._arrive(method, metadata, tls, deadline, request))

    async def send(self, message: bytes) -> None:
        """Client side. Raises RpcError RESOURCE_EXHAUSTED on an oversized message."""
        _check_size(message)
        await self.requests.reserve()
        self._observe(self.client_host, self.server_host, message)
        self._up.send(partial(self.requests.push, message))

    def _observe(self, source: str, target: str, message: bytes) -> None:
        observer = self._network.observer
        if observer is not None:
            observer(source, target, self.method, message)

    def half_close(self) -> None:
        self._up.send(self.requests.end)

    def client_done(self) -> None:
        """The client has its answer or gave up: the handler, if it still runs, is cancelled."""
        for timer in self._timers:
            timer.cancel()
        self.responses.end()
        if self.answered or (self.server is None):
            self._forget()
        else:
            self._up.send(self._cancel_handler)

    def lose(self, reason: str) -> None:
        """The connection breaks for both ends."""
        self._up.clear()
        self._down.clear()
        self.responses.end(RpcError(Code.UNAVAILABLE, reason))
        self._cancel_handler()

    def crash(self, name: str, delay_s: float) -> None:
        """One end's host died: its side stops now, the other side hears of it after `delay_s`."""
        self._up.clear()
        self._down.clear()
        if name == self.server_host:
            self.answered = True
            if self.task is not None:
                self.task.cancel()
        if name == self.client_host:
            self.responses.end(RpcError(Code.UNAVAILABLE, "host crashed"))
        asyncio.get_running_loop().call_later(delay_s, self.lose, "connection reset by peer")

    def wake(self) -> None:
        self._up.wake()
        self._down.wake()

    def _deadline(self) -> None:
        self.responses.end(RpcError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _arrive(
        self,
        method: str,
        metadata: dict[str, str | bytes],
        tls: Tls | None,
        deadline: float | None,
        request: bytes | None,
    ) -> None:
        server = self.server
        if server is None or server.closed:
            self._finish(RpcError(Code.UNAVAILABLE, f"failed to connect to {self._address}: connection refused"))
            return
        if (tls is None) != (server.tls is None) or (
            tls is not None and server.tls is not None and (tls.ca != server.tls.ca or not tls.certificate)
        ):
            self._finish(RpcError(Code.UNAVAILABLE, f"failed to connect to {self._address}: TLS handshake failed"))
            return
        if request is not None and method in server.fed:
            server.fed[method](request, self)
            return
        if method not in server.methods.unary and method not in server.methods.stream:
            self._finish(RpcError(Code.UNIMPLEMENTED, "Method not found!"))
            return
        if request is not None:
            self.requests.push_last(request)
        loop = self._network.loop
        left = None if deadline is None else max(0.0, deadline - loop.time())
        certificate = tls.certificate if tls is not None else b""
        call = Call(method, metadata, f"memory:{self.client_host}", certificate, left)
        self.task = loop.create_task(self._handle(server, call))

    async def _handle(self, server: MemoryServer, call: Call) -> None:
        try:
            unary = server.methods.unary.get(call.method)
            if unary is not None:
                request = await self.requests.pop()
                if request is None:
                    raise RpcError(Code.INTERNAL, "no request message")
                self._answer(await unary(request, call))
            else:
                await self._handle_stream(server, call)
                self._finish(None)
        except RpcError as error:
            self._finish(error)
        except asyncio.CancelledError:
            self._finish(RpcError(Code.CANCELLED, "the handler was cancelled"))
            raise
        except Exception as error:
            log.exception("a handler failed", method=call.method)
            self._finish(RpcError(Code.UNKNOWN, f"Unexpected {type(error)}: {error}"))

    async def _handle_stream(self, server: MemoryServer, call: Call) -> None:
        responses = server.methods.stream[call.method](self._read_requests(), call)
        try:
            async for message in responses:
                await self._respond(message)
        finally:
            close = getattr(responses, "aclose", None)
            if close is not None:
                await close()

    async def _read_requests(self) -> AsyncIterator[bytes]:
        while (message := await self.requests.pop()) is not None:
            yield message

    def put(self, message: bytes) -> bool:
        """A message into a fed stream; False when that is over."""
        if self.answered:
            return False
        self._observe(self.server_host, self.client_host, message)
        self._down.send(partial(self.responses.push, message))
        return True

    def finish(self, error: RpcError | None = None) -> None:
        """The end of a fed stream."""
        self._finish(error)

    @property
    def under_way(self) -> int:
        """How many messages have not arrived at the client."""
        return len(self._down)

    async def _respond(self, message: bytes) -> None:
        _check_size(message)
        await self.responses.reserve()
        self._observe(self.server_host, self.client_host, message)
        self._down.send(partial(self.responses.push, message))

    def _answer(self, message: bytes) -> None:
        """Server side: the only response, and the status with it."""
        _check_size(message)
        if not self.answered:
            self.answered = True
            self.requests.end()
            self._observe(self.server_host, self.client_host, message)
            self._down.send(partial(self._answered, message))
        self._ended()

    def _answered(self, message: bytes) -> None:
        self.responses.push_last(message)
        self._forget()

    def _finish(self, error: RpcError | None) -> None:
        """Server side: the status goes down behind the responses."""
        if not self.answered:
            self.answered = True
            self.requests.end()
            if error is not None:
                self._observe(self.server_host, self.client_host, str(error).encode())
            self._down.send(lambda: self._status(error))
        self._ended()

    def _status(self, error: RpcError | None) -> None:
        self.responses.end(error)
        self._forget()

    def _cancel_handler(self) -> None:
        self.answered = True
        self.requests.end()
        if self.task is not None and not self.task.done():
            self.task.cancel()
        self._ended()
        self._forget()
        if self.on_gone is not None:
            gone, self.on_gone = self.on_gone, None
            gone()

    def _ended(self) -> None:
        for waiter in self.on_end:
            resolve(waiter)
        self.on_end.clear()

    def _forget(self) -> None:
        self._network.exchanges.pop(self.number, None)


def _check_size(message: bytes) -> None:
    if len(message) > MAX_MESSAGE_BYTES:
        raise RpcError(Code.RESOURCE_EXHAUSTED, f"message larger than max ({len(message)} vs {MAX_MESSAGE_BYTES})")
