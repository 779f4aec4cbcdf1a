"""What HPACK carries: a call's head as requests have it, and the heads and trailers of answers.

A client sends nearly the same header block for every call of one kind. A block that leaves HPACK's table as it was
means the same when it comes again, so decoded heads are kept by their bytes until the table changes. Answers use no
table at all: a client cannot be confused by what was not kept, and most of them are constants.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import hpack

from argosy.http2.frames import COMPRESSION_ERROR, PROTOCOL_ERROR, Http2Error

MAX_HEADER_LIST_BYTES: Final = 64 << 10
_MAX_KEPT: Final = 256
_MAX_KEPT_BLOCK_BYTES: Final = 4 << 10
_MAX_TIMEOUT_DIGITS: Final = 8

_UNIMPLEMENTED: Final = 12
_INTERNAL: Final = 13
_ACCEPTED: Final = {"grpc-accept-encoding": "identity"}
_UNITS_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_HOP: Final = frozenset((b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"))


@dataclass(frozen=True)
class Head:
    """A request's headers."""

    path: str
    metadata: Mapping[str, str | bytes]
    timeout_s: float | None
    refusal: bytes = b""
    """The whole answer, as a header block, to what is no gRPC call or one that cannot be served; else empty."""


class HeadDecoder:
    """One connection's HPACK state."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(MAX_HEADER_LIST_BYTES)
        self._kept: dict[bytes, Head] = {}

    def decode(self, block: bytes) -> Head:
        """Raises Http2Error when the block cannot be decoded: the table is lost then."""
        head = self._kept.get(block)
        if head is not None:
            return head
        table = self._decoder.header_table
        before = (table._current_size, len(table.dynamic_entries), next(iter(table.dynamic_entries), None))
        try:
            fields = self._decoder.decode(block, raw=True)
        except hpack.HPACKError as error:
            raise Http2Error(COMPRESSION_ERROR, f"header block: {error}") from None
        head = _head(fields)
        after = (table._current_size, len(table.dynamic_entries), next(iter(table.dynamic_entries), None))
        if before != after or len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        if before == after and len(block) <= _MAX_KEPT_BLOCK_BYTES:
            self._kept[block] = head
        return head


def _head(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    pseudo: dict[bytes, bytes] = {}
    metadata: dict[str, str | bytes] = {}
    content_type = b""
    timeout: bytes | None = None
    encoding = b"identity"
    for name, value in fields:
        if name.startswith(b":"):
            if name in pseudo:
                raise Http2Error(PROTOCOL_ERROR, "a pseudo-header twice")
            pseudo[name] = value
        elif name == b"content-type":
            content_type = value
        elif name == b"grpc-timeout":
            timeout = value
        elif name == b"grpc-encoding":
            encoding = value
        elif name not in _HOP:
            key = name.decode("latin-1")
            metadata[key] = _binary(value) if key.endswith("-bin") else value.decode("latin-1")
    path = pseudo.get(b":path", b"").decode("latin-1")
    if pseudo.get(b":method") != b"POST":
        return Head(path, metadata, None, _refusal(405, "gRPC is asked by POST"))
    if not content_type.startswith(b"application/grpc"):
        return Head(path, metadata, None, _refusal(415, "gRPC wants content-type application/grpc"))
    if encoding != b"identity":
        problem = f"compression {encoding.decode('latin-1')!r} is not supported; use identity"
        return Head(path, metadata, None, ANSWER_HEAD + trailers(_UNIMPLEMENTED, problem, _ACCEPTED))
    if timeout is None:
        return Head(path, metadata, None)
    timeout_s = _timeout_s(timeout.decode("latin-1"))
    if timeout_s is None:
        problem = "a grpc-timeout is up to 8 digits and one of H, M, S, m, u, n"
        return Head(path, metadata, None, ANSWER_HEAD + trailers(_INTERNAL, problem, {}))
    return Head(path, metadata, timeout_s)


def _timeout_s(text: str) -> float | None:
    digits, unit = text[:-1], text[-1:]
    if not digits.isdecimal() or len(digits) > _MAX_TIMEOUT_DIGITS or unit not in _UNITS_S:
        return None
    return int(digits) * _UNITS_S[unit]


def _binary(value: bytes) -> bytes:
    """Metadata ending in -bin is base64, padded or not; what is not is handed on as nothing."""
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        return b""


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field without indexing, new name (RFC 7541 §6.2.2), no Huffman code."""
    return b"".join((b"\x00", _integer(len(name)), name, _integer(len(value)), value))


def _integer(value: int) -> bytes:
    """HPACK's integer with a 7-bit prefix (RFC 7541 §5.1)."""
    if value < 127:
        return bytes((value,))
    parts = bytearray((127,))
    value -= 127
    while value >= 128:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


_STATUS_200: Final = b"\x88"
"""`:status: 200` of HPACK's static table."""

ANSWER_HEAD: Final = _STATUS_200 + _literal(b"content-type", b"application/grpc")
OK_TRAILERS: Final = _literal(b"grpc-status", b"0")


def trailers(code: int, message: str, metadata: Mapping[str, str | bytes]) -> bytes:
    """The end of a call. `metadata` goes with it, binary values as base64."""
    parts = [_literal(b"grpc-status", b"%d" % code)]
    if message:
        parts.append(_literal(b"grpc-message", quote(message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~").encode()))
    for key, value in metadata.items():
        raw = base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode("latin-1", "replace")
        parts.append(_literal(key.encode("latin-1", "replace"), raw))
    return b"".join(parts)


def _refusal(status: int, problem: str) -> bytes:
    fields = ((b":status", b"%d" % status), (b"content-type", b"text/plain"), (b"x-problem", problem.encode()))
    return b"".join(_literal(name, value) for name, value in fields)
