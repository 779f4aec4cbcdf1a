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
