"""The kubelet's HTTPS API of a node: logs, exec, attach, port-forward, pods and stats, for the API server.

Only clients with a certificate of the cluster's authority are let in, and of those only the API server and
administrators. The web framework is imported when the first client comes, so that an idle node stays small.
Exec, attach and port-forward pass the upgraded connection on to the runtime's streaming server as it is; a real
kubelet does the same, so either can stand in for the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from argosy import logs
from argosy.config import option
from argosy.host import Host
from argosy.objects.types import JsonObject
from argosy.streaming import http1, remotecommand
from argosy.streaming.pipe import relay, take_over
from node_agent.cgroups import NodeUsage
from node_agent.runtime.runtime import ContainerStats, RuntimeFailure
from node_agent.server_logs import BadOptions, parse_options, read_log
from node_agent.server_pods import Containers, Lookup, LookupFailure, Pods
from node_agent.server_streams import Streams, target
from node_agent.server_summary import resource_metrics, summary

if TYPE_CHECKING:
    from aiohttp import web

log = logs.get("node_agent.server")

ADMINISTRATORS: Final = "system:masters"
API_SERVER: Final = "kube-apiserver-kubelet-client"
METRICS_SERVER: Final = "system:metrics-server"
STATISTICS: Final = ("/metrics/resource", "/stats/summary")
UPGRADE_HEADERS: Final = (
    "connection",
    "upgrade",
    "x-stream-protocol-version",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "origin",
)


@dataclass(frozen=True)
class ServerConfig:
    """The flags of the agent that concern its API."""

    listen: str = option("0.0.0.0:10250", help="IP:PORT of the node's HTTPS API")
    server_certificate: str = option("", help="PEM file of the certificate of the node's HTTPS API")
    server_key: str = option("", help="PEM file of its key")
    client_ca: str = option("", help="PEM file of the authority that clients of the node's HTTPS API belong to")


class Settings(Protocol):
    """What is read of a config: `ServerConfig`, or the agent's own with the same fields."""

    @property
    def listen(self) -> str: ...
    @property
    def server_certificate(self) -> str: ...
    @property
    def server_key(self) -> str: ...
    @property
    def client_ca(self) -> str: ...


class ServedRuntime(Containers, Protocol):
    """What is asked of the runtime: `node_agent.runtime.runtime.Runtime`."""

    async def container_stats(self) -> list[ContainerStats]: ...


