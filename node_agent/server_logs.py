"""Reads a container's log file in the CRI format, as `kubectl logs` asks for it.

A line is `TIME STREAM TAG CONTENT`: TAG begins with P for a piece of a longer line and with F for its end (source:
k8s.io/cri-client `pkg/logs`). Called by `server.py`; the file is the runtime's, and may be renamed and begun anew
while it is followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from argosy.host import parse_rfc3339

CHUNK_BYTES: Final = 64 << 10
MAX_LINE_BYTES: Final = 1 << 20
"""What has no line break for so long is cut into lines."""
POLL_MIN_S: Final = 0.02
POLL_MAX_S: Final = 0.25
ALIVE_CHECK_S: Final = 0.5


class BadOptions(ValueError):
    """Options that make no sense; the text says which."""


@dataclass(frozen=True)
class LogOptions:
    """PodLogOptions, as far as the node cares."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_s: float | None = None
    """Unix time; earlier lines are left out."""
    limit_bytes: int | None = None
    stream: str = ""
    """`stdout` or `stderr` alone; empty: both."""


def parse_options(values: Mapping[str, Sequence[str]], now: float) -> LogOptions:
    """From a query. Raises BadOptions."""

    def one(name: str) -> str:
        return (values.get(name) or ("",))[-1]

    def flag(name: str) -> bool:
        text = one(name).lower()
        if text not in ("", "true", "false", "1", "0", "t", "f"):
            raise BadOptions(f"{name} must be true or false")
        return text in ("true", "1", "t")

    def number(name: str, least: int) -> int | None:
        text = one(name)
        if not text:
            return None
        try:
            value = int(text)
        except ValueError:
            raise BadOptions(f"{name} must be a number") from None
        if value < least:
            raise BadOptions(f"{name} must be at least {least}")
        return value

    since_seconds = number("sinceSeconds", 1)
    since = None if since_seconds is None else now - since_seconds
    if one("sinceTime"):
        if since is not None:
            raise BadOptions("at most one of sinceTime or sinceSeconds may be specified")
        try:
            since = parse_rfc3339(one("sinceTime"))
        except ValueError:
            raise BadOptions("sinceTime must be an RFC 3339 time") from None
    stream = one("stream").lower()
    if stream not in ("", "all", "stdout", "stderr"):
        raise BadOptions("stream must be All, Stdout or Stderr")
    return LogOptions(
        follow=flag("follow"),
        previous=flag("previous"),
        timestamps=flag("timestamps"),
        tail_lines=number("tailLines", 0),
        since_s=since,
        limit_bytes=number("limitBytes", 1),
        stream="" if stream == "all" else stream,
    )


