"""A client that speaks HTTP/2 frame by frame, also the wrong ones: what the server's tests drive it with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import hpack

from argosy.http2 import frames

PATIENCE_S = 60.0
"""Of what comes at once, unless the machine is very busy."""


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes


class RawClient:
    """Reads frames as they come; nothing is answered or checked for the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()

    @classmethod
    async def connect(cls, address: str, *, settings: dict[int, int] | None = None) -> RawClient:
        host, _, port = address.rpartition(":")
        client = cls(*await asyncio.open_connection(host, int(port)))
        client.send(frames.PREFACE + frames.settings(settings or {}))
        return client

    @classmethod
    async def silent(cls, address: str) -> RawClient:
        """Connected, without a greeting."""
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def head(self, path: str, *further: tuple[str, str], method: str = "POST") -> bytes:
        fields = [(":method", method), (":scheme", "http"), (":path", path), ("content-type", "application/grpc")]
        return bytes(self.encoder.encode([*fields, ("te", "trailers"), *further]))

    def open(self, stream_id: int, path: str, *further: tuple[str, str], end: bool = False) -> None:
        flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
        self.send(frames.frame(frames.HEADERS, flags, stream_id, self.head(path, *further)))

    def data(self, stream_id: int, content: bytes, *, end: bool = True) -> None:
        self.send(frames.frame(frames.DATA, frames.END_STREAM if end else 0, stream_id, content))

    def call(self, stream_id: int, path: str, message: bytes, *further: tuple[str, str]) -> None:
        self.open(stream_id, path, *further)
        self.data(stream_id, prefixed(message))

    async def next(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        try:
            head = await asyncio.wait_for(self._reader.readexactly(frames.HEAD_BYTES), PATIENCE_S)
            payload = await asyncio.wait_for(self._reader.readexactly(int.from_bytes(head[:3], "big")), PATIENCE_S)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)

    async def until(self, kind: int, stream_id: int | None = None) -> Frame:
        """The next frame of that kind (and stream); others are passed over."""
        while (frame := await self.next()) is not None:
            if frame.kind == frames.HEADERS and frame.kind != kind:
                self.fields(frame)  # keeps HPACK's state
            if frame.kind == kind and (stream_id is None or frame.stream_id == stream_id):
                return frame
        raise AssertionError(f"the connection ended before a frame of kind {kind}")

    async def answer(self, stream_id: int) -> tuple[bytes, dict[str, str]]:
        """Everything of one call: its DATA without prefix handling, and all its header fields."""
        content = bytearray()
        fields: dict[str, str] = {}
        while (frame := await self.next()) is not None:
            if frame.kind == frames.HEADERS:
                found = self.fields(frame)
                fields.update(found if frame.stream_id == stream_id else {})
            if frame.stream_id != stream_id:
                continue
            if frame.kind == frames.DATA:
                content += frame.payload
            if frame.kind in (frames.DATA, frames.HEADERS) and frame.flags & frames.END_STREAM:
                return bytes(content), fields
            assert frame.kind != frames.RST_STREAM, "the call was reset"
        raise AssertionError("the connection ended before the answer")

    def fields(self, frame: Frame) -> dict[str, str]:
        return dict(self._decoder.decode(frame.payload))

    async def goaway(self) -> tuple[int, str]:
        """Code and reason of a GOAWAY, after which the connection must end."""
        frame = await self.until(frames.GOAWAY)
        assert await self.ended()
        return int.from_bytes(frame.payload[4:8], "big"), frame.payload[8:].decode()

    async def ended(self) -> bool:
        while await self.next() is not None:
            pass
        return True

    def close(self) -> None:
        self._writer.close()


def prefixed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message