class KubeletServer:
    """`run` serves until cancelled. Raises OSError when the address cannot be bound, ssl.SSLError for bad files."""

    def __init__(
        self,
        config: Settings,
        host: Host,
        runtime: ServedRuntime,
        pods: Pods,
        streams: Streams,
        node_name: str = "",
        usage: Callable[[], NodeUsage] = lambda: NodeUsage(0, 0),
    ) -> None:
        """`usage` is of the whole node; it raises OSError."""
        self._config = config
        self._host = host
        self._runtime = runtime
        self._pods = pods
        self._lookup = Lookup(pods, runtime)
        self._streams = streams
        self._node_name = node_name
        self._usage = usage
        self.address: tuple[str, int] = ("", 0)
        self.listening = asyncio.Event()

    async def run(self) -> None:
        host, _, port = self._config.listen.rpartition(":")
        context = server_context(self._config)
        listener = socket.create_server((host.strip("[]"), int(port)), backlog=128)
        listener.setblocking(False)
        runner: web.ServerRunner | None = None
        try:
            self.address = listener.getsockname()[:2]
            self.listening.set()
            await _readable(listener)
            from aiohttp import web

            runner = web.ServerRunner(
                web.Server(self.handle, access_log=None, keepalive_timeout=75), handler_cancellation=True
            )
            await runner.setup()
            await web.SockSite(runner, listener, ssl_context=context).start()
            await asyncio.get_running_loop().create_future()
        finally:
            if runner is not None:
                await runner.cleanup()
            listener.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        refused = authorise(certificate, request.method, request.path)
        if refused:
            return _text(403 if refused != "Unauthorized" else 401, refused)
        try:
            return await self._route(request)
        except LookupFailure as failure:
            return _text(failure.code, failure.message)
        except (BadOptions, ValueError) as error:
            return _text(400, str(error))
        except RuntimeFailure as failure:
            return _text(500, failure.message)
        except http1.HttpFailure as error:
            return _text(502, str(error))

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        handler: Callable[[web.BaseRequest, list[str]], Awaitable[web.StreamResponse]] | None = {
            "containerLogs": self._logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
        }.get(parts[0])
        if handler is not None:
            return await handler(request, parts[1:])
        if request.method != "GET":
            return _text(405, "method not allowed")
        match parts:
            case ["healthz"]:
                return _text(200, "ok")
            case ["pods"]:
                return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [*self._pods.list()]})
            case ["stats", "summary"] | ["metrics", "resource"]:
                return await self._statistics(parts)
        return _text(404, "404 page not found")

    async def _statistics(self, parts: list[str]) -> web.StreamResponse:
        stats, now = await self._runtime.container_stats(), self._host.clock.now()
        try:
            usage = self._usage()
        except OSError as error:
            return _text(500, f"the node's cgroup cannot be read: {error}")
        if parts[0] == "stats":
            return _json(summary(self._node_name, stats, usage, now))
        return _text(200, resource_metrics(stats, usage, now))

    async def _logs(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        from aiohttp import web

        if len(parts) != 3 or request.method != "GET":
            return _text(404, "404 page not found")
        options = parse_options(_query(request), self._host.clock.now())
        namespace, pod, container = parts
        ref = await self._lookup.logged(namespace, pod, container, previous=options.previous)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        chunks = read_log(ref.log_path, options, lambda: self._lookup.is_running(ref.id))
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    await response.write(chunk)
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    async def _exec(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        ref, options = await self._container(request, parts)
        if not options.command:
            return _text(400, "you must specify at least 1 command")
        return await self._pass_on(request, await self._streams.exec(ref, options))

    async def _attach(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        ref, options = await self._container(request, parts)
        return await self._pass_on(request, await self._streams.attach(ref, options))

    async def _container(self, request: web.BaseRequest, parts: list[str]) -> tuple[str, remotecommand.Options]:
        """`/exec/NAMESPACE/POD[/UID]/CONTAINER`."""
        if len(parts) not in (3, 4):
            raise LookupFailure(404, "404 page not found")
        uid = parts[2] if len(parts) == 4 else ""
        values = _query(request)
        names = {"input": "stdin", "output": "stdout", "error": "stderr"}
        options = remotecommand.options({names.get(name, name): found for name, found in values.items()})
        if not (options.stdin or options.stdout or options.stderr):
            raise LookupFailure(400, "you must specify at least 1 of stdin, stdout, stderr")
        ref = await self._lookup.running(parts[0], parts[1], uid, parts[-1])
        return ref.id, options

    async def _port_forward(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        if len(parts) not in (2, 3):
            raise LookupFailure(404, "404 page not found")
        values = _query(request)
        texts = [text for name in ("port", "ports") for value in values.get(name, ()) for text in value.split(",")]
        ports = [int(text) for text in texts if text]
        if any(not 0 < port < 65_536 for port in ports):
            raise LookupFailure(400, "ports must be between 1 and 65535")
        sandbox = await self._lookup.sandbox(parts[0], parts[1], parts[2] if len(parts) == 3 else "")
        return await self._pass_on(request, await self._streams.port_forward(sandbox, ports))

    async def _pass_on(self, request: web.BaseRequest, url: str) -> web.StreamResponse:
        """Ask the runtime for the same upgrade, and join the two connections."""
        if "upgrade" not in request.headers.get("Connection", "").lower():
            return _text(400, "Upgrade request required")
        where, path = target(url)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() in UPGRADE_HEADERS]
        answer = await http1.send(where, request.method, path, headers)
        if answer.status != 101:
            text = await answer.text()
            answer.close()
            return _text(answer.status if answer.status >= 400 else 502, text)
        transport = request.transport
        if transport is None:
            answer.close()
            raise http1.HttpFailure("the client went away")
        client = take_over(transport, request.protocol)
        try:
            kept = {
                name: value
                for name, value in answer.headers
                if name in UPGRADE_HEADERS or name == "sec-websocket-accept"
            }
            await client.write(http1.head(101, "Switching Protocols", kept))
            await relay(client, answer.pipe())
        finally:
            client.close()
            answer.close()
        return _taken()


def server_context(config: Settings) -> ssl.SSLContext:
    """TLS that insists on a certificate of the client authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=config.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.server_certificate, config.server_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def authorise(certificate: Mapping[str, Any] | None, method: str = "GET", path: str = "") -> str:
    """Empty when the client may make this request, else why not.

    The API server and administrators may everything, the metrics server may read statistics.
    """
    if not certificate:
        return "Unauthorized"
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    user = next((value for name, value in names if name == "commonName"), "")
    groups = [value for name, value in names if name == "organizationName"]
    if user == API_SERVER or ADMINISTRATORS in groups:
        return ""
    if user == METRICS_SERVER and method == "GET" and path in STATISTICS:
        return ""
    return f"Forbidden (user={user}, verb=get, resource=nodes, subresource=proxy)"


async def _readable(listener: socket.socket) -> None:
    """Until the first connection waits to be accepted."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(listener, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(listener)


def _query(request: web.BaseRequest) -> dict[str, list[str]]:
    return {name: request.query.getall(name) for name in request.query}


def _text(code: int, message: str) -> web.Response:
    from aiohttp import web

    return web.Response(status=code, text=message + ("\n" if code >= 400 else ""))


def _json(body: JsonObject) -> web.Response:
    from aiohttp import web

    return web.Response(body=orjson.dumps(body), content_type="application/json")


def _taken() -> web.StreamResponse:
    """What a handler returns after its connection was taken over: nothing is written."""
    from aiohttp import web

    class Taken(web.StreamResponse):
        async def prepare(self, request: web.BaseRequest) -> None:
            return None

        async def write_eof(self, data: bytes = b"") -> None:
            return None

    response = Taken()
    response.force_close()
    return response
