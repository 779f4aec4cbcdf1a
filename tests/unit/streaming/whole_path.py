"""A whole path for streams on loopback: runtime, node's HTTPS API, API server, with real certificates.

The runtime stands in for containerd's streaming server: SPDY/3.1 as it speaks it, but commands are plain processes of
this machine and port-forwards lead to loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from argosy.host import real_host
from argosy.objects.status import ApiError
from argosy.streaming import http1, remotecommand
from argosy.streaming.pipe import StreamPipe
from argosy.streaming.remotecommand import Options
from argosy.streaming.session import Session, Stream
from control_plane.apiserver.streaming import routes
from control_plane.apiserver.streaming.dial import Dialer
from node_agent.runtime.runtime import Container, ContainerStatus, RuntimeFailure, Sandbox, State
from node_agent.server import KubeletServer, ServerConfig


class Pki:
    """PEM files of one authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self._name = name
        certificate = (
            self._start(name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = str(folder / "ca.crt")
        Path(self.ca).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _start(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    def issue(self, name: str, group: str = "", ip: str = "") -> tuple[str, str]:
        """(certificate file, key file)."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if group:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        builder = self._start(x509.Name(attributes), key)
        if ip:
            names = [x509.IPAddress(ipaddress.ip_address(ip)), x509.DNSName("localhost")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = builder.add_extension(usage, critical=False).sign(self._key, hashes.SHA256())
        safe = name.replace(":", "-")
        files = str(self._folder / f"{safe}.crt"), str(self._folder / f"{safe}.key")
        Path(files[0]).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        Path(files[1]).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


class ProcessRuntime:
    """Containers that are nothing but a name; commands run on this machine. Implements `Streams` too."""

    def __init__(self) -> None:
        self.containers: list[Container] = []
        self.logs: dict[str, str] = {}
        self._requests: dict[str, tuple[str, Options]] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.resizes: list[bytes] = []
        self.attached: asyncio.Queue[bytes] = asyncio.Queue()

    def add(self, name: str, attempt: int, state: State, log_path: str = "") -> None:
        identity = f"{name}-{attempt}"
        self.containers.append(Container(identity, "sandbox", name, "uid-1", attempt, state, float(attempt)))
        self.logs[identity] = log_path

    def exit(self, name: str) -> None:
        self.containers = [
            Container(item.id, "sandbox", name, "uid-1", item.attempt, State.EXITED, 0.0)
            if item.name == name
            else item
            for item in self.containers
        ]

    async def list_containers(self, pod_uid: str = "") -> list[Container]:
        return [item for item in self.containers if item.pod_uid == pod_uid]

    async def container_status(self, container_id: str) -> ContainerStatus:
        for item in self.containers:
            if item.id == container_id:
                log = self.logs[item.id]
                return ContainerStatus(item.id, item.name, item.attempt, item.state, 0, 0, 0, 0, "", "", "", "", log)
        raise RuntimeFailure("no such container", "NotFound")

    async def list_sandboxes(self, pod_uid: str = "") -> list[Sandbox]:
        return [Sandbox("sandbox", "web", "default", pod_uid, 0, True, 0.0)]

    async def container_stats(self) -> list[Any]:
        return []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _url(self, kind: str, options: Options) -> str:
        assert self._server is not None
        token = f"{kind}-{len(self._requests)}"
        self._requests[token] = (kind, options)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{token}"

    async def exec(self, container_id: str, options: Options) -> str:
        return self._url("exec", options)

    async def attach(self, container_id: str, options: Options) -> str:
        return self._url("attach", options)

    async def port_forward(self, sandbox_id: str, ports: Sequence[int]) -> str:
        return self._url("forward", Options())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            kind, options = self._requests.pop(first.split(" ")[1].strip("/"))
            offered = [line.split(": ")[1] for line in lines if line.lower().startswith("x-stream-protocol-version")]
            chosen = remotecommand.choose(
                remotecommand.offered(offered), (*remotecommand.SPDY_PROTOCOLS, remotecommand.PORT_FORWARD)
            )
            headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": chosen}
            writer.write(http1.head(101, "Switching Protocols", headers))
            session = Session(StreamPipe(reader, writer), client=False)
            running = asyncio.ensure_future(session.run())
            try:
                await {"exec": self._exec, "attach": self._attach, "forward": self._forward}[kind](
                    session, options, chosen
                )
            finally:
                await session.close()
                await asyncio.gather(running, return_exceptions=True)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _streams(self, session: Session, options: Options) -> dict[str, Stream]:
        streams: dict[str, Stream] = {}
        while len(streams) < len(options.channels()):
            stream = await session.accept()
            assert stream is not None, "the client left while streams were missing"
            streams[stream.headers["streamtype"]] = stream
        return streams

    async def _exec(self, session: Session, options: Options, protocol: str) -> None:
        streams = await self._streams(session, options)
        process = await asyncio.create_subprocess_exec(
            *options.command,
            stdin=asyncio.subprocess.PIPE if options.stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        pumps = [
            asyncio.ensure_future(self._pump_out(streams.get("stdout"), process.stdout)),
            asyncio.ensure_future(self._pump_out(streams.get("stderr"), process.stderr)),
        ]
        if options.stdin:
            feeding = asyncio.ensure_future(self._pump_in(streams["stdin"], process.stdin))
            self._tasks.add(feeding)
        if options.tty:
            self._tasks.add(asyncio.ensure_future(self._resize(streams["resize"])))
        closed = asyncio.ensure_future(session.closed.wait())
        ended = asyncio.ensure_future(process.wait())
        await asyncio.wait([closed, ended], return_when=asyncio.FIRST_COMPLETED)
        if process.returncode is None:
            process.kill()
        code = await process.wait()
        await asyncio.gather(*pumps, return_exceptions=True)
        closed.cancel()
        status = remotecommand.exit_status(code)
        if protocol == remotecommand.V4:
            await streams["error"].write(orjson.dumps(status))
        elif code:
            await streams["error"].write(str(status["message"]).encode())
        for stream in streams.values():
            await stream.end()

    async def _resize(self, stream: Stream) -> None:
        with contextlib.suppress(OSError):
            while data := await stream.read():
                self.resizes.append(data)

    async def _pump_in(self, stream: Stream, pipe: Any) -> None:
        with contextlib.suppress(OSError):
            while data := await stream.read():
                pipe.write(data)
                await pipe.drain()
            pipe.close()

    async def _pump_out(self, stream: Stream | None, pipe: Any) -> None:
        while data := await pipe.read(8192):
            if stream is not None:
                await stream.write(data)

    async def _attach(self, session: Session, options: Options, protocol: str) -> None:
        streams = await self._streams(session, options)
        while not session.closed.is_set():
            data = await self.attached.get()
            if not data:
                break
            await streams["stdout"].write(data)
        await streams["error"].write(orjson.dumps(remotecommand.success()))
        for stream in streams.values():
            await stream.end()

    async def _forward(self, session: Session, options: Options, protocol: str) -> None:
        """Each connection is an error stream and a data stream with the same requestid."""
        while (stream := await session.accept()) is not None:
            if stream.headers["streamtype"] == "error":
                await stream.end()
                continue
            self._tasks.add(asyncio.ensure_future(self._one_forward(stream)))

    async def _one_forward(self, stream: Stream) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(stream.headers["port"]))

        async def up() -> None:
            while data := await stream.read():
                writer.write(data)
            writer.write_eof()

        task = asyncio.ensure_future(up())
        while data := await reader.read(8192):
            await stream.write(data)
        await stream.end()
        task.cancel()
        writer.close()


class OnePod:
    def __init__(self, pod: dict[str, Any]) -> None:
        self.pod = pod

    def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        mine = self.pod["metadata"]
        return self.pod if (mine["namespace"], mine["name"]) == (namespace, name) else None

    def list(self) -> list[dict[str, Any]]:
        return [self.pod]


@dataclass
class Path_:
    """Everything between a client and a container."""

    runtime: ProcessRuntime
    pod: dict[str, Any]
    node: dict[str, Any]
    dialer: Dialer
    kubelet: KubeletServer
    pki: Pki
    url: str
    context: ssl.SSLContext


def the_pod() -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"namespace": "default", "name": "web", "uid": "uid-1"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "app", "state": {"running": {}}}]},
    }


async def whole_path(folder: Path, test: Callable[[Path_], Awaitable[None]]) -> None:
    pki = Pki(folder)
    serving = pki.issue("system:node:node-1", "system:nodes", "127.0.0.1")
    runtime, pod = ProcessRuntime(), the_pod()
    runtime.add("app", 0, State.RUNNING, str(folder / "app.log"))
    await runtime.start()
    config = ServerConfig("127.0.0.1:0", serving[0], serving[1], pki.ca)
    kubelet = KubeletServer(config, real_host(), runtime, OnePod(pod), runtime, "node-1")
    serving_task = asyncio.ensure_future(kubelet.run())
    await kubelet.listening.wait()
    node = {
        "metadata": {"name": "node-1"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.address[1]}},
        },
    }
    try:
        async with edge(pki, pod, node) as path:
            await test(Path_(runtime, pod, node, path.dialer, kubelet, pki, path.url, path.context))
    finally:
        await runtime.stop()
        serving_task.cancel()
        await asyncio.gather(serving_task, return_exceptions=True)


@dataclass
class Edge:
    """The API server's side alone."""

    dialer: Dialer
    pki: Pki
    url: str
    context: ssl.SSLContext


@contextlib.asynccontextmanager
async def edge(pki: Pki, pod: dict[str, Any], node: dict[str, Any]) -> AsyncIterator[Edge]:
    """An HTTPS server with the streaming routes, and just enough of the rest for kubectl."""
    client = pki.issue("kube-apiserver-kubelet-client", "system:masters")
    serving = pki.issue("kube-apiserver", ip="127.0.0.1")
    dialer = Dialer(pki.ca, *client)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        try:
            if len(parts) == 7:
                where = node if pod["spec"].get("nodeName") else None
                return await routes.handle(request, pod, where, parts[6], dialer)
            body, code = answer_of(request.path, pod), 200
        except ApiError as error:
            body, code = error.status, error.code
        return web.Response(body=orjson.dumps(body), status=code, content_type="application/json")

    runner = web.ServerRunner(web.Server(handle, access_log=None, handler_cancellation=True))
    await runner.setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*serving)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    context = ssl.create_default_context(cafile=pki.ca)
    try:
        yield Edge(dialer, pki, f"https://127.0.0.1:{runner.addresses[0][1]}", context)
    finally:
        await runner.cleanup()


def answer_of(path: str, pod: dict[str, Any]) -> dict[str, Any]:
    """As much of the API as kubectl asks for before it streams."""
    known: dict[str, dict[str, Any]] = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
        "/api/v1": {
            "kind": "APIResourceList",
            "groupVersion": "v1",
            "resources": [{"name": "pods", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]}],
        },
        f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}": pod,
    }
    return known.get(path) or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}


class Kubectl:
    def __init__(self, path: Any, binary: str, home: Path) -> None:
        self._start = [binary, "--server", path.url, "--certificate-authority", path.pki.ca, "--token", "t"]
        self._environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "KUBECONFIG": "/dev/null"}

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self._start, *words, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment
        )

    async def __call__(self, *words: str, text: bytes = b"") -> tuple[int, bytes, str]:
        process = await self.start(*words)
        async with asyncio.timeout(60):
            out, err = await process.communicate(text)
        assert process.returncode is not None
        return process.returncode, out, err.decode()


def clients() -> list[str]:
    """kubectl itself, and the versions that lie beside it."""
    found = shutil.which("kubectl")
    if not found:
        return []
    folder = Path(os.path.realpath(found)).parent
    versions = sorted(str(path) for path in folder.glob("kubectl.1.*"))
    return versions or [found]
