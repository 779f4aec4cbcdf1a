"""The streaming subresources of pods over REST: log, exec, attach, portforward.

Called by the API server's REST edge with an authorised request, the pod and its node. What a client speaks:

- SPDY/3.1 (kubectl before 1.30 and as a fallback): the connection is passed on to the node as it is;
- WebSocket v5, v4 and older, binary or base64 (kubectl since 1.30, client libraries): translated to SPDY, which
  alone lets stdin end before the command does;
- port-forward in a WebSocket tunnel (kubectl since 1.31): the SPDY bytes in the messages are passed on;
- port-forward with WebSocket channels (client libraries): passed on as it is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Sequence
from typing import Final

import orjson
from aiohttp import WSMsgType, web

from argosy.objects import status
from argosy.objects.types import JsonObject
from argosy.streaming import http1, remotecommand
from argosy.streaming.pipe import relay, take_over
from argosy.streaming.remotecommand import ERROR, PORT_FORWARD, PORT_FORWARD_TUNNEL, RESIZE, STDIN
from control_plane.apiserver.streaming import node as nodes
from control_plane.apiserver.streaming import pods
from control_plane.apiserver.streaming.dial import Dialer

MAX_MESSAGE_BYTES: Final = 4 << 20
PASSED_HEADERS: Final = (
    "connection",
    "upgrade",
    "x-stream-protocol-version",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-accept",
)
DIALLED: Final = frozenset({"exec", "attach", "portforward"})


async def handle(
    request: web.BaseRequest, pod: JsonObject, node: JsonObject | None, subresource: str, dialer: Dialer
) -> web.StreamResponse:
    """Serve one request to the end. `node` is None for a pod without one. Raises ApiError before anything is sent."""
    query = {name: request.query.getall(name) for name in request.query}
    if subresource == "log":
        return await _log(request, pod, node, query, dialer)
    if subresource not in DIALLED:
        raise status.not_found("", f"pods/{subresource}", pod["metadata"]["name"])
    pods.require_node(pod)
    if node is None:
        raise status.not_found("", "nodes", str(pod["spec"]["nodeName"]))
    if subresource == "portforward":
        return await _port_forward(request, pod, node, query, dialer)
    return await _command(request, pod, node, query, dialer, command=subresource == "exec")


async def _log(
    request: web.BaseRequest, pod: JsonObject, node: JsonObject | None, query: pods.Query, dialer: Dialer
) -> web.StreamResponse:
    """Nothing is sent before the node agreed, so that its refusal can still be told."""
    path = pods.log_path(pod, query)
    if upgrade_of(request) == "websocket":
        return await _log_messages(request, pod, node, path, dialer)
    response = web.StreamResponse(headers={"Content-Type": "text/plain", "Cache-Control": "no-cache, private"})
    if node is None:
        await response.prepare(request)
        return response
    answer = await nodes.ask(dialer, node, pod, path, "log")
    try:
        await response.prepare(request)
        try:
            async for chunk in answer.body():
                await response.write(chunk)
        except http1.HttpFailure:
            response.force_close()
        await response.write_eof()
    finally:
        answer.close()
    return response


async def _log_messages(
    request: web.BaseRequest, pod: JsonObject, node: JsonObject | None, path: str, dialer: Dialer
) -> web.StreamResponse:
    """A log in WebSocket messages, an empty one first (k8s.io/apimachinery `pkg/util/httpstream/wsstream`)."""
    protocol = _websocket_protocol(request, (*remotecommand.LOG_PROTOCOLS, ""))
    answer = None if node is None else await nodes.ask(dialer, node, pod, path, "log")
    try:
        socket = await _accept(request, protocol)
        gone = asyncio.ensure_future(_drain(socket))
        sending = asyncio.ensure_future(_send_log(socket, answer, base64_coded="base64" in protocol))
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)
        await socket.close()
    finally:
        if answer is not None:
            answer.close()
    return socket


async def _drain(socket: web.WebSocketResponse) -> None:
    """Until the client closes; what it says is of no interest."""
    async for _ in socket:
        pass


async def _send_log(socket: web.WebSocketResponse, answer: http1.Response | None, *, base64_coded: bool) -> None:
    async def show(data: bytes) -> None:
        if base64_coded:
            await socket.send_str(base64.b64encode(data).decode())
        else:
            await socket.send_bytes(data)

    with contextlib.suppress(ConnectionError, http1.HttpFailure):
        await show(b"")
        if answer is not None:
            async for chunk in answer.body():
                await show(chunk)


async def _command(
    request: web.BaseRequest, pod: JsonObject, node: JsonObject, query: pods.Query, dialer: Dialer, *, command: bool
) -> web.StreamResponse:
    options = pods.command_options(pod, query, command=command)
    path = pods.command_path(pod, options, command=command)
    subresource = "exec" if command else "attach"
    wire = upgrade_of(request)
    if wire == "spdy/3.1":
        return await _pass_on(request, pod, node, path, subresource, dialer)
    if wire != "websocket":
        raise status.bad_request("Upgrade request required")
    protocol = _websocket_protocol(request, (*remotecommand.WEBSOCKET_PROTOCOLS, ""))
    running = await nodes.open_exec(dialer, pod, node, options, command=command)
    try:
        socket = await _accept(request, protocol)
        await _translate(socket, running, base64_coded="base64" in protocol, plain_status="v" not in protocol)
    finally:
        await running.close()
    return socket


async def _translate(
    socket: web.WebSocketResponse, running: nodes.Command, *, base64_coded: bool, plain_status: bool
) -> None:
    """Channel frames to SPDY streams and back, until the command is over or the client is gone."""

    async def show(channel: int, data: bytes) -> None:
        if base64_coded:
            await socket.send_str(str(channel) + base64.b64encode(data).decode())
        else:
            await socket.send_bytes(bytes((channel,)) + data)

    async def incoming() -> None:
        async for message in socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT) or not message.data:
                continue
            frame = _frame(message.data, base64_coded)
            if frame is not None:
                await running.send(*frame)

    async def outgoing() -> None:
        writable = [channel for channel in running.options.channels() if channel not in (STDIN, ERROR, RESIZE)]
        await show(min(writable, default=ERROR), b"")
        async with contextlib.aclosing(running.output()) as output:
            async for channel, data in output:
                if channel == ERROR and plain_status:
                    found = orjson.loads(data)
                    data = b"" if found.get("status") == "Success" else str(found.get("message", "")).encode()
                await show(channel, data)
        await socket.close()

    tasks = [asyncio.ensure_future(incoming()), asyncio.ensure_future(outgoing())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with contextlib.suppress(ConnectionError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _frame(data: str | bytes, base64_coded: bool) -> tuple[int, bytes] | None:
    """(channel, data) of a message; None for one that makes no sense."""
    if not base64_coded:
        raw = data.encode() if isinstance(data, str) else data
        return raw[0], raw[1:]
    text = data.decode("latin-1") if isinstance(data, bytes) else data
    if not text[0].isdigit():
        return None
    try:
        return int(text[0]), base64.b64decode(text[1:], validate=True)
    except (binascii.Error, ValueError):
        return None


async def _port_forward(
    request: web.BaseRequest, pod: JsonObject, node: JsonObject, query: pods.Query, dialer: Dialer
) -> web.StreamResponse:
    path = pods.path_of("portForward", pod)
    wire = upgrade_of(request)
    if wire == "spdy/3.1":
        return await _pass_on(request, pod, node, path, "portforward", dialer)
    if wire != "websocket":
        raise status.bad_request("Upgrade request required")
    protocol = _websocket_protocol(request, (PORT_FORWARD_TUNNEL, *remotecommand.WEBSOCKET_PROTOCOLS[1:], ""))
    if protocol != PORT_FORWARD_TUNNEL:
        ports = pods.forward_ports(query)
        if not ports:
            raise status.bad_request('query parameter "ports" is required')
        path += "?" + "&".join(f"port={port}" for port in ports)
        return await _pass_on(request, pod, node, path, "portforward", dialer)
    headers = nodes.spdy_headers((PORT_FORWARD,))
    answer = await nodes.upgrade(dialer, node, pod, path, "portforward", headers, "POST")
    try:
        socket = await _accept(request, protocol)
        await relay(_SocketPipe(socket), answer.pipe())
        await socket.close()
    finally:
        answer.close()
    return socket


class _SocketPipe:
    """Bytes in WebSocket messages, as a pipe."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                if message.data:
                    return bytes(message.data)
            elif message.type not in (WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG):
                return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def end(self) -> None:
        """The close handshake is the handler's, at the end."""

    def close(self) -> None:
        """As `end`."""


