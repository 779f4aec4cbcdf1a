"""The HTTP/2 server against a client that keeps the rules, bends them, or breaks them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import unquote

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.http2 import connection, frames, headers
from argosy.http2.server import Http2Server
from argosy.rpc import Call, Code, GrpcNetwork, Methods, RpcError
from tests.unit.argosy.http2_client import PATIENCE_S, RawClient, prefixed


class Service:
    """What the tests call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.cancelled = 0
        self.produced = 0
        self.taken: list[bytes] = []
        self.release = asyncio.Event()

    async def echo(self, request: bytes, call: Call) -> bytes:
        self.calls.append(call)
        return request

    async def big(self, request: bytes, call: Call) -> bytes:
        return b"x" * int(request)

    async def refuse(self, request: bytes, call: Call) -> bytes:
        raise RpcError(Code.ABORTED, "50 % of «it»\n", {"a-bin": b"\0\xff", "b": "text"})

    async def hang(self, request: bytes, call: Call) -> bytes:
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b"released"

    async def produce(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        async for _ in requests:
            for _ in range(10_000):
                self.produced += 1
                yield b"y" * 1000

    async def take(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        await self.release.wait()
        async for request in requests:
            self.taken.append(request)
        yield b"%d" % sum(map(len, self.taken))

    async def each(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    def methods(self) -> Methods:
        return Methods(
            {"/t/Echo": self.echo, "/t/Big": self.big, "/t/Refuse": self.refuse, "/t/Hang": self.hang},
            {"/t/Produce": self.produce, "/t/Take": self.take, "/t/Each": self.each},
        )


Body = Callable[[Http2Server, Service], Awaitable[None]]


def run(body: Body) -> None:
    async def main() -> None:
        service = Service()
        server = Http2Server(service.methods())
        await server.start("127.0.0.1:0", None)
        try:
            await body(server, service)
            # Whatever a client did, the server serves the next one.
            channel = GrpcNetwork().dial(server.address)
            assert await channel.unary("/t/Echo", b"alive", timeout_s=PATIENCE_S) == b"alive"
            await channel.close()
        finally:
            await server.stop(0)
        assert not server.connections

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE_S))


async def eventually(condition: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


def test_one_message_in_pieces_padded_and_after_a_continued_head() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        head = client.head("/t/Echo", ("x-long", "v" * 300), ("x-bin", "AP8"))
        client.send(frames.frame(frames.HEADERS, 0, 1, head[:7]))
        client.send(frames.frame(frames.CONTINUATION, 0, 1, head[7:40]))
        client.send(frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, head[40:]))
        message = prefixed(b"in pieces")
        client.data(1, message[:3], end=False)
        client.send(frames.frame(frames.DATA, frames.PADDED, 1, b"\x04" + message[3:9] + b"\0" * 4))
        client.data(1, b"", end=False)
        client.data(1, message[9:])
        content, fields = await client.answer(1)
        assert content == prefixed(b"in pieces")
        assert fields[":status"] == "200" and fields["grpc-status"] == "0"
        assert service.calls[0].metadata["x-long"] == "v" * 300
        assert service.calls[0].metadata["x-bin"] == b"\0\xff"
        client.close()

    run(body)


def test_bytes_may_come_one_by_one() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.silent(server.address)
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, client.head("/t/Echo"))
        whole = frames.PREFACE + frames.settings({}) + head
        whole += frames.frame(frames.DATA, frames.END_STREAM, 1, prefixed(b"slow"))
        for byte in whole:
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await client.answer(1))[0] == prefixed(b"slow")
        client.close()

    run(body)


