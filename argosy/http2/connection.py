"""One client's connection: its frames, its settings, flow control both ways, and its calls.

Everything a client can make grow is bounded: calls that run or are still ending, header blocks, unsent answers. A
client that breaks the protocol gets GOAWAY and loses its connection; nothing it sends touches another connection.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final

from argosy import logs
from argosy.http2 import frames
from argosy.http2.frames import Http2Error
from argosy.http2.headers import ANSWER_HEAD, MAX_HEADER_LIST_BYTES, Head, HeadDecoder, trailers
from argosy.http2.stream import WINDOW_BYTES, ServerStream
from argosy.rpc import Code

if TYPE_CHECKING:
    from argosy.http2.server import Http2Server

MAX_STREAMS: Final = 1000
MAX_FRAME_BYTES: Final = 128 << 10
CONNECTION_WINDOW_BYTES: Final = 16 << 20
MAX_UNSENT_BYTES: Final = 64 << 20
"""With more answers than that not taken by the client, its new calls are refused."""
WRITE_BUFFER_BYTES: Final = 1 << 20
MAX_CONTROL_FRAMES: Final = 10_000
"""Answers to PING and SETTINGS that may be written while the client reads nothing."""
PREFACE_S: Final = 10.0
SILENT_S: Final = 10.0
"""A client that was silent that long is asked for a sign of life,"""
PONG_S: Final = 10.0
"""and lost when none comes within that time."""
LINGER_S: Final = 1.0

_SETTINGS: Final = frames.settings(
    {
        frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        frames.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
        frames.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
        frames.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
    }
)
_PING: Final = frames.frame(frames.PING, 0, 0, b"argosy-1")
_NOT_FOUND: Final = ANSWER_HEAD + trailers(int(Code.UNIMPLEMENTED), "Method not found!", {})

log = logs.get("argosy.http2")


class Connection(asyncio.Protocol):
    """See the module."""

    def __init__(self, server: Http2Server) -> None:
        self.loop = asyncio.get_running_loop()
        self.peer = ""
        self.window = frames.DEFAULT_WINDOW_BYTES
        """What the client lets us send on all streams together."""
        self.initial_window = frames.DEFAULT_WINDOW_BYTES
        self.max_frame_bytes = frames.DEFAULT_FRAME_BYTES
        self.paused = False
        """The socket takes no more for now."""
        self.tasks = 0
        """Handlers that run or are still ending."""
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._certificate: bytes | None = None
        self._partial = b""
        self._greeted = False
        self._heads = HeadDecoder()
        self._streams: dict[int, ServerStream] = {}
        self._blocked: dict[ServerStream, None] = {}
        self._waiting: dict[ServerStream, None] = {}
        self._last_stream_id = 0
        self._receive_window = CONNECTION_WINDOW_BYTES
        self._block: tuple[int, int, list[bytes]] | None = None
        """Stream, flags and parts of a header block that CONTINUATION frames go on with."""
        self._out: list[bytes] = []
        self._flushing = False
        self._reading = False
        self._control_frames = 0
        self._closing = False
        self._broken = False
        """The client broke the protocol; what it still sends is dropped."""
        self._heard_s = self.loop.time()
        self._pinged_s: float | None = None

    # Life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are of their own class
        if self._server.stopping:
            # Accepted just before the end: `stop` does not know of it any more.
            self.abort()
            return
        self._server.connections[self] = None
        if self._transport is None:
            return
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"
        increase = CONNECTION_WINDOW_BYTES - frames.DEFAULT_WINDOW_BYTES
        self.write(_SETTINGS + frames.window_update(0, increase))

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        streams, self._streams = list(self._streams.values()), {}
        self._blocked.clear()
        for stream in streams:
            stream.drop()
        for waiting in list(self._waiting):
            waiting.wake()
        self._server.connections.pop(self, None)
        self._server.changed()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._control_frames = 0
        waiting, self._waiting = self._waiting, {}
        for stream in waiting:
            stream.wake()

    @property
    def idle(self) -> bool:
        return not self._streams and not self.tasks

    @property
    def peer_certificate(self) -> bytes:
        """PEM of the verified client certificate; empty without TLS."""
        if self._certificate is None:
            found: ssl.SSLObject | None = self._extra("ssl_object")
            der = found.getpeercert(binary_form=True) if found is not None else None
            self._certificate = ssl.DER_cert_to_PEM_cert(der).encode() if der else b""
        return self._certificate

    def _extra(self, name: str) -> Any:
        return self._transport.get_extra_info(name) if self._transport is not None else None

    def go_away(self) -> None:
        """The server stops: running calls end, new ones are for another server."""
        self._closing = True
        self.write(frames.goaway(self._last_stream_id, frames.NO_ERROR))

    def cancel_all(self) -> None:
        for stream in list(self._streams.values()):
            stream.stop()

    def close(self) -> None:
        """After what is written has left."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def check_alive(self) -> None:
        """Called every few seconds: a client that shows no sign of life is lost."""
        now = self.loop.time()
        if not self._greeted:
            if now - self._heard_s > PREFACE_S:
                self.abort()
        elif self._pinged_s is not None and self._heard_s < self._pinged_s:
            if now - self._pinged_s > PONG_S:
                log.info("a silent client is dropped", peer=self.peer)
                self.abort()
        elif now - self._heard_s >= SILENT_S:
            self._pinged_s = now
            self.write(_PING)

    # Frames in

    def data_received(self, data: bytes) -> None:
        if self._broken:
            return
        self._heard_s = self.loop.time()
        self._reading = True
        try:
            if self._partial:
                data = self._partial + data
                self._partial = b""
            offset = 0
            if not self._greeted:
                offset = self._greet(data)
            if self._greeted:
                self._partial = data[self._frames(data, offset) :]
        except Http2Error as error:
            self._fail(error)
        finally:
            self._reading = False
            self._flush()

    def _greet(self, data: bytes) -> int:
        wanted = frames.PREFACE
        if data[: len(wanted)] != wanted[: len(data)]:
            raise Http2Error(frames.PROTOCOL_ERROR, "this port speaks gRPC over HTTP/2")
        if len(data) < len(wanted):
            self._partial = data
            return 0
        self._greeted = True
        return len(wanted)

    def _frames(self, data: bytes, offset: int) -> int:
        """Handle every whole frame from `offset` on; gives where the rest begins. Raises Http2Error."""
        total = len(data)
        u32 = frames.u32
        while total - offset >= frames.HEAD_BYTES:
            size = u32(data, offset)[0] >> 8
            if size > MAX_FRAME_BYTES:
                raise Http2Error(frames.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            start = offset + frames.HEAD_BYTES
            end = start + size
            if end > total:
                break
            kind, flags = data[offset + 3], data[offset + 4]
            stream_id = u32(data, offset + 5)[0] & 0x7FFFFFFF
            payload = data[start:end]
            offset = end
            if self._block is not None and kind != frames.CONTINUATION:
                raise Http2Error(frames.PROTOCOL_ERROR, "a header block is interrupted")
            if kind == frames.DATA:
                self._data(flags, stream_id, payload)
            elif kind == frames.HEADERS:
                self._headers(flags, stream_id, payload)
            else:
                self._other(kind, flags, stream_id, payload)
        return offset

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise Http2Error(frames.FLOW_CONTROL_ERROR, "more than the connection's window")
        if self._receive_window < CONNECTION_WINDOW_BYTES // 2:
            self.write(frames.window_update(0, CONNECTION_WINDOW_BYTES - self._receive_window))
            self._receive_window = CONNECTION_WINDOW_BYTES
        stream = self._streams.get(stream_id)
        if stream is not None:
            if flags & frames.PADDED:
                stream.receive_window -= size
                payload = frames.unpadded(flags, payload)
                stream.receive_window += len(payload)
            stream.receive(payload, bool(flags & frames.END_STREAM))
        elif stream_id > self._last_stream_id or not stream_id % 2:
            raise Http2Error(frames.PROTOCOL_ERROR, f"DATA on stream {stream_id}, which is not open")

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        payload = frames.unpadded(flags, payload)
        if flags & frames.PRIORITISED:
            if len(payload) < 5:
                raise Http2Error(frames.FRAME_SIZE_ERROR, "HEADERS without its priority")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._head(stream_id, flags, payload)
        else:
            self._block = (stream_id, flags, [payload])

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise Http2Error(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, first, parts = self._block
        parts.append(payload)
        if sum(map(len, parts)) > MAX_HEADER_LIST_BYTES or len(parts) > 64:
            raise Http2Error(frames.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & frames.END_HEADERS:
            self._block = None
            self._head(stream_id, first, b"".join(parts))

    def _head(self, stream_id: int, flags: int, block: bytes) -> None:
        """A whole header block: a new call, or the trailers of one."""
        head = self._heads.decode(block)
        known = self._streams.get(stream_id)
        if known is not None:
            if not flags & frames.END_STREAM:
                raise Http2Error(frames.PROTOCOL_ERROR, "a second header block that ends nothing")
            known.receive(b"", True)
            return
        if stream_id <= self._last_stream_id:
            if flags & frames.END_STREAM:
                return  # trailers of a call that was answered meanwhile
            raise Http2Error(frames.STREAM_CLOSED, f"HEADERS on stream {stream_id}, which was closed")
        if not stream_id % 2:
            raise Http2Error(frames.PROTOCOL_ERROR, f"a client opens odd streams, not {stream_id}")
        self._last_stream_id = stream_id
        if self._closing or self._is_laden():
            self.write(frames.reset(stream_id, frames.REFUSED_STREAM))
            return
        self._open(stream_id, head, bool(flags & frames.END_STREAM))

    def _open(self, stream_id: int, head: Head, ended: bool) -> None:
        unary = self._server.methods.unary.get(head.path)
        handler = self._server.methods.stream.get(head.path) if unary is None else None
        refusal = head.refusal or (_NOT_FOUND if unary is None and handler is None else b"")
        if refusal:
            self.write(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, refusal))
            if not ended:
                self.write(frames.reset(stream_id, frames.NO_ERROR))
            return
        stream = self._streams[stream_id] = ServerStream(self, stream_id, head, unary, handler)
        if ended:
            stream.receive(b"", True)

    def _is_laden(self) -> bool:
        """This client has as much under way as one client may."""
        if len(self._streams) >= MAX_STREAMS or self.tasks >= 2 * MAX_STREAMS:
            return True
        if not self._blocked and not self.paused:
            return False
        unsent = sum(stream.pending_bytes() for stream in self._blocked)
        if self._transport is not None:
            unsent += self._transport.get_write_buffer_size()
        return unsent > MAX_UNSENT_BYTES

    def _other(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._window_update(stream_id, payload)
        elif kind == frames.RST_STREAM:
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                self._blocked.pop(stream, None)
                stream.drop()
                self._server.changed()
            elif stream_id > self._last_stream_id or not stream_id:
                raise Http2Error(frames.PROTOCOL_ERROR, f"RST_STREAM on stream {stream_id}, which is not open")
        elif kind == frames.PING:
            if len(payload) != 8:
                raise Http2Error(frames.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
            if not flags & frames.ACK:
                self._control(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.SETTINGS:
            self._settings(flags, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, stream_id, payload)
        elif kind == frames.PUSH_PROMISE:
            raise Http2Error(frames.PROTOCOL_ERROR, "a client cannot push")
        # PRIORITY is advice, GOAWAY says that no calls follow, unknown kinds are to be passed over.

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(frames.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes")
        size = frames.u32(payload)[0] & 0x7FFFFFFF
        stream = self._streams.get(stream_id)
        if stream_id and stream is None:
            return
        if not size:
            raise Http2Error(frames.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        if stream is not None:
            stream.window += size
            if stream.window > frames.MAX_WINDOW_BYTES:
                raise Http2Error(frames.FLOW_CONTROL_ERROR, "a stream's window overflows")
            if stream in self._blocked:
                self._pump([stream])
        else:
            self.window += size
            if self.window > frames.MAX_WINDOW_BYTES:
                raise Http2Error(frames.FLOW_CONTROL_ERROR, "the connection's window overflows")
            self._pump(list(self._blocked))

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        for key, value in frames.parse_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                if value > frames.MAX_WINDOW_BYTES:
                    raise Http2Error(frames.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
                change, self.initial_window = value - self.initial_window, value
                for stream in self._streams.values():
                    stream.window += change
            elif key == frames.MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME_BYTES <= value <= frames.MAX_FRAME_BYTES:
                    raise Http2Error(frames.PROTOCOL_ERROR, f"frames of {value} bytes")
                self.max_frame_bytes = min(value, MAX_FRAME_BYTES)
        self._control(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump(list(self._blocked))

    def _control(self, data: bytes) -> None:
        if self.paused:
            self._control_frames += 1
            if self._control_frames > MAX_CONTROL_FRAMES:
                raise Http2Error(frames.ENHANCE_YOUR_CALM, "asks much and reads nothing")
        self.write(data)

    def _fail(self, error: Http2Error) -> None:
        log.info("a client broke the protocol", peer=self.peer, reason=error.reason)
        self._closing = True
        self._block = None
        self._partial = b""
        if self._greeted:
            self.write(frames.goaway(self._last_stream_id, error.code, error.reason))
        self._flush()
        self._broken = True
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.drop()
        # Closed at once, with bytes of the client's unread, the socket would lose what was written last.
        self.loop.call_later(LINGER_S, self.close)
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    # Frames out

    def write(self, data: bytes) -> None:
        """Send frames, together with what else is written in this round of the loop."""
        if self._broken:
            return
        self._out.append(data)
        if not self._reading and not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._out and self._transport is not None:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def blocked(self, stream: ServerStream) -> None:
        """A stream's window, or ours, is used up: it goes on when the client opens it."""
        self._blocked[stream] = None

    def _pump(self, streams: list[ServerStream]) -> None:
        for stream in streams:
            self._blocked.pop(stream, None)
            stream.pump()

    def wait_for_room(self, stream: ServerStream) -> None:
        """Wake the stream when the socket takes more."""
        self._waiting[stream] = None

    def finished(self, stream: ServerStream) -> None:
        self._streams.pop(stream.id, None)
        self._blocked.pop(stream, None)
        if self._server.stopping:
            self._server.changed()

    def task_done(self) -> None:
        self.tasks -= 1
        if self._server.stopping:
            self._server.changed()
