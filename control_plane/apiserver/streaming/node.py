"""Asking a pod's node: its log, a command's SPDY session, an upgraded connection. No client's wire in here.

`routes.py` (REST) and `open_log` and `open_exec` (gRPC) stand on these.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from argosy.objects import status
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.streaming import remotecommand
from argosy.streaming.http1 import HeaderList, HttpFailure, Response
from argosy.streaming.pipe import Pipe
from argosy.streaming.remotecommand import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, Options
from argosy.streaming.session import Closed, Session, Stream
from argosy.streaming.spdy import SpdyError
from control_plane.apiserver.streaming import pods
from control_plane.apiserver.streaming.dial import Dialer

MAX_STATUS_BYTES: Final = 64 << 10
MAX_QUEUED_FRAMES: Final = 64


def node_error(code: int, text: str, pod: JsonObject, subresource: str) -> ApiError:
    """What a node's refusal becomes for the client."""
    text = text.strip()
    if code == 400:
        return status.bad_request(text)
    if code == 404:
        name = pod["metadata"]["name"]
        message = f"the server could not find the requested resource ( pods/{subresource} {name})"
        details = {"name": name, "kind": f"pods/{subresource}", "causes": [_cause(text)]}
        return status.status_error(404, "NotFound", message, details)
    if code in (401, 403):
        return status.internal(f"the node refused the API server: {text}")
    return status.internal(text or f"the node answered with code {code}")


def _cause(text: str) -> JsonObject:
    return {"reason": "UnexpectedServerResponse", "message": text}


async def ask(dialer: Dialer, node: JsonObject, pod: JsonObject, path: str, subresource: str) -> Response:
    """A plain GET; close the answer when done. Raises ApiError."""
    answer = await dialer.send(node, "GET", path)
    if answer.status != 200:
        text = await answer.text()
        answer.close()
        raise node_error(answer.status, text, pod, subresource)
    return answer


async def upgrade(
    dialer: Dialer, node: JsonObject, pod: JsonObject, path: str, subresource: str, headers: HeaderList, method: str
) -> Response:
    """An upgraded connection; close the answer when done. Raises ApiError."""
    answer = await dialer.send(node, method, path, headers)
    if answer.status != 101:
        text = await answer.text()
        answer.close()
        raise node_error(answer.status, text, pod, subresource)
    return answer


def spdy_headers(protocols: Sequence[str]) -> HeaderList:
    upgrade_headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]
    return upgrade_headers + [(remotecommand.STREAM_VERSION, name) for name in protocols]


async def open_log(
    dialer: Dialer, pod: JsonObject, node: JsonObject | None, query: Mapping[str, Sequence[str]]
) -> AsyncGenerator[bytes, None]:
    """The log of a pod's container as it comes; nothing for a pod without a node. Raises ApiError.

    `query` holds PodLogOptions as the REST API has them. Close the iterator to stop following.
    """
    path = pods.log_path(pod, query)
    if node is None:
        return
    answer = await ask(dialer, node, pod, path, "log")
    try:
        with contextlib.suppress(HttpFailure):
            async for chunk in answer.body():
                yield chunk
    finally:
        answer.close()


@dataclass
class Command:
    """An exec or attach under way, as one SPDY session with the node."""

    options: Options
    session: Session
    streams: Mapping[int, Stream]
    task: asyncio.Task[None]
    protocol: str
    """What the node speaks; since v4 every command ends with a Status."""

    async def send(self, channel: int, data: bytes) -> None:
        """What a client sent on a channel; what cannot be delivered any more is dropped."""
        if channel == CLOSE:
            stream = self.streams.get(data[0]) if data else None
            if stream is not None:
                with contextlib.suppress(Closed):
                    await stream.end()
            return
        stream = self.streams.get(channel)
        if channel in (STDIN, RESIZE) and stream is not None:
            with contextlib.suppress(Closed):
                await stream.write(data)

    async def output(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """(channel, data) as it comes; the last is the Status on ERROR."""
        queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(MAX_QUEUED_FRAMES)
        end = -1

        async def pump(channel: int, stream: Stream) -> None:
            try:
                while data := await stream.read():
                    await queue.put((channel, data))
            except Closed:
                pass
            await queue.put((end, b""))

        pumps = [
            asyncio.ensure_future(pump(channel, self.streams[channel]))
            for channel in (STDOUT, STDERR)
            if channel in self.streams
        ]
        final = asyncio.ensure_future(self._final())
        try:
            left = len(pumps)
            while left:
                channel, data = await queue.get()
                if channel == end:
                    left -= 1
                else:
                    yield channel, data
            yield ERROR, orjson.dumps(await final)
        finally:
            for task in (*pumps, final):
                task.cancel()
            await asyncio.gather(*pumps, final, return_exceptions=True)

    async def _final(self) -> JsonObject:
        lost = remotecommand.failure("error from the node: the connection was lost")
        try:
            data = await self.streams[ERROR].read_all(MAX_STATUS_BYTES)
        except Closed:
            return lost
        return lost if not data and self.protocol == remotecommand.V4 else remotecommand.status_from(data)

    async def close(self) -> None:
        await self.session.close()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def open_exec(
    dialer: Dialer, pod: JsonObject, node: JsonObject, options: Options, *, command: bool = True
) -> Command:
    """Start a command in a container (or attach to it). `close` it when done. Raises ApiError."""
    options = pods.checked(pod, options, command=command)
    subresource = "exec" if command else "attach"
    path = pods.command_path(pod, options, command=command)
    answer = await upgrade(dialer, node, pod, path, subresource, spdy_headers(remotecommand.SPDY_PROTOCOLS), "POST")
    return await start(answer.pipe(), options, answer.header(remotecommand.STREAM_VERSION.lower()))


async def start(pipe: Pipe, options: Options, protocol: str) -> Command:
    """Open the streams of a command on an upgraded connection. Raises ApiError."""
    session = Session(pipe, client=True)
    task = asyncio.ensure_future(_quiet(session))
    streams: dict[int, Stream] = {}
    try:
        for channel in options.channels():
            streams[channel] = await session.open({"streamtype": remotecommand.STREAM_NAMES[channel]})
    except Closed as error:
        await session.close()
        task.cancel()
        raise status.internal(f"error opening streams to the node: {error}") from None
    return Command(options, session, streams, task, protocol)


async def _quiet(session: Session) -> None:
    with contextlib.suppress(SpdyError):
        await session.run()