def test_repeated_heads_are_told_apart() -> None:
    """A head kept by its bytes must not outlive a change of HPACK's table."""

    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        for number in range(60):
            client.call(2 * number + 1, "/t/Echo", b"", ("x-turn", str(number % 7)), ("x-same", "s"))
            await client.answer(2 * number + 1)
        assert [call.metadata["x-turn"] for call in service.calls] == [str(number % 7) for number in range(60)]
        client.encoder.header_table_size = 0
        client.call(201, "/t/Echo", b"", ("x-turn", "last"))
        client.encoder.header_table_size = 4096
        client.call(203, "/t/Echo", b"", ("x-turn", "of all"))
        await client.answer(203)
        assert [call.metadata["x-turn"] for call in service.calls[-2:]] == ["last", "of all"]
        client.close()

    run(body)


def test_errors_in_trailers() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        client.call(1, "/t/Refuse", b"")
        _, fields = await client.answer(1)
        assert fields["grpc-status"] == str(int(Code.ABORTED))
        assert fields["grpc-message"] == "50 %25 of %C2%ABit%C2%BB%0A"
        assert (fields["a-bin"], fields["b"]) == ("AP8", "text")
        client.call(3, "/t/Nothing", b"")
        assert (await client.answer(3))[1]["grpc-status"] == str(int(Code.UNIMPLEMENTED))
        client.close()

    run(body)


@pytest.mark.parametrize(
    ("further", "method", "expected"),
    [
        ((), "GET", (":status", "405")),
        ((("grpc-encoding", "gzip"),), "POST", ("grpc-status", "12")),
        ((("grpc-timeout", "soon"),), "POST", ("grpc-status", "13")),
        ((("grpc-timeout", "123456789S"),), "POST", ("grpc-status", "13")),
    ],
)
def test_what_is_no_call_is_refused(
    further: tuple[tuple[str, str], ...], method: str, expected: tuple[str, str]
) -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        head = client.head("/t/Echo", *further, method=method)
        client.send(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, head))
        _, fields = await client.answer(1)
        assert fields[expected[0]] == expected[1]
        assert not service.calls
        client.close()

    run(body)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", Code.INTERNAL),
        (b"\0\0\0", Code.INTERNAL),
        (prefixed(b"one") + prefixed(b"two"), Code.INTERNAL),
        (b"\1" + prefixed(b"zip")[1:], Code.UNIMPLEMENTED),
        (b"\0\xff\xff\xff\xffrest", Code.RESOURCE_EXHAUSTED),
    ],
)
def test_a_malformed_message_ends_its_call_only(content: bytes, code: Code) -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        for stream_id, path in ((1, "/t/Echo"), (3, "/t/Each")):
            client.open(stream_id, path)
            client.data(stream_id, content)
            expected = Code.OK if path == "/t/Each" and content.startswith(b"\0\0\0\0\3") else code
            expected = Code.OK if path == "/t/Each" and not content else expected
            assert (await client.answer(stream_id))[1]["grpc-status"] == str(int(expected))
        client.call(5, "/t/Echo", b"still")
        assert (await client.answer(5))[0] == prefixed(b"still")
        client.close()

    run(body)


def test_answers_keep_to_the_clients_windows() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address, settings={frames.INITIAL_WINDOW_SIZE: 10})
        client.call(1, "/t/Big", b"100000")
        got = 0
        while got < 10:
            got += len((await client.until(frames.DATA, 1)).payload)
        assert got == 10
        client.call(3, "/t/Big", b"2")
        assert (await client.answer(3))[0] == prefixed(b"xx")
        client.send(frames.window_update(1, 90))
        while got < 100:
            got += len((await client.until(frames.DATA, 1)).payload)
        # A grown default applies to open streams too; then the connection's window is the limit.
        client.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 20}))
        total = frames.DEFAULT_WINDOW_BYTES - 7
        while got < total:
            frame = await client.until(frames.DATA, 1)
            assert len(frame.payload) <= frames.DEFAULT_FRAME_BYTES
            got += len(frame.payload)
        assert got == total
        client.send(frames.window_update(0, 1 << 20))
        content, fields = await client.answer(1)
        assert got + len(content) == 100_005 and fields["grpc-status"] == "0"
        client.close()

    run(body)


