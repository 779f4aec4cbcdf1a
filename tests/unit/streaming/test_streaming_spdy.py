"""SPDY/3.1 frames and sessions: the published dictionary, round trips, hostile bytes, back-pressure, resets."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.streaming import spdy
from argosy.streaming.pipe import StreamPipe
from argosy.streaming.session import BUFFER_BYTES, Closed, Session
from argosy.streaming.spdy import Codec, Data, GoAway, MoreHeaders, Ping, Reset, SpdyError, SynReply, SynStream

KUBECTL_SYN = bytes.fromhex(
    "80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff"
)
"""The first frame of kubectl 1.27's `attach`."""


def test_dictionary_is_the_published_one() -> None:
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


def test_reads_what_kubectl_sends() -> None:
    assert list(Codec().feed(KUBECTL_SYN)) == [SynStream(1, {"streamtype": "error"})]


numbers = st.integers(1, 2**31 - 1)
headers = st.dictionaries(
    st.text(st.characters(codec="ascii", exclude_characters="\0", categories=["Ll", "Nd"]), min_size=1, max_size=20),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    max_size=5,
)
frames = st.one_of(
    st.builds(SynStream, numbers, headers, st.booleans(), st.booleans(), st.integers(0, 7)),
    st.builds(SynReply, numbers, headers, st.booleans()),
    st.builds(MoreHeaders, numbers, headers, st.booleans()),
    st.builds(Reset, numbers, st.integers(1, 11)),
    st.builds(Ping, st.integers(0, 2**32 - 1)),
    st.builds(GoAway, numbers, st.integers(0, 2)),
    st.builds(Data, numbers, st.binary(max_size=300), st.booleans()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(frames, max_size=8), st.integers(1, 50))
def test_round_trip_however_it_is_cut(sent: list[spdy.Frame], step: int) -> None:
    writer, reader = Codec(), Codec()
    data = b"".join(writer.encode(frame) for frame in sent)
    got = [frame for start in range(0, len(data), step) for frame in reader.feed(data[start : start + step])]
    assert got == sent


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_end_in_spdy_error_or_frames(data: bytes) -> None:
    try:
        for _ in Codec().feed(data):
            pass
    except SpdyError:
        pass


def test_limits() -> None:
    bomb = Codec()
    with pytest.raises(SpdyError, match="headers"):
        list(Codec().feed(bomb.encode(SynStream(1, {"a": "x" * 200_000}))))
    with pytest.raises(SpdyError, match="control frame"):
        list(Codec().feed(b"\x80\x03\x00\x01\x00\xff\xff\xff"))
    with pytest.raises(SpdyError, match="version 2"):
        list(Codec().feed(b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01"))


def joined(test: Callable[[Session, Session], Awaitable[None]]) -> None:
    """A client's and a server's session over a loopback connection."""

    async def body() -> None:
        accepted: asyncio.Future[StreamPipe] = asyncio.get_running_loop().create_future()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(StreamPipe(reader, writer))

        listener = await asyncio.start_server(connected, "127.0.0.1", 0)
        pipe = StreamPipe(*await asyncio.open_connection(*listener.sockets[0].getsockname()))
        client, server = Session(pipe, client=True), Session(await accepted, client=False)
        tasks = [asyncio.ensure_future(session.run()) for session in (client, server)]
        try:
            async with asyncio.timeout(20):
                await test(client, server)
        finally:
            await client.close()
            await server.close()
            await asyncio.gather(*tasks, return_exceptions=True)
            listener.close()

    asyncio.run(body())


def test_half_close_both_ways() -> None:
    async def test(client: Session, server: Session) -> None:
        mine = await client.open({"streamtype": "data"})
        theirs = await server.accept()
        assert theirs is not None and theirs.headers == {"streamtype": "data"}
        await mine.write(b"question")
        await mine.end()
        assert await theirs.read_all(100) == b"question"
        await theirs.write(b"answer")
        await theirs.end()
        assert await mine.read_all(100) == b"answer"
        with pytest.raises(Closed):
            await mine.write(b"more")

    joined(test)


def test_a_slow_reader_holds_the_writer_back_and_loses_nothing() -> None:
    async def test(client: Session, server: Session) -> None:
        mine = await client.open({})
        theirs = await server.accept()
        assert theirs is not None
        total = 40 * BUFFER_BYTES
        written = 0

        async def feed() -> None:
            nonlocal written
            while written < total:
                await mine.write(b"x" * 65_536)
                written += 65_536
            await mine.end()

        task = asyncio.ensure_future(feed())
        stalled = -1
        while written != stalled:
            stalled = written
            await asyncio.sleep(0.1)
        assert written < total, "the writer waits while nobody reads"
        size = 0
        while data := await theirs.read():
            size += len(data)
        await task
        assert size == total

    joined(test)


def test_a_reset_is_told_and_the_session_goes_on() -> None:
    async def test(client: Session, server: Session) -> None:
        one, two = await client.open({"n": "1"}), await client.open({"n": "2"})
        theirs, others = await server.accept(), await server.accept()
        assert theirs is not None and others is not None
        await theirs.write(b"kept")
        await theirs.reset()
        assert await one.read_all(100) == b"kept"
        with pytest.raises(Closed):
            await one.write(b"nobody there")
        await others.write(b"still here")
        assert await two.read() == b"still here"

    joined(test)


def test_the_end_of_a_session_ends_its_streams_after_what_came() -> None:
    async def test(client: Session, server: Session) -> None:
        mine = await client.open({})
        theirs = await server.accept()
        assert theirs is not None
        await theirs.write(b"last words")
        await server.close()
        await client.closed.wait()
        assert await mine.read() == b"last words"
        assert await mine.read() == b""
        with pytest.raises(Closed):
            await client.open({})
        assert await server.accept() is None

    joined(test)


def test_a_lost_connection_is_no_orderly_end() -> None:
    async def test(client: Session, server: Session) -> None:
        mine = await client.open({})
        theirs = await server.accept()
        assert theirs is not None
        await theirs.write(b"half")
        assert await mine.read() == b"half"
        pipe = server._pipe
        assert isinstance(pipe, StreamPipe)
        pipe.writer.transport.abort()
        with pytest.raises(Closed):
            await mine.read()

    joined(test)


def test_streams_of_the_wrong_side_or_order_end_the_session() -> None:
    async def body(data: bytes) -> bool:
        reader = asyncio.StreamReader()
        reader.feed_data(data)

        class Pipe:
            async def read(self) -> bytes:
                return await reader.read(65_536)

            async def write(self, data: bytes) -> None: ...

            async def end(self) -> None: ...

            def close(self) -> None: ...

        session = Session(Pipe(), client=False)
        with pytest.raises(SpdyError):
            await session.run()
        return session.closed.is_set()

    codec = Codec()
    assert asyncio.run(body(codec.encode(SynStream(2))))
    codec = Codec()
    assert asyncio.run(body(codec.encode(SynStream(5)) + codec.encode(SynStream(3))))
