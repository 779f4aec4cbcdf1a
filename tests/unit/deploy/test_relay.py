"""The relay between a namespace and the machine: bytes both ways, and ends that end together."""

from __future__ import annotations

import asyncio
import socket

from deploy import relay
from tests.ports import free_ports


def test_bytes_pass_both_ways_and_the_ends_end_together() -> None:
    async def main() -> None:
        async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data.upper())
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(upper, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        listening = socket.create_server(("127.0.0.1", 0))
        address = listening.getsockname()
        config = relay.Config((f"127.0.0.1:{port}",), (str(listening.detach()),))
        running = asyncio.ensure_future(relay.run(config))
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x" * 1_000_000)
        assert await reader.readexactly(1_000_000) == b"X" * 1_000_000
        server.close()
        writer.close()
        await writer.wait_closed()
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b"", "nobody listens there any more"
        writer.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_connection_to_itself_is_none() -> None:
    async def main() -> None:
        (port,) = free_ports(1)
        loop = asyncio.get_running_loop()
        own, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port, local_addr=("127.0.0.1", port))
        assert relay._is_itself(own)
        own.abort()

    asyncio.run(main())


def test_what_comes_before_the_target_answers_is_not_lost() -> None:
    """Sent by a client at once, read by a transport that had been told to pause."""

    class Wire(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.sent = b""
            self.reading = True

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.sent += bytes(data)

        def pause_reading(self) -> None:
            self.reading = False

        def resume_reading(self) -> None:
            self.reading = True

        def is_closing(self) -> bool:
            return False

    async def main() -> None:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.readexactly(9))
            writer.close()

        async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
            accepted, wire = relay._Accepted(*server.sockets[0].getsockname()), Wire()
            accepted.connection_made(wire)
            assert not wire.reading, "what is not read waits in the kernel, which bounds it"
            for piece in (b"one ", b"two "):
                accepted.data_received(piece)
            while not wire.reading:
                await asyncio.sleep(0)
            accepted.data_received(b"3")
            assert await got == b"one two 3", "all of it, in its order"
            assert accepted.other is not None and accepted.other.transport is not None
            accepted.other.transport.abort()

    asyncio.run(asyncio.wait_for(main(), 30))