class Formatter:
    """CRI lines to what is shown. Pure."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit_bytes
        self._middle: dict[bytes, bool] = {}
        """Streams whose last piece was not the end of its line."""
        self._late_enough = options.since_s is None

    @property
    def full(self) -> bool:
        """limitBytes is used up."""
        return self._left == 0

    def show(self, line: bytes) -> bytes:
        """What one line of the file, without its break, gives; what is not in the format is passed on."""
        parts = line.split(b" ", 3)
        if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
            return self._limited(line + b"\n") if self._late_enough and not self._options.stream else b""
        time, stream, tags = parts[:3]
        content = parts[3] if len(parts) == 4 else b""
        if self._options.stream and stream.decode() != self._options.stream:
            return b""
        partial = tags.startswith(b"P")
        middle = self._middle.get(stream, False)
        self._middle[stream] = partial
        if not self._late_enough:
            if not self._is_late(time):
                return b""
            self._late_enough = True
        prefix = _fixed(time) + b" " if self._options.timestamps and not middle else b""
        return self._limited(prefix + content + (b"" if partial else b"\n"))

    def _is_late(self, time: bytes) -> bool:
        assert self._options.since_s is not None
        try:
            return parse_rfc3339(time.decode()) >= self._options.since_s
        except ValueError:
            return True

    def _limited(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        data = data[: self._left]
        self._left -= len(data)
        return data


def _fixed(time: bytes) -> bytes:
    """With nine digits of a second, so that columns line up."""
    for position, char in enumerate(time[19:], 19):
        if char in b"Z+-":
            fraction = time[20:position] if time[19:20] == b"." else b""
            return time[:19] + b"." + fraction.ljust(9, b"0") + time[position:]
    return time


def tail_offset(fd: int, lines: int) -> int:
    """Where the last `lines` whole lines begin; pieces of a line count together."""
    size = os.fstat(fd).st_size
    if lines == 0:
        return size
    position, rest, found = size, b"", 0
    while position > 0:
        start = max(0, position - CHUNK_BYTES)
        block = os.pread(fd, position - start, start) + rest
        pieces = block.split(b"\n")
        offset = start + len(block)
        for index in range(len(pieces) - 1, 0, -1):
            begin = offset - len(pieces[index])
            if pieces[index] and _ends_line(pieces[index]):
                found += 1
                if found > lines:
                    return begin + len(pieces[index]) + 1
            offset = begin - 1
        rest, position = pieces[0], start
        if len(rest) > MAX_LINE_BYTES:
            return position + len(rest)
    return len(rest) + 1 if rest and _ends_line(rest) and found + 1 > lines else 0


def _ends_line(line: bytes) -> bool:
    parts = line.split(b" ", 3)
    return len(parts) < 3 or not parts[2].startswith(b"P")


async def read_log(
    path: str, options: LogOptions, running: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[bytes, None]:
    """The log's text in chunks; with `follow` until the container is gone and all is read.

    `running` says whether the container still runs. Raises FileNotFoundError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset = 0 if options.tail_lines is None else tail_offset(fd, options.tail_lines)
        formatter = Formatter(options)
        reader = _Reader(fd, offset)
        while True:
            if text := reader.read(formatter):
                yield text
                await asyncio.sleep(0)
            elif not reader.more:
                if not options.follow or formatter.full:
                    break
                successor = await _wait(reader, path, running)
                if successor is None:
                    options = LogOptions()
                elif successor >= 0:
                    os.close(fd)
                    fd, reader = successor, _Reader(successor, 0)
            if formatter.full:
                break
        if text := reader.last(formatter):
            yield text
    finally:
        os.close(fd)


class _Reader:
    """Whole lines from a file that grows."""

    def __init__(self, fd: int, offset: int) -> None:
        self.fd = fd
        self.offset = offset
        self.more = True
        self._rest = b""

    def read(self, formatter: Formatter) -> bytes:
        """The next lines' text; empty when there is nothing to show (`more` tells whether the file goes on)."""
        data = os.pread(self.fd, CHUNK_BYTES, self.offset)
        self.more = bool(data)
        self.offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return b"".join(formatter.show(line) for line in lines)

    def last(self, formatter: Formatter) -> bytes:
        """A line whose break was never written."""
        rest, self._rest = self._rest, b""
        return formatter.show(rest) if rest else b""


async def _wait(reader: _Reader, path: str, running: Callable[[], Awaitable[bool]]) -> int | None:
    """Until there is more: -1; a descriptor of the file's successor; None when the container ended."""
    pause_s, waited_s = POLL_MIN_S, ALIVE_CHECK_S
    while True:
        alive = True
        if waited_s >= ALIVE_CHECK_S:
            alive, waited_s = await running(), 0.0
        status = os.fstat(reader.fd)
        if status.st_size > reader.offset:
            return -1
        if status.st_size < reader.offset:
            reader.offset = 0
            return -1
        successor = _successor(path, status.st_ino)
        if successor:
            await asyncio.sleep(POLL_MIN_S)  # the runtime may be writing the last line still
            if os.fstat(reader.fd).st_size > reader.offset:
                return -1
            with contextlib.suppress(FileNotFoundError):
                return os.open(successor, os.O_RDONLY | os.O_CLOEXEC)
        if not alive:
            return None
        await asyncio.sleep(pause_s)
        waited_s += pause_s
        pause_s = min(POLL_MAX_S, pause_s * 1.5)


def _successor(path: str, inode: int) -> str:
    """The file that follows the one with this inode; empty while it is the newest.

    Rotation makes PATH into PATH.NUMBER with the next higher number: a reader that lags must pass through them all.
    """
    folder, base = os.path.split(path)
    numbers = sorted(
        int(name[len(base) + 1 :])
        for name in os.listdir(folder)
        if name.startswith(base + ".") and name[len(base) + 1 :].isdigit()
    )
    files = [*(f"{path}.{number}" for number in numbers), path]
    for index, name in enumerate(files):
        try:
            if os.stat(name).st_ino == inode:
                return files[index + 1] if index + 1 < len(files) and os.path.exists(files[index + 1]) else ""
        except FileNotFoundError:
            continue
    return next((name for name in files if os.path.exists(name)), "")
