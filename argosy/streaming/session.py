"""Streams over one SPDY connection, for either role.

    session = Session(pipe, client=True); task = create_task(session.run())
    stream = await session.open({"streamtype": "stdout"})
    while data := await stream.read(): ...

Each stream holds a bounded amount of unread data; when one is full the whole connection waits, which is what the
peers do too. So whoever opens streams reads them all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from argosy.streaming import spdy
from argosy.streaming.pipe import Pipe

BUFFER_BYTES: Final = 256 << 10
MAX_STREAMS: Final = 1024
MAX_UNACCEPTED: Final = 64
WRITE_BYTES: Final = 32 << 10
"""Larger writes are split, so that streams take turns."""
REPLY_TIMEOUT_S: Final = 30.0


class Closed(ConnectionError):
    """The session or the stream is over."""


class Stream:
    """One stream. Reading ends with empty bytes when the peer finished or reset it, and raises Closed when the
    connection was lost: Kubernetes' servers reset every stream at the end, with all that matters already sent.
    """

    def __init__(self, session: Session, number: int, headers: spdy.Headers) -> None:
        self.number = number
        self.headers = headers
        """Those that it was opened with."""
        self._session = session
        self._chunks: deque[bytes] = deque()
        self._unread_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._finished = False
        self._reset = False
        self.replied = asyncio.Event()
        self.accepted = False
        """The peer agreed to it."""
        self.ended = False
        """We finished writing."""

    async def read(self) -> bytes:
        while not self._chunks:
            if self._reset:
                raise Closed(f"stream {self.number} was reset")
            if self._finished:
                return b""
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self._unread_bytes -= len(chunk)
        if self._unread_bytes < BUFFER_BYTES:
            self._room.set()
        return chunk

    async def read_all(self, limit_bytes: int) -> bytes:
        """Until the end; what is beyond the limit is dropped. Raises Closed when it was reset before any data.

        Upstream's servers end a connection by resetting its streams, written out or not: what came before is whole.
        """
        parts: list[bytes] = []
        size = 0
        try:
            while data := await self.read():
                if size < limit_bytes:
                    parts.append(data[: limit_bytes - size])
                    size += len(parts[-1])
        except Closed:
            if not parts:
                raise
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Raises Closed."""
        for start in range(0, len(data), WRITE_BYTES):
            if self._reset or self.ended:
                raise Closed(f"stream {self.number} is closed")
            await self._session.send(spdy.Data(self.number, data[start : start + WRITE_BYTES]))

    async def end(self) -> None:
        """We write no more; the peer may."""
        if not self.ended and not self._reset:
            self.ended = True
            await self._session.send(spdy.Data(self.number, b"", fin=True))
            self._session.forget_if_over(self)

    async def reset(self) -> None:
        if not self._reset and not (self._finished and self.ended):
            self.lose()
            await self._session.send(spdy.Reset(self.number))
        self._session.forget(self)

    def close(self) -> None:
        """Without waiting: drops what is unread; a `reset` follows by itself when the session goes on."""
        self._chunks.clear()
        self._unread_bytes = 0
        self._session.reset_later(self)

    async def receive(self, data: bytes, fin: bool) -> None:
        """The session's: waits while too much is unread."""
        if self._reset or self._finished:
            return
        if data:
            self._chunks.append(data)
            self._unread_bytes += len(data)
        if fin:
            self._finished = True
        self._changed.set()
        if self._unread_bytes >= BUFFER_BYTES:
            self._room.clear()
            await self._room.wait()

    def lose(self) -> None:
        """We reset it, or the connection went."""
        self._reset = not (self._finished and self.ended)
        self._changed.set()
        self._room.set()
        self.replied.set()

    def cancelled(self) -> None:
        """The peer reset it."""
        self.ended = True
        self.finish()

    def finish(self) -> None:
        """The connection ended in order: what was read stays, then it ends."""
        self._finished = True
        self._changed.set()
        self._room.set()
        self.replied.set()

    @property
    def lost(self) -> bool:
        return self._reset

    @property
    def over(self) -> bool:
        return self._finished and self.ended


