"""Pods, with their logs and with commands run in their containers.

    async for line in client.pods.logs("web-0", namespace="default", follow=True): ...
    done = await client.pods.exec("web-0", ["cat", "/etc/hostname"], namespace="default")
    async with client.pods.open_exec("web-0", ["sh"], namespace="default", stdin=True, tty=True) as process: ...

`Client.pods` gives the handle. Channels and exit codes are those of Kubernetes' remotecommand
(argosy.streaming.remotecommand).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import orjson

from argosy.client import Client, Resource
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from argosy.pb import api_pb2 as pb
from argosy.streaming import remotecommand
from argosy.streaming.remotecommand import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT

MAX_LINE_BYTES: Final = 1 << 20
"""A longer line of a log comes in pieces."""
MAX_OUTPUT_BYTES: Final = 16 << 20
"""Of a command whose output is collected."""
MAX_QUEUED_FRAMES: Final = 16
FRAME_BYTES: Final = 64 << 10


@dataclass(frozen=True)
class ExecResult:
    stdout: bytes
    stderr: bytes
    exit_code: int


class Pods(Resource):
    """`client.pods`."""

    async def log_chunks(
        self,
        name: str,
        *,
        namespace: str = "default",
        container: str = "",
        follow: bool = False,
        previous: bool = False,
        timestamps: bool = False,
        since_s: int = 0,
        tail_lines: int | None = None,
        limit_bytes: int = 0,
    ) -> AsyncIterator[bytes]:
        """A container's log as it comes; with `follow` until the container ends. Raises ApiError.

        `container` may be left out where the pod has one only. `previous`: of the container's last run.
        """
        options: dict[str, Any] = {"follow": follow, "previous": previous, "timestamps": timestamps}
        options |= {"container": container} if container else {}
        options |= {"sinceSeconds": since_s} if since_s else {}
        options |= {"tailLines": tail_lines} if tail_lines is not None else {}
        options |= {"limitBytes": limit_bytes} if limit_bytes else {}
        request = pb.LogRequest(target=self.target(name, namespace), options_json=orjson.dumps(options))
        async with contextlib.aclosing(
            _generator(self.client, "Log", request.SerializeToString(), retry=True)
        ) as messages:
            async for message in messages:
                yield pb.Chunk.FromString(message).data

    async def logs(
        self,
        name: str,
        *,
        namespace: str = "default",
        container: str = "",
        follow: bool = False,
        previous: bool = False,
        timestamps: bool = False,
        since_s: int = 0,
        tail_lines: int | None = None,
        limit_bytes: int = 0,
    ) -> AsyncIterator[str]:
        """As `log_chunks`, line by line, without line ends; what is no UTF-8 is replaced."""
        rest = b""
        chunks = self.log_chunks(
            name,
            namespace=namespace,
            container=container,
            follow=follow,
            previous=previous,
            timestamps=timestamps,
            since_s=since_s,
            tail_lines=tail_lines,
            limit_bytes=limit_bytes,
        )
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", "replace")
                while len(rest) > MAX_LINE_BYTES:
                    yield rest[:MAX_LINE_BYTES].decode("utf-8", "replace")
                    rest = rest[MAX_LINE_BYTES:]
            if rest:
                yield rest.decode("utf-8", "replace")

    async def exec(
        self,
        name: str,
        command: Sequence[str],
        *,
        namespace: str = "default",
        container: str = "",
        stdin: bytes | None = None,
        timeout_s: float = 60.0,
    ) -> ExecResult:
        """Run a command to its end; an exit code other than 0 is no error.

        Raises ApiError: 404, 403, 400 before it ran, 500 when it could not run, 504 when it did not end in time (it
        may run on), 413 when it wrote more than 16 MiB.
        """
        output: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
        size_bytes = 0
        try:
            async with (
                asyncio.timeout(timeout_s),
                self.open_exec(
                    name, command, namespace=namespace, container=container, stdin=stdin is not None
                ) as process,
            ):
                feeding = asyncio.create_task(_feed(process, stdin or b""))
                try:
                    async for channel, data in process:
                        output[channel].append(data)
                        size_bytes += len(data)
                        if size_bytes > MAX_OUTPUT_BYTES:
                            raise errors.too_large(f"the command wrote more than {MAX_OUTPUT_BYTES} bytes")
                finally:
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)
                return ExecResult(b"".join(output[STDOUT]), b"".join(output[STDERR]), process.exit_code)
        except TimeoutError:
            raise errors.timeout(f"the command in pod {name} did not end within {timeout_s:g} s") from None

    def open_exec(
        self,
        name: str,
        command: Sequence[str],
        *,
        namespace: str = "default",
        container: str = "",
        stdin: bool = False,
        tty: bool = False,
    ) -> Process:
        """Run a command and talk with it, inside `async with`. With `tty` all output comes on standard output."""
        if isinstance(command, str):
            raise TypeError("a command is a list of words; use ['sh', '-c', COMMAND] for a line of shell")
        options = {
            "command": list(command),
            "container": container or None,
            "stdin": stdin,
            "stdout": True,
            "stderr": not tty,
            "tty": tty,
        }
        start = pb.ExecFrame.Start(target=self.target(name, namespace), options_json=orjson.dumps(options))
        return Process(self.client, pb.ExecFrame(start=start))


class Process:
    """A command in a container. Iterate it for `(channel, bytes)`, channel being 1 (stdout) or 2 (stderr)."""

    def __init__(self, client: Client, start: pb.ExecFrame) -> None:
        self._client = client
        self._start = start
        self._queue: asyncio.Queue[pb.ExecFrame | None] = asyncio.Queue(MAX_QUEUED_FRAMES)
        self._ended = asyncio.Event()
        self._status: JsonObject | None = None
        self._messages: AsyncGenerator[bytes, None] | None = None

    async def __aenter__(self) -> Process:
        self._messages = _generator(self._client, "Exec", self._frames())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """A command that runs still loses its standard input and its readers; most end by that."""
        self._end()
        if self._messages is not None:
            await self._messages.aclose()

    def _end(self) -> None:
        """No more is sent."""
        self._ended.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        yield self._start.SerializeToString()
        while not self._ended.is_set():
            frame = await self._queue.get()
            if frame is None:
                return
            yield frame.SerializeToString()

    async def __aiter__(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Raises ApiError when the command could not be run, or the connection was lost."""
        assert self._messages is not None, "use it inside `async with`"
        try:
            async for message in self._messages:
                frame = pb.ExecFrame.FromString(message)
                if frame.channel == ERROR:
                    self._status = remotecommand.status_from(frame.data)
                elif frame.channel in (STDOUT, STDERR) and frame.data:
                    yield frame.channel, frame.data
        finally:
            self._end()
        if self._status is None:
            raise errors.unavailable("the connection to the command was lost")
        if remotecommand.exit_code(self._status) is None:
            raise errors.ApiError(self._status)

    @property
    def exit_code(self) -> int:
        """Known once the output was read to its end. Raises RuntimeError before."""
        code = remotecommand.exit_code(self._status) if self._status is not None else None
        if code is None:
            raise RuntimeError("the command has not ended: read its output to the end")
        return code

    async def write(self, data: bytes) -> None:
        """To standard input; waits while the command does not read. Dropped when it has ended."""
        for begin in range(0, len(data), FRAME_BYTES):
            await self._send(pb.ExecFrame(channel=STDIN, data=data[begin : begin + FRAME_BYTES]))

    async def close_stdin(self) -> None:
        """The command reads the end of its standard input."""
        await self._send(pb.ExecFrame(channel=CLOSE, data=bytes((STDIN,))))

    async def resize(self, columns: int, rows: int) -> None:
        """Of the terminal."""
        await self._send(pb.ExecFrame(channel=RESIZE, data=orjson.dumps({"Width": columns, "Height": rows})))

    async def _send(self, frame: pb.ExecFrame) -> None:
        """One that waits for room is let go when the command ends."""
        if self._ended.is_set():
            return
        putting = asyncio.ensure_future(self._queue.put(frame))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait((putting, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
            ended.cancel()


async def _feed(process: Process, data: bytes) -> None:
    await process.write(data)
    await process.close_stdin()


async def _generator(
    client: Client, method: str, request: bytes | AsyncIterator[bytes], *, retry: bool = False
) -> AsyncGenerator[bytes, None]:
    """The client's stream, as one whose end can be asked for."""
    stream = client.stream(method, request, retry=retry)
    async with contextlib.aclosing(stream):  # type: ignore[type-var]
        async for message in stream:
            yield message
