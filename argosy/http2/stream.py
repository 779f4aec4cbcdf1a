"""One call: request messages in, the handler's task, answer messages out as far as the windows allow.

`connection` owns it and tells it what arrives; it writes its frames through the connection. A unary call has one
message each way and is answered in one write; every other call is a pair of streams.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Final

from argosy import logs
from argosy.http2 import frames
from argosy.http2.headers import ANSWER_HEAD, OK_TRAILERS, Head, trailers
from argosy.rpc import MAX_MESSAGE_BYTES, Call, Code, RpcError, Stream, Unary

if TYPE_CHECKING:
    from argosy.http2.connection import Connection

WINDOW_BYTES: Final = 1 << 20
"""What a client may send on one stream before the handler has taken it."""
_PREFIX_BYTES: Final = 5

log = logs.get("argosy.http2")


class ServerStream:
    """See the module. The methods that `Connection` calls are not coroutines and never wait."""

    __slots__ = (
        "_answered",
        "_buffer",
        "_connection",
        "_ended",
        "_expired",
        "_head",
        "_held_bytes",
        "_messages",
        "_pending",
        "_reader",
        "_room",
        "_started",
        "_task",
        "_timer",
        "_trailers",
        "_unary",
        "id",
        "receive_window",
        "window",
    )

    def __init__(
        self, connection: Connection, stream_id: int, head: Head, unary: Unary | None, stream: Stream | None
    ) -> None:
        """Exactly one of `unary` and `stream` is the handler."""
        self.id = stream_id
        self.window = connection.initial_window
        """What the client lets us send; negative after it shrank its windows."""
        self.receive_window = WINDOW_BYTES
        self._connection = connection
        self._head = head
        self._unary = unary
        self._buffer: bytes | bytearray = b""
        self._messages: deque[bytes] = deque()
        self._held_bytes = 0
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._started = False
        self._pending: deque[memoryview] = deque()
        self._trailers: bytes | None = None
        self._answered = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False
        if stream is not None:
            self._begin(self._run_stream(stream))

    # What arrives

    def receive(self, data: bytes, end: bool) -> None:
        """A DATA frame's content. Raises Http2Error."""
        if self._ended:
            raise frames.Http2Error(frames.STREAM_CLOSED, "DATA after END_STREAM")
        self.receive_window -= len(data)
        if self.receive_window < 0:
            raise frames.Http2Error(frames.FLOW_CONTROL_ERROR, "more than the stream's window")
        self._ended = end
        if self._answered:
            return
        if not self._buffer:
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        if self._unary is not None:
            self._receive_unary(self._unary)
        else:
            self._receive_messages()
        if not end:
            self._credit()

    def _receive_unary(self, handler: Unary) -> None:
        size = self._message_bytes(0)
        if not self._ended or self._answered:
            return
        if size is None or size + _PREFIX_BYTES != len(self._buffer):
            self.fail(RpcError(Code.INTERNAL, "a unary call has one whole message"))
            return
        message, self._buffer = bytes(self._buffer[_PREFIX_BYTES:]), b""
        self._begin(self._run_unary(handler, message))

    def _receive_messages(self) -> None:
        offset = 0
        while (size := self._message_bytes(offset)) is not None:
            end = offset + _PREFIX_BYTES + size
            if len(self._buffer) < end:
                break
            self._messages.append(bytes(self._buffer[offset + _PREFIX_BYTES : end]))
            self._held_bytes += size
            offset = end
        if self._answered:
            return
        self._buffer = self._buffer[offset:] if offset < len(self._buffer) else b""
        if self._ended and self._buffer:
            self.fail(RpcError(Code.INTERNAL, "the request stream ends inside a message"))
            self._cancel()
            return
        self._wake(self._reader)

    def _message_bytes(self, offset: int) -> int | None:
        """The size of the message at `offset`; None before its prefix is whole, or when it was refused."""
        buffer = self._buffer
        if len(buffer) < offset + _PREFIX_BYTES:
            return None
        (size,) = frames.u32(buffer, offset + 1)
        problem: RpcError | None = None
        if buffer[offset]:
            problem = RpcError(Code.UNIMPLEMENTED, "compressed messages are not supported")
        elif size > MAX_MESSAGE_BYTES:
            text = f"Received message larger than max ({size} vs. {MAX_MESSAGE_BYTES})"
            problem = RpcError(Code.RESOURCE_EXHAUSTED, text)
        if problem is not None:
            self._buffer = b""
            self.fail(problem)
            self._cancel()
            return None
        return int(size)

    def _credit(self) -> None:
        """Let the client send on, unless the handler has much to take yet."""
        if self._held_bytes < WINDOW_BYTES // 2 and self.receive_window < WINDOW_BYTES // 2 and not self._ended:
            size, self.receive_window = WINDOW_BYTES - self.receive_window, WINDOW_BYTES
            self._connection.write(frames.window_update(self.id, size))

    def drop(self) -> None:
        """The client gave the call up, or is gone."""
        self._answered = True
        self._pending.clear()
        self._cancel()
        self._stop_timer()

    # The handler

    def _begin(self, running: Coroutine[object, object, None]) -> None:
        loop = self._connection.loop
        if self._head.timeout_s is not None:
            self._timer = loop.call_later(self._head.timeout_s, self._expire)
        self._task = loop.create_task(running)
        self._task.add_done_callback(self._done)
        self._connection.tasks += 1

    def _done(self, task: asyncio.Task[None]) -> None:
        self._connection.task_done()
        if not self._answered and self._trailers is None:
            self._cancelled()  # before its first step
        if not task.cancelled() and task.exception() is not None:
            log.error("a handler did not close", method=self._head.path, error=task.exception())

    def _call(self) -> Call:
        head, connection = self._head, self._connection
        return Call(head.path, head.metadata, connection.peer, connection.peer_certificate, head.timeout_s)

    async def _run_unary(self, handler: Unary, message: bytes) -> None:
        try:
            answer = await handler(message, self._call())
        except (Exception, asyncio.CancelledError) as error:
            self._failed(error)
        else:
            self._answer(answer)

    async def _run_stream(self, handler: Stream) -> None:
        responses = handler(self._requests(), self._call())
        try:
            async for message in responses:
                await self._send(message)
        except (Exception, asyncio.CancelledError) as error:
            self._failed(error)
        else:
            self._end(OK_TRAILERS)
        finally:
            if isinstance(responses, AsyncGenerator):
                await responses.aclose()

    async def _requests(self) -> AsyncIterator[bytes]:
        while True:
            while self._messages:
                message = self._messages.popleft()
                self._held_bytes -= len(message)
                self._credit()
                yield message
            if self._ended:
                return
            self._reader = self._connection.loop.create_future()
            await self._reader

    def _failed(self, error: BaseException) -> None:
        """What a handler raised becomes the call's end."""
        if isinstance(error, RpcError):
            self.fail(error)
        elif isinstance(error, asyncio.CancelledError):
            self._cancelled()
        else:
            log.exception("a handler failed", method=self._head.path)
            self.fail(RpcError(Code.UNKNOWN, f"Unexpected {type(error)}: {error}"))

    def _cancelled(self) -> None:
        """By the deadline, by the client, or because the server stops."""
        if self._expired:
            self.fail(RpcError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        else:
            self.fail(RpcError(Code.UNAVAILABLE, "the server stops"))

    def _expire(self) -> None:
        self._expired = True
        self._cancel()

    def stop(self) -> None:
        """The server stops: end the handler, and the call with it."""
        self._cancel()
        if self._task is None:
            self._cancelled()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What goes out

    def _answer(self, message: bytes) -> None:
        """The only message and the end, in one write where the windows allow."""
        if self._answered:
            return
        connection = self._connection
        size = len(message) + _PREFIX_BYTES
        if size > connection.max_frame_bytes or size > connection.window or size > self.window:
            self._queue(message)
            self._end(OK_TRAILERS)
            return
        connection.window -= size
        number = self.id.to_bytes(4, "big")
        connection.write(
            b"".join(
                (
                    *(_ANSWER_HEAD_FRAME, number, ANSWER_HEAD),
                    *(size.to_bytes(3, "big"), b"\0\0", number, b"\0", (size - _PREFIX_BYTES).to_bytes(4, "big")),
                    message,
                    *(_OK_TRAILERS_FRAME, number, OK_TRAILERS),
                )
            )
        )
        self._finish()

    async def _send(self, message: bytes) -> None:
        """One of many messages; waits until it has left, so that a slow client slows the handler."""
        if self._answered:
            return
        self._queue(message)
        while (self._pending or self._connection.paused) and not self._answered:
            if self._connection.paused:
                self._connection.wait_for_room(self)
            self._room = self._connection.loop.create_future()
            await self._room

    def fail(self, error: RpcError) -> None:
        """End the call with an error."""
        self._end(trailers(int(error.code), error.message, error.metadata))

    def _queue(self, message: bytes) -> None:
        self._open()
        prefix = b"\0" + len(message).to_bytes(4, "big")
        self._pending.append(memoryview(prefix + message))
        self.pump()

    def _open(self) -> None:
        if not self._started:
            self._started = True
            self._connection.write(frames.frame(frames.HEADERS, frames.END_HEADERS, self.id, ANSWER_HEAD))

    def _end(self, block: bytes) -> None:
        if self._answered or self._trailers is not None:
            return
        self._trailers = block
        self.pump()

    def pump(self) -> None:
        """Send what is pending as far as the windows allow; the connection calls it when they open."""
        connection = self._connection
        pending = self._pending
        while pending:
            first = pending[0]
            size = min(len(first), connection.max_frame_bytes, connection.window, self.window)
            if size <= 0:
                connection.blocked(self)
                return
            connection.window -= size
            self.window -= size
            connection.write(frames.frame(frames.DATA, 0, self.id, bytes(first[:size])))
            if size == len(first):
                pending.popleft()
            else:
                pending[0] = first[size:]
        self.wake()
        if self._trailers is not None and not self._answered:
            flags = frames.END_HEADERS | frames.END_STREAM
            block = self._trailers if self._started else ANSWER_HEAD + self._trailers
            connection.write(frames.frame(frames.HEADERS, flags, self.id, block))
            self._finish()

    def wake(self) -> None:
        """A handler that waits to send may look again."""
        self._wake(self._room)

    @staticmethod
    def _wake(waiting: asyncio.Future[None] | None) -> None:
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _finish(self) -> None:
        self._answered = True
        self._stop_timer()
        if not self._ended:
            self._connection.write(frames.reset(self.id, frames.NO_ERROR))
        self._connection.finished(self)

    def pending_bytes(self) -> int:
        return sum(map(len, self._pending))


_ANSWER_HEAD_FRAME: Final = len(ANSWER_HEAD).to_bytes(3, "big") + bytes((frames.HEADERS, frames.END_HEADERS))
_OK_TRAILERS_FRAME: Final = len(OK_TRAILERS).to_bytes(3, "big") + bytes(
    (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM)
)
