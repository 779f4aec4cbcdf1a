"""exec and attach from a client through API server and node to a process, over every protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
import pytest

from argosy.objects.status import ApiError
from argosy.streaming import http1, remotecommand
from argosy.streaming.http1 import Target
from argosy.streaming.remotecommand import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, V4, V5, Options
from argosy.streaming.session import Session
from control_plane.apiserver.streaming import node as nodes
from control_plane.apiserver.streaming.dial import checker

Whole = Callable[[Any], None]
EXEC = "/api/v1/namespaces/default/pods/web/exec"


def command(*words: str, **flags: bool) -> str:
    pairs = [f"command={word}" for word in words]
    pairs += [f"{name}=true" for name, on in {"stdout": True, "stderr": True, **flags}.items() if on]
    return EXEC + "?" + "&".join(pairs).replace(" ", "%20").replace(";", "%3B").replace(">", "%3E")


@contextlib.asynccontextmanager
async def websocket(path: Any, url: str, protocol: str) -> Any:
    connector = aiohttp.TCPConnector(ssl=path.context)
    offered = (protocol,) if protocol else ()
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(path.url + url, protocols=offered) as socket,
    ):
        assert (socket.protocol or "") == protocol
        yield socket


async def collect(socket: Any) -> dict[int, bytes]:
    """Everything until the server closes, by channel."""
    found: dict[int, bytes] = {}
    async with asyncio.timeout(20):
        async for message in socket:
            found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    return found


@pytest.mark.parametrize("protocol", [V5, V4])
def test_output_and_exit_code(whole: Whole, protocol: str) -> None:
    async def test(path: Any) -> None:
        async with websocket(
            path, command("sh", "-c", "echo out; echo err >&2; exit 7".replace("&", "%26")), protocol
        ) as ws:
            found = await collect(ws)
        assert found[STDOUT] == b"out\n" and found[STDERR] == b"err\n"
        status = orjson.loads(found[ERROR])
        assert status["reason"] == "NonZeroExitCode" and remotecommand.exit_code(status) == 7
        async with websocket(path, command("true"), protocol) as ws:
            assert orjson.loads((await collect(ws))[ERROR]) == {"metadata": {}, "status": "Success"}
            assert ws.close_code == 1000

    whole(test)


def test_v5_ends_stdin_so_that_cat_ends(whole: Whole) -> None:
    payload = bytes(range(256)) * 4096

    async def test(path: Any) -> None:
        async with websocket(path, command("cat", stdin=True), V5) as ws:

            async def feed() -> None:
                for start in range(0, len(payload), 30_000):
                    await ws.send_bytes(bytes((STDIN,)) + payload[start : start + 30_000])
                await ws.send_bytes(bytes((CLOSE, STDIN)))

            feeding = asyncio.ensure_future(feed())
            found = await collect(ws)
            await feeding
        assert found[STDOUT] == payload
        assert orjson.loads(found[ERROR])["status"] == "Success"

    whole(test)


def test_resize_reaches_the_terminal(whole: Whole) -> None:
    async def test(path: Any) -> None:
        async with websocket(path, command("cat", stdin=True, tty=True), V5) as ws:
            size = b'{"Width":80,"Height":24}'
            await ws.send_bytes(bytes((RESIZE,)) + size)
            async with asyncio.timeout(10):
                while not path.runtime.resizes:
                    await asyncio.sleep(0.01)
            assert path.runtime.resizes == [size]
            await ws.send_bytes(bytes((CLOSE, STDIN)))
            found = await collect(ws)
        assert STDERR not in found

    whole(test)


def test_base64_and_the_oldest_protocol(whole: Whole) -> None:
    async def test(path: Any) -> None:
        async with websocket(path, command("echo", "hi"), "v4.base64.channel.k8s.io") as ws:
            texts = [message.data async for message in ws]
        decoded = [(int(text[0]), base64.b64decode(text[1:])) for text in texts]
        assert (STDOUT, b"hi\n") in decoded
        for protocol in ("channel.k8s.io", ""):
            async with websocket(path, command("sh", "-c", "echo x;exit 3"), protocol) as ws:
                found = await collect(ws)
            assert found[STDOUT] == b"x\n" and b"exit status 3" in found[ERROR]
            assert not found[ERROR].startswith(b"{")

    whole(test)


def test_spdy_is_passed_on(whole: Whole) -> None:
    async def test(path: Any) -> None:
        host, port = path.url.removeprefix("https://").split(":")
        headers = nodes.spdy_headers((V4, remotecommand.V3))
        answer = await http1.send(Target(host, int(port), path.context), "POST", command("cat", stdin=True), headers)
        assert answer.status == 101 and answer.header("x-stream-protocol-version") == V4
        running = await nodes.start(
            answer.pipe(), Options(command=("cat",), stdin=True, stdout=True, stderr=True), V4
        )
        await running.send(STDIN, b"abc" * 100_000)
        await running.send(CLOSE, bytes((STDIN,)))
        got = {}
        async for channel, data in running.output():
            got[channel] = got.get(channel, b"") + data
        assert got[STDOUT] == b"abc" * 100_000
        assert orjson.loads(got[ERROR])["status"] == "Success"
        await running.close()

    whole(test)


def test_a_client_that_leaves_ends_the_command(whole: Whole) -> None:
    async def test(path: Any) -> None:
        async with websocket(path, command("cat", stdin=True), V5) as ws:
            await ws.send_bytes(b"\0x")
            first = await ws.receive()
            assert first.data[0] == STDOUT
        async with asyncio.timeout(10):
            while any("_connection" in repr(task) for task in path.runtime._tasks):
                await asyncio.sleep(0.01)

    whole(test)


def test_attach_shows_what_the_container_writes(whole: Whole) -> None:
    async def test(path: Any) -> None:
        url = EXEC.replace("/exec", "/attach") + "?stdout=true&container=app"
        async with websocket(path, url, V5) as ws:
            path.runtime.attached.put_nowait(b"one\n")
            path.runtime.attached.put_nowait(b"two\n")
            path.runtime.attached.put_nowait(b"")
            found = await collect(ws)
        assert found[STDOUT] == b"one\ntwo\n"

    whole(test)


def test_refusals_are_statuses(whole: Whole) -> None:
    async def test(path: Any) -> None:
        connector = aiohttp.TCPConnector(ssl=path.context)
        upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": V4}

        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask(url: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
                async with session.post(path.url + url, headers=headers or {}) as response:
                    body = await response.json()
                    assert body["kind"] == "Status" and body["code"] == response.status
                    return response.status, body["message"]

            assert await ask(command("ls")) == (400, "Upgrade request required")
            assert await ask(EXEC + "?stdout=true", upgrade) == (400, "you must specify at least 1 command")
            assert (await ask(EXEC + "?command=ls", upgrade))[0] == 400
            assert (await ask(EXEC + "?command=ls&stdout=maybe", upgrade))[0] == 400
            wrong = await ask(command("ls") + "&container=zz", upgrade)
            assert wrong == (400, "container zz is not valid for pod web")
            path.runtime.exit("app")
            assert (await ask(command("ls"), upgrade))[1].endswith('container not found ("app")')
            path.pod["spec"]["containers"].append({"name": "side"})
            several = await ask(command("ls"), upgrade)
            assert several == (400, "a container name must be specified for pod web, choose one of: [app side]")
            del path.pod["spec"]["nodeName"]
            assert await ask(command("ls"), upgrade) == (400, "pod web does not have a host assigned")

    whole(test)


def test_grpc_side_open_exec(whole: Whole) -> None:
    async def test(path: Any) -> None:
        options = Options(command=("sh", "-c", "cat; exit 5"), stdin=True, stdout=True)
        running = await nodes.open_exec(path.dialer, path.pod, path.node, options)
        await running.send(STDIN, b"hello")
        await running.send(CLOSE, bytes((STDIN,)))
        frames = [frame async for frame in running.output()]
        await running.close()
        assert b"".join(data for channel, data in frames if channel == STDOUT) == b"hello"
        assert remotecommand.exit_code(orjson.loads(frames[-1][1])) == 5
        with pytest.raises(ApiError) as refused:
            await nodes.open_exec(path.dialer, path.pod, path.node, Options(command=("x",)))
        assert refused.value.code == 400

    whole(test)


def test_only_the_api_server_and_administrators_reach_a_node(whole: Whole) -> None:
    async def test(path: Any) -> None:
        host, port = path.kubelet.address
        context = path.dialer.context
        answer = await http1.send(Target(host, port, context), "GET", "/healthz")
        assert (answer.status, await answer.text()) == (200, "ok")
        answer.close()
        other = type(path.dialer)(path.pki.ca, *path.pki.issue("system:node:node-2", "system:nodes"))
        answer = await http1.send(Target(host, port, other.context), "GET", "/pods")
        assert answer.status == 403
        answer.close()
        with pytest.raises(http1.HttpFailure):
            await http1.send(Target(host, port, path.context), "GET", "/healthz")
        somebody = {"metadata": {"name": "node-9"}, "status": {}}
        check = checker(somebody, "10.77.3.9")
        with pytest.raises(http1.HttpFailure, match=r"certificate is valid for .*, not 10\.77\.3\.9"):
            await http1.send(Target(host, port, context, check), "GET", "/healthz")

    whole(test)


def test_port_forward_by_spdy_and_by_tunnel(whole: Whole) -> None:
    async def test(path: Any) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(4096):
                writer.write(data.upper())
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = EXEC.replace("/exec", "/portforward")

        async def through(session: Session) -> bytes:
            task = asyncio.ensure_future(session.run())
            error = await session.open({"streamtype": "error", "port": str(port), "requestid": "0"})
            await error.end()
            data = await session.open({"streamtype": "data", "port": str(port), "requestid": "0"})
            await data.write(b"hello " * 20_000)
            await data.end()
            got = await data.read_all(1 << 20)
            assert await error.read_all(100) == b""
            await session.close()
            await asyncio.gather(task, return_exceptions=True)
            return got

        host, edge = path.url.removeprefix("https://").split(":")
        headers = nodes.spdy_headers((remotecommand.PORT_FORWARD,))
        answer = await http1.send(Target(host, int(edge), path.context), "POST", url, headers)
        assert answer.status == 101
        assert await through(Session(answer.pipe(), client=True)) == b"HELLO " * 20_000

        class Tunnel:
            def __init__(self, socket: Any) -> None:
                self.socket = socket

            async def read(self) -> bytes:
                message = await self.socket.receive()
                return message.data if message.type is aiohttp.WSMsgType.BINARY else b""

            async def write(self, data: bytes) -> None:
                await self.socket.send_bytes(data)

            async def end(self) -> None: ...

            def close(self) -> None: ...

        async with websocket(path, url, remotecommand.PORT_FORWARD_TUNNEL) as ws:
            assert await through(Session(Tunnel(ws), client=True)) == b"HELLO " * 20_000
        server.close()

    whole(test)