def test_a_client_that_does_not_read_stops_the_producer() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        client.call(1, "/t/Produce", b"")
        await client.until(frames.DATA, 1)
        before = -1
        while before != service.produced:
            before = service.produced
            await asyncio.sleep(0.05)
        assert service.produced < 200
        client.send(frames.window_update(1, 1 << 30) + frames.window_update(0, 1 << 30))
        content, _ = await client.answer(1)
        assert service.produced == 10_000 and len(content) > 9_000_000
        client.close()

    run(body)


def test_a_handler_that_does_not_take_stops_the_client() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        channel = GrpcNetwork().dial(server.address)
        sent = 0

        async def requests() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(300):
                sent += 1
                yield b"z" * 32_768

        async def ask() -> list[bytes]:
            return [message async for message in channel.stream("/t/Take", requests())]

        asking = asyncio.ensure_future(ask())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 200
        service.release.set()
        assert await asking == [b"%d" % (300 * 32_768)]
        await channel.close()

    run(body)


def test_large_messages_both_ways() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        channel = GrpcNetwork().dial(server.address)
        message = bytes(range(256)) * 32_768
        assert await channel.unary("/t/Echo", message) == message
        stream = channel.stream("/t/Each", message)
        assert [answer async for answer in stream] == [message]
        await channel.close()

    run(body)


def test_reset_calls_are_cancelled_and_bounded() -> None:
    """Opening and resetting without end must not pile up handlers (CVE-2023-44487)."""

    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        for number in range(3000):
            client.call(2 * number + 1, "/t/Hang", b"")
            client.send(frames.reset(2 * number + 1, frames.CANCEL))
        client.send(frames.frame(frames.PING, 0, 0, bytes(8)))
        while not (await client.until(frames.PING)).flags & frames.ACK:
            pass
        (held,) = server.connections
        assert held.tasks <= 2 * connection.MAX_STREAMS
        await eventually(lambda: held.idle)
        client.call(7001, "/t/Echo", b"after")
        assert (await client.answer(7001))[0] == prefixed(b"after")
        client.close()

    run(body)


def test_too_many_calls_are_refused() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        for number in range(connection.MAX_STREAMS + 1):
            client.call(2 * number + 1, "/t/Hang", b"")
        frame = await client.until(frames.RST_STREAM, 2 * connection.MAX_STREAMS + 1)
        assert int.from_bytes(frame.payload, "big") == frames.REFUSED_STREAM
        service.release.set()
        assert (await client.answer(1))[0] == prefixed(b"released")
        client.close()

    run(body)


def test_a_lost_connection_cancels_its_calls() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        client.call(1, "/t/Hang", b"")
        client.call(3, "/t/Echo", b"")
        await client.answer(3)
        client.close()
        await eventually(lambda: service.cancelled == 1)
        await eventually(lambda: not server.connections)

    run(body)


def test_deadlines() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        client.call(1, "/t/Hang", b"", ("grpc-timeout", "20m"))
        assert (await client.answer(1))[1]["grpc-status"] == str(int(Code.DEADLINE_EXCEEDED))
        assert service.cancelled == 1
        client.call(3, "/t/Hang", b"", ("grpc-timeout", "0n"))
        assert (await client.answer(3))[1]["grpc-status"] == str(int(Code.DEADLINE_EXCEEDED))
        client.close()

    run(body)


def test_ping_and_settings_are_answered() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        client.send(frames.frame(frames.PING, 0, 0, b"12345678"))
        while not (frame := await client.until(frames.PING)).flags & frames.ACK:
            pass
        assert frame.payload == b"12345678"
        client.send(frames.settings({frames.MAX_FRAME_SIZE: 1 << 20}))
        while not (await client.until(frames.SETTINGS)).flags & frames.ACK:
            pass
        client.send(frames.frame(frames.PRIORITY, 0, 9, bytes(5)) + frames.frame(0xAB, 7, 5, b"unknown kinds"))
        client.call(11, "/t/Echo", b"on")
        assert (await client.answer(11))[0] == prefixed(b"on")
        client.close()

    run(body)


