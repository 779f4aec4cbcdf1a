"""SPDY/3.1 frames: bytes to frames and back. Pure: no sockets.

kubectl before 1.30, containerd's and CRI-O's streaming servers and every port-forward speak SPDY for exec, attach and
port-forward. `session.py` builds streams on this. Layout: chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1.

Window updates are read and ignored and none is sent, as Kubernetes' own implementation (moby/spdystream) does: with
it on the other side, a sender that waits for window would wait for ever. TCP's own flow control bounds both sides.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_CONTROL_BYTES: Final = 64 << 10
MAX_HEADERS: Final = 256
MAX_HEADER_BYTES: Final = 64 << 10
MAX_DATA_BYTES: Final = (1 << 24) - 1

_WORDS: Final = """
options head post put delete trace accept accept-charset accept-encoding accept-language
accept-ranges age allow authorization cache-control connection content-base content-encoding
content-language content-length content-location content-md5 content-range content-type date etag
expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since
last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer
retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate
method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin
""".split()  # noqa: SIM905  # a list of 67 quoted words is harder to read
_TAIL: Final = (
    b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    b"403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    b"text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = (
    b"".join(len(word).to_bytes(4, "big") + word.replace("_", " ").encode() for word in _WORDS) + _TAIL
)
"""What both sides' header compression starts from."""

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FLAG_FIN: Final = 1
FLAG_UNIDIRECTIONAL: Final = 2

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, UNSUPPORTED_VERSION, CANCEL, INTERNAL_ERROR = 1, 2, 3, 4, 5, 6
"""Reasons of RST_STREAM."""

Headers = Mapping[str, str]
"""Lower-case names."""


class SpdyError(Exception):
    """Bytes that are not SPDY/3.1, or beyond the limits here; the connection cannot go on."""


@dataclass(frozen=True)
class SynStream:
    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False
    unidirectional: bool = False
    priority: int = 0


@dataclass(frozen=True)
class SynReply:
    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True)
class Reset:
    stream: int
    reason: int = CANCEL


@dataclass(frozen=True)
class Settings:
    """Read and ignored."""


@dataclass(frozen=True)
class Ping:
    id: int


@dataclass(frozen=True)
class GoAway:
    last_stream: int
    reason: int = 0


@dataclass(frozen=True)
class MoreHeaders:
    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True)
class WindowUpdate:
    """Read and ignored."""

    stream: int
    delta: int


@dataclass(frozen=True)
class Data:
    stream: int
    data: bytes = b""
    fin: bool = False


Frame = SynStream | SynReply | Reset | Settings | Ping | GoAway | MoreHeaders | WindowUpdate | Data