class Session:
    """`run` reads until the connection ends; nothing arrives without it."""

    def __init__(self, pipe: Pipe, *, client: bool) -> None:
        self._pipe = pipe
        self._codec = spdy.Codec()
        self._next = 1 if client else 2
        self._remote_parity = 0 if client else 1
        self._last_remote = 0
        self._streams: dict[int, Stream] = {}
        self._incoming: asyncio.Queue[Stream | None] = asyncio.Queue(MAX_UNACCEPTED + 1)
        self._writing = asyncio.Lock()
        self._resets: set[asyncio.Task[None]] = set()
        self.closed = asyncio.Event()

    async def run(self) -> None:
        """Raises SpdyError for a peer that does not speak SPDY; OSErrors just end it.

        Only after a GOAWAY is the end of the connection an end of its streams; else they are lost.
        """
        orderly = False
        try:
            with contextlib.suppress(OSError):
                while not orderly and (data := await self._pipe.read()):
                    for frame in self._codec.feed(data):
                        if isinstance(frame, spdy.GoAway):
                            orderly = True
                        else:
                            await self._handle(frame)
        finally:
            self._end(orderly)

    def _end(self, orderly: bool) -> None:
        self.closed.set()
        self._pipe.close()
        for stream in list(self._streams.values()):
            if orderly:
                stream.finish()
            else:
                stream.lose()
        self._streams.clear()
        with contextlib.suppress(asyncio.QueueFull):
            self._incoming.put_nowait(None)
        for task in self._resets:
            task.cancel()

    async def _handle(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.SynStream():
                await self._opened(frame)
            case spdy.SynReply(stream=number, fin=fin):
                stream = self._streams.get(number)
                if stream is not None:
                    stream.accepted = True
                    stream.replied.set()
                    await self._received(stream, b"", fin)
            case spdy.Data(stream=number, data=data, fin=fin):
                stream = self._streams.get(number)
                if stream is not None:
                    await self._received(stream, data, fin)
            case spdy.MoreHeaders(stream=number, fin=fin):
                stream = self._streams.get(number)
                if stream is not None:
                    await self._received(stream, b"", fin)
            case spdy.Reset(stream=number):
                stream = self._streams.pop(number, None)
                if stream is not None:
                    stream.cancelled()
            case spdy.Ping(id=number):
                if number % 2 != self._next % 2:
                    await self.send(frame)
            case _:
                pass

    async def _received(self, stream: Stream, data: bytes, fin: bool) -> None:
        await stream.receive(data, fin)
        self.forget_if_over(stream)

    async def _opened(self, frame: spdy.SynStream) -> None:
        number = frame.stream
        if number % 2 != self._remote_parity or number <= self._last_remote:
            raise spdy.SpdyError(f"stream {number} out of order")
        self._last_remote = number
        if len(self._streams) >= MAX_STREAMS or self._incoming.qsize() >= MAX_UNACCEPTED:
            await self.send(spdy.Reset(number, spdy.REFUSED_STREAM))
            return
        stream = self._streams[number] = Stream(self, number, frame.headers)
        await self.send(spdy.SynReply(number))
        if frame.fin:
            await stream.receive(b"", True)
        self._incoming.put_nowait(stream)

    async def accept(self) -> Stream | None:
        """The next stream that the peer opened; None when the session is over."""
        stream = await self._incoming.get()
        if stream is None:
            self._incoming.put_nowait(None)
        return stream

    async def open(self, headers: spdy.Headers) -> Stream:
        """Open a stream and wait for the peer's reply. Raises Closed."""
        if self.closed.is_set():
            raise Closed("the session is closed")
        number, self._next = self._next, self._next + 2
        stream = self._streams[number] = Stream(self, number, headers)
        await self.send(spdy.SynStream(number, headers))
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await stream.replied.wait()
        except TimeoutError:
            raise Closed(f"no reply to stream {number}") from None
        if not stream.accepted:
            raise Closed(f"stream {number} was refused")
        return stream

    async def send(self, frame: spdy.Frame) -> None:
        """Raises Closed."""
        if self.closed.is_set():
            raise Closed("the session is closed")
        async with self._writing:
            try:
                await self._pipe.write(self._codec.encode(frame))
            except OSError as error:
                raise Closed(str(error)) from None

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)

    def forget_if_over(self, stream: Stream) -> None:
        if stream.over:
            self.forget(stream)

    def reset_later(self, stream: Stream) -> None:
        if self.closed.is_set() or stream.lost or stream.over:
            return

        async def body() -> None:
            with contextlib.suppress(Closed):
                await stream.reset()

        task = asyncio.ensure_future(body())
        self._resets.add(task)
        task.add_done_callback(self._resets.discard)

    async def close(self) -> None:
        """Say goodbye and end."""
        if not self.closed.is_set():
            with contextlib.suppress(Closed):
                await self.send(spdy.GoAway(self._last_remote))
        self._pipe.close()