async def _pass_on(
    request: web.BaseRequest, pod: JsonObject, node: JsonObject, path: str, subresource: str, dialer: Dialer
) -> web.StreamResponse:
    """Ask the node for the client's own upgrade and join the two connections."""
    headers = [(name, value) for name, value in request.headers.items() if name.lower() in PASSED_HEADERS]
    answer = await nodes.upgrade(dialer, node, pod, path, subresource, headers, request.method)
    transport = request.transport
    if transport is None:
        answer.close()
        raise ConnectionResetError("the client went away")
    client = take_over(transport, request.protocol)
    try:
        kept = {name: value for name, value in answer.headers if name in PASSED_HEADERS}
        await client.write(http1.head(101, "Switching Protocols", kept))
        await relay(client, answer.pipe())
    finally:
        client.close()
        answer.close()
    return Taken()


class Taken(web.StreamResponse):
    """What a handler returns after its connection was taken over: nothing is written."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def upgrade_of(request: web.BaseRequest) -> str:
    """What the client wants the connection to become; empty for nothing."""
    if "upgrade" not in request.headers.get("Connection", "").lower():
        return ""
    return request.headers.get("Upgrade", "").lower()


def _websocket_protocol(request: web.BaseRequest, known: Sequence[str]) -> str:
    """The subprotocol to speak; a client that offers none gets the first and oldest, empty."""
    wanted = remotecommand.offered(request.headers.getall("Sec-WebSocket-Protocol", []))
    chosen = remotecommand.choose(wanted, known)
    if wanted and not chosen:
        raise status.bad_request(f"unable to negotiate a subprotocol: {wanted} offered, {list(known)} supported")
    return chosen


async def _accept(request: web.BaseRequest, protocol: str) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(
        protocols=(protocol,) if protocol else (), max_msg_size=MAX_MESSAGE_BYTES, compress=False
    )
    await socket.prepare(request)
    return socket