def headers_frame(client: RawClient, stream_id: int, path: str = "/t/Hang") -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, client.head(path))


BREACHES: dict[str, tuple[Callable[[RawClient], bytes], int]] = {
    "an even stream": (lambda c: headers_frame(c, 2), frames.PROTOCOL_ERROR),
    "stream 0": (lambda c: headers_frame(c, 0), frames.STREAM_CLOSED),
    "a stream that goes back": (lambda c: headers_frame(c, 5) + headers_frame(c, 3), frames.STREAM_CLOSED),
    "two heads": (lambda c: headers_frame(c, 1) * 2, frames.PROTOCOL_ERROR),
    "DATA on nothing": (lambda c: frames.frame(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
    "DATA after the end": (
        lambda c: headers_frame(c, 1) + frames.frame(frames.DATA, 1, 1, prefixed(b"")) * 2,
        frames.STREAM_CLOSED,
    ),
    "padding": (
        lambda c: headers_frame(c, 1) + frames.frame(frames.DATA, frames.PADDED, 1, b"\x09abc"),
        frames.PROTOCOL_ERROR,
    ),
    "HPACK": (
        lambda c: frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff"),
        frames.COMPRESSION_ERROR,
    ),
    "a head interrupted": (
        lambda c: frames.frame(frames.HEADERS, 0, 1, c.head("/t/Echo")) + frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.PROTOCOL_ERROR,
    ),
    "a head without end": (
        lambda c: frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.CONTINUATION, 0, 1, b"\0") * 80,
        frames.ENHANCE_YOUR_CALM,
    ),
    "a huge head": (
        lambda c: frames.frame(
            frames.HEADERS, frames.END_HEADERS, 1, c.head("/t/Echo", *((f"k{n}", "v" * 1000) for n in range(99)))
        ),
        frames.COMPRESSION_ERROR,
    ),
    "a huge frame": (lambda c: b"\xff\xff\xff" + bytes(6), frames.FRAME_SIZE_ERROR),
    "a window by nothing": (lambda c: frames.window_update(0, 0), frames.PROTOCOL_ERROR),
    "a window too wide": (lambda c: frames.window_update(0, frames.MAX_WINDOW_BYTES), frames.FLOW_CONTROL_ERROR),
    "PING of a wrong size": (lambda c: frames.frame(frames.PING, 0, 0, b"x"), frames.FRAME_SIZE_ERROR),
    "SETTINGS of a wrong size": (lambda c: frames.frame(frames.SETTINGS, 0, 0, b"x"), frames.FRAME_SIZE_ERROR),
    "small frames wanted": (lambda c: frames.settings({frames.MAX_FRAME_SIZE: 1}), frames.PROTOCOL_ERROR),
    "a push": (lambda c: frames.frame(frames.PUSH_PROMISE, 0, 1, bytes(4)), frames.PROTOCOL_ERROR),
    "a reset of nothing": (lambda c: frames.reset(99, frames.CANCEL), frames.PROTOCOL_ERROR),
    "a CONTINUATION of nothing": (lambda c: frames.frame(frames.CONTINUATION, 4, 1, b""), frames.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_of_the_protocol_ends_the_connection_with_its_code(name: str) -> None:
    make, code = BREACHES[name]

    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        client.send(make(client))
        assert (await client.goaway())[0] == code
        client.close()
        await eventually(lambda: not server.connections)

    run(body)


def test_more_than_the_window_is_a_breach() -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        client.open(1, "/t/Take")
        piece = frames.frame(frames.DATA, 0, 1, prefixed(b"w" * 16_379))
        client.send(piece * 100)
        assert (await client.goaway())[0] == frames.FLOW_CONTROL_ERROR
        client.close()

    run(body)


def test_what_does_not_greet_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.silent(server.address)
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await client.ended()
        monkeypatch.setattr(connection, "PREFACE_S", 0.0)
        mute = await RawClient.silent(server.address)
        await eventually(lambda: bool(server.connections))
        for held in list(server.connections):
            held.check_alive()
        assert await mute.ended()

    run(body)


def test_a_silent_client_is_pinged_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        client.call(1, "/t/Echo", b"")
        await client.answer(1)
        (held,) = server.connections
        monkeypatch.setattr(connection, "SILENT_S", 0.0)
        held.check_alive()
        frame = await client.until(frames.PING)
        client.send(frames.frame(frames.PING, frames.ACK, 0, frame.payload))
        client.call(3, "/t/Echo", b"")
        await client.answer(3)
        held.check_alive()
        await client.until(frames.PING)
        monkeypatch.setattr(connection, "PONG_S", 0.0)
        await asyncio.sleep(0.01)
        held.check_alive()
        assert await client.ended()

    run(body)


def test_stopping_refuses_new_calls_and_lets_running_ones_end() -> None:
    async def main() -> None:
        service = Service()
        server = Http2Server(service.methods())
        await server.start("127.0.0.1:0", None)
        client = await RawClient.connect(server.address)
        client.call(1, "/t/Hang", b"")
        client.call(3, "/t/Echo", b"")
        await client.answer(3)
        stopping = asyncio.ensure_future(server.stop(20))
        frame = await client.until(frames.GOAWAY)
        assert int.from_bytes(frame.payload[:4], "big") == 3
        client.call(5, "/t/Echo", b"")
        frame = await client.until(frames.RST_STREAM, 5)
        assert int.from_bytes(frame.payload, "big") == frames.REFUSED_STREAM
        service.release.set()
        assert (await client.answer(1))[0] == prefixed(b"released")
        await stopping
        assert await client.ended()

    asyncio.run(asyncio.wait_for(main(), 2 * PATIENCE_S))


def test_who_is_accepted_while_it_stops_is_let_go() -> None:
    class Transport(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    async def main() -> None:
        server = Http2Server(Service().methods())
        await server.start("127.0.0.1:0", None)
        await server.stop(0)
        late, transport = connection.Connection(server), Transport()
        late.connection_made(transport)
        assert transport.aborted and not server.connections
        late.connection_lost(None)

    asyncio.run(main())


@settings(max_examples=150)
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.integers(0, 12),
                st.integers(0, 255),
                st.sampled_from((0, 1, 1, 1, 3, 3, 4, 99)),
                st.binary(max_size=40),
            ),
            st.tuples(st.just(-1), st.just(0), st.sampled_from((1, 3, 5)), st.sampled_from((b"/t/Echo", b"/t/Each"))),
        ),
        max_size=12,
    ),
    st.integers(1, 64),
)
def test_no_input_hangs_or_breaks_the_server(parts: list[tuple[int, int, int, bytes]], piece: int) -> None:
    async def body(server: Http2Server, service: Service) -> None:
        client = await RawClient.connect(server.address)
        data = b"".join(
            frames.frame(frames.HEADERS, frames.END_HEADERS, stream, client.head(content.decode()))
            if kind < 0
            else frames.frame(kind, flags, stream, content)
            for kind, flags, stream, content in parts
        )
        for at in range(0, len(data), piece):
            client.send(data[at : at + piece])
        client.close()
        await eventually(lambda: not server.connections)

    run(body)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_.]{0,20}", fullmatch=True),
        st.text(st.characters(codec="ascii", categories=("L", "N"))),
        max_size=5,
    ),
    st.integers(0, 16),
    st.text(max_size=300),
)
def test_trailers_are_hpack(metadata: dict[str, str], code: int, message: str) -> None:
    fields = dict(hpack.Decoder().decode(headers.trailers(code, message, metadata)))
    assert fields.pop("grpc-status") == str(code)
    text = fields.pop("grpc-message", "")
    assert unquote(text) == message
    assert fields == metadata