class Codec:
    """One side of one connection; header compression has state, so frames go through it in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._compress = zlib.compressobj(zlib.Z_BEST_COMPRESSION, zdict=DICTIONARY)
        self._decompress = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. Raises SpdyError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            size = second & 0xFFFFFF
            control = bool(first >> 31)
            if control and size > MAX_CONTROL_BYTES:
                raise SpdyError(f"control frame of {size} bytes")
            if len(self._buffer) < 8 + size:
                return
            body = bytes(self._buffer[8 : 8 + size])
            del self._buffer[: 8 + size]
            flags = second >> 24
            if not control:
                if not first:
                    raise SpdyError("data on stream 0")
                yield Data(first, body, bool(flags & FLAG_FIN))
                continue
            version, kind = (first >> 16) & 0x7FFF, first & 0xFFFF
            if version != 3:
                raise SpdyError(f"version {version}")
            frame = self._control(kind, flags, body)
            if frame is not None:
                yield frame

    def _control(self, kind: int, flags: int, body: bytes) -> Frame | None:
        """None for a kind of frame that there is not: SPDY says to skip it."""
        fin = bool(flags & FLAG_FIN)
        try:
            match kind:
                case 1:
                    stream, _, priority = struct.unpack_from(">IIB", body)
                    uni = bool(flags & FLAG_UNIDIRECTIONAL)
                    return SynStream(_id(stream), self._headers(body[10:]), fin, uni, priority >> 5)
                case 2:
                    return SynReply(_id(*struct.unpack_from(">I", body)), self._headers(body[4:]), fin)
                case 3:
                    stream, reason = struct.unpack(">II", body)
                    return Reset(_id(stream), reason)
                case 4:
                    return Settings()
                case 6:
                    (number,) = struct.unpack(">I", body)
                    return Ping(number)
                case 7:
                    last, reason = struct.unpack(">II", body)
                    return GoAway(last & 0x7FFFFFFF, reason)
                case 8:
                    return MoreHeaders(_id(*struct.unpack_from(">I", body)), self._headers(body[4:]), fin)
                case 9:
                    stream, delta = struct.unpack(">II", body)
                    return WindowUpdate(stream & 0x7FFFFFFF, delta & 0x7FFFFFFF)
        except struct.error:
            raise SpdyError(f"control frame {kind} of {len(body)} bytes is too short or too long") from None
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._decompress.decompress(block, MAX_HEADER_BYTES + 1)
        except zlib.error as error:
            raise SpdyError(f"headers cannot be decompressed: {error}") from None
        if len(plain) > MAX_HEADER_BYTES or self._decompress.unconsumed_tail:
            raise SpdyError(f"headers of more than {MAX_HEADER_BYTES} bytes")
        count, position = _number(plain, 0)
        if count > MAX_HEADERS:
            raise SpdyError(f"{count} headers")
        headers: dict[str, str] = {}
        for _ in range(count):
            name, position = _text(plain, position)
            value, position = _text(plain, position)
            headers[name.lower()] = value.replace("\0", ", ")
        return headers

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream, data, fin):
                if len(data) > MAX_DATA_BYTES:
                    raise ValueError(f"data frame of {len(data)} bytes")
                return struct.pack(">II", stream, fin << 24 | len(data)) + data
            case SynStream(stream, headers, fin, unidirectional, priority):
                flags = FLAG_FIN * fin | FLAG_UNIDIRECTIONAL * unidirectional
                head = struct.pack(">IIBB", stream, 0, priority << 5, 0)
                return _pack(SYN_STREAM, flags, head + self._block(headers))
            case SynReply(stream, headers, fin):
                return _pack(SYN_REPLY, fin, struct.pack(">I", stream) + self._block(headers))
            case MoreHeaders(stream, headers, fin):
                return _pack(HEADERS, fin, struct.pack(">I", stream) + self._block(headers))
            case Reset(stream, reason):
                return _pack(RST_STREAM, 0, struct.pack(">II", stream, reason))
            case Ping(number):
                return _pack(PING, 0, struct.pack(">I", number))
            case GoAway(last, reason):
                return _pack(GOAWAY, 0, struct.pack(">II", last, reason))
            case WindowUpdate(stream, delta):
                return _pack(WINDOW_UPDATE, 0, struct.pack(">II", stream, delta))
            case Settings():
                return _pack(SETTINGS, 0, struct.pack(">I", 0))

    def _block(self, headers: Headers) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                data = text.encode()
                parts += [struct.pack(">I", len(data)), data]
        return self._compress.compress(b"".join(parts)) + self._compress.flush(zlib.Z_SYNC_FLUSH)


def _pack(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, int(flags) << 24 | len(body)) + body


def _id(stream: int) -> int:
    stream &= 0x7FFFFFFF
    if not stream:
        raise SpdyError("stream 0")
    return stream


def _number(data: bytes, position: int) -> tuple[int, int]:
    if position + 4 > len(data):
        raise SpdyError("headers end early")
    return int.from_bytes(data[position : position + 4], "big"), position + 4


def _text(data: bytes, position: int) -> tuple[str, int]:
    size, position = _number(data, position)
    if position + size > len(data):
        raise SpdyError("headers end early")
    return data[position : position + size].decode("utf-8", "replace"), position + size
