"""Logs and commands: lines, channels, exit codes, and ends that are no ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest

from argosy.client import SERVICE, STATUS_KEY, Client
from argosy.host import SeededRng
from argosy.objects import status
from argosy.pb import api_pb2 as pb
from argosy.pods import MAX_LINE_BYTES
from argosy.rpc import Call, Code, Methods, RpcError
from argosy.rpc_memory import MemoryNetwork
from argosy.streaming import remotecommand
from tests.sim import virtual


class Node:
    """Answers Log with `chunks`, and Exec by running a command of its own: cat, fail, deaf, lost, strange, loud."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.asked: list[dict] = []
        self.resized: list[dict] = []

    def methods(self) -> Methods:
        return Methods({}, {SERVICE + "Log": self.log, SERVICE + "Exec": self.exec})

    async def log(self, requests: AsyncIterator[bytes], _call: Call) -> AsyncIterator[bytes]:
        request = pb.LogRequest.FromString(await anext(requests))
        self.asked.append(orjson.loads(request.options_json))
        if request.target.name != "p":
            missing = status.not_found("", "pods", request.target.name)
            raise RpcError(Code.NOT_FOUND, "", {STATUS_KEY: orjson.dumps(missing.status)})
        for chunk in self.chunks:
            yield pb.Chunk(data=chunk).SerializeToString()

    async def exec(self, requests: AsyncIterator[bytes], _call: Call) -> AsyncIterator[bytes]:
        start = pb.ExecFrame.FromString(await anext(requests)).start
        options = orjson.loads(start.options_json)
        self.asked.append(options)
        (command, *_) = options["command"]
        result = remotecommand.success()
        if command == "cat":
            async for body in requests:
                frame = pb.ExecFrame.FromString(body)
                if frame.channel == remotecommand.CLOSE:
                    break
                if frame.channel == remotecommand.RESIZE:
                    self.resized.append(orjson.loads(frame.data))
                else:
                    yield out(1, frame.data)
        elif command == "fail":
            yield out(1, b"some")
            yield out(2, b"why")
            result = remotecommand.exit_status(3)
        elif command == "deaf":
            await asyncio.sleep(1)
        elif command == "hang":
            await asyncio.sleep(3600)
        elif command == "strange":
            result = remotecommand.failure("the runtime is ill")
        elif command == "loud":
            for _ in range(20):
                yield out(1, bytes(1 << 20))
        if command != "lost":
            yield out(3, orjson.dumps(result))


def out(channel: int, data: bytes) -> bytes:
    return pb.ExecFrame(channel=channel, data=data).SerializeToString()


def run(body: Callable[[Node, Client, MemoryNetwork], Awaitable[None]]) -> None:
    async def main() -> None:
        node, network = Node(), MemoryNetwork(SeededRng(1))
        for name in ("a", "b"):
            await network.host(name).serve(f"{name}:6444", node.methods())
        async with Client(network.host("one"), ["a:6444", "b:6444"]) as client:
            await body(node, client, network)

    virtual.run(main())


def test_a_log_comes_in_lines() -> None:
    async def body(node: Node, client: Client, network: MemoryNetwork) -> None:
        network.crash("a")
        node.chunks = [b"one\ntw", b"o\n\n\xff", b"end"]
        assert [line async for line in client.pods.logs("p", tail_lines=0)] == ["one", "two", "", "�end"]
        assert node.asked == [{"follow": False, "previous": False, "timestamps": False, "tailLines": 0}]
        node.chunks = [b"x" * (MAX_LINE_BYTES + 5)]
        lines = [line async for line in client.pods.logs("p", container="c", since_s=3, limit_bytes=9, follow=True)]
        assert [len(line) for line in lines] == [MAX_LINE_BYTES, 5]
        assert node.asked[1] == {
            "follow": True,
            "previous": False,
            "timestamps": False,
            "container": "c",
            "sinceSeconds": 3,
            "limitBytes": 9,
        }
        with pytest.raises(status.ApiError, match='pods "q" not found'):
            await anext(aiter(client.pods.logs("q")))

    run(body)


def test_a_command_that_ends_tells_its_output_and_its_exit_code() -> None:
    async def body(node: Node, client: Client, _network: MemoryNetwork) -> None:
        done = await client.pods.exec("p", ["fail", "now"], container="c")
        assert (done.stdout, done.stderr, done.exit_code) == (b"some", b"why", 3)
        assert node.asked[-1] == {
            "command": ["fail", "now"],
            "container": "c",
            "stdin": False,
            "stdout": True,
            "stderr": True,
            "tty": False,
        }
        given = bytes(range(256)) * 4096
        assert (await client.pods.exec("p", ["cat"], stdin=given)).stdout == given
        assert node.asked[-1]["stdin"] is True

    run(body)


def test_a_command_that_does_not_read_is_not_waited_for() -> None:
    async def body(_node: Node, client: Client, _network: MemoryNetwork) -> None:
        done = await client.pods.exec("p", ["deaf"], stdin=bytes(8 << 20))
        assert done.exit_code == 0

    run(body)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("hang", 504, "did not end within 2 s"),
        ("lost", 503, "connection to the command was lost"),
        ("strange", 500, "the runtime is ill"),
        ("loud", 413, "wrote more than"),
    ],
)
def test_a_command_that_does_not_end_by_itself_is_an_error(command: str, code: int, message: str) -> None:
    async def body(_node: Node, client: Client, _network: MemoryNetwork) -> None:
        with pytest.raises(status.ApiError, match=message) as caught:
            await client.pods.exec("p", [command], timeout_s=2)
        assert caught.value.code == code

    run(body)


def test_talking_with_a_command() -> None:
    async def body(node: Node, client: Client, _network: MemoryNetwork) -> None:
        async with client.pods.open_exec("p", ["cat"], stdin=True, tty=True) as process:
            await process.resize(80, 25)
            await process.write(b"hello")
            output = aiter(process)
            assert await anext(output) == (1, b"hello")
            with pytest.raises(RuntimeError, match="has not ended"):
                _ = process.exit_code
            await process.close_stdin()
            assert [item async for item in output] == []
            assert process.exit_code == 0
            await process.write(b"nobody reads this")
        assert node.resized == [{"Width": 80, "Height": 25}]
        assert (node.asked[-1]["tty"], node.asked[-1]["stderr"]) == (True, False)
        with pytest.raises(TypeError, match="list of words"):
            client.pods.open_exec("p", "cat")

    run(body)


def test_leaving_a_command_that_runs() -> None:
    async def body(_node: Node, client: Client, _network: MemoryNetwork) -> None:
        async with asyncio.timeout(5):
            async with client.pods.open_exec("p", ["hang"]) as process:
                reading = asyncio.create_task(anext(aiter(process)))
                await asyncio.sleep(1)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    run(body)
