"""What only the in-memory network can do: cut, heal, crash, and repeat itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from argosy.host import SeededRng
from argosy.rpc import Call, Code, Methods, RpcError
from argosy.rpc_inbox import WINDOW_MESSAGES
from argosy.rpc_memory import MemoryNetwork


async def echo(request: bytes, call: Call) -> bytes:
    return request


class Ticker:
    """A stream that the test drives."""

    def __init__(self) -> None:
        self.ticks: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.sent = 0

    async def stream(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        try:
            while True:
                yield await self.ticks.get()
                self.sent += 1
        finally:
            self.ended.set()


def run(body: Callable[[MemoryNetwork, Ticker], Awaitable[None]], keepalive_s: float = 0.2) -> None:
    async def main() -> None:
        network = MemoryNetwork(SeededRng(7), latency_s=0.001, keepalive_s=keepalive_s)
        ticker = Ticker()
        methods = Methods({"/t.T/Echo": echo}, {"/t.T/Tick": ticker.stream})
        await network.host("server").serve("10.0.0.1:1", methods)
        await body(network, ticker)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_healed_link_delivers_what_was_sent() -> None:
    async def body(network: MemoryNetwork, ticker: Ticker) -> None:
        channel = network.host("client").dial("10.0.0.1:1")
        ticks = channel.stream("/t.T/Tick", b"")
        ticker.ticks.put_nowait(b"1")
        assert await anext(ticks) == b"1"
        network.partition("client", "server")
        ticker.ticks.put_nowait(b"2")
        ticker.ticks.put_nowait(b"3")
        waiting = asyncio.ensure_future(anext(ticks))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        network.heal()
        assert await waiting == b"2"
        assert await anext(ticks) == b"3"

    run(body, keepalive_s=5)


def test_a_cut_link_kills_idle_and_new_calls_by_keepalive() -> None:
    async def body(network: MemoryNetwork, ticker: Ticker) -> None:
        channel = network.host("client").dial("10.0.0.1:1")
        ticks = channel.stream("/t.T/Tick", b"")
        ticker.ticks.put_nowait(b"1")
        await anext(ticks)
        network.partition("server", "client", one_way=True)
        for call in (anext(ticks), channel.unary("/t.T/Echo", b"")):
            with pytest.raises(RpcError) as caught:
                await call
            assert caught.value.code == Code.UNAVAILABLE
        await ticker.ended.wait()
        network.heal("client", "server")
        assert await channel.unary("/t.T/Echo", b"x") == b"x"

    run(body)


def test_others_are_not_cut() -> None:
    async def body(network: MemoryNetwork, ticker: Ticker) -> None:
        network.partition("client", "server")
        assert await network.host("other").dial("10.0.0.1:1").unary("/t.T/Echo", b"x") == b"x"

    run(body)


def test_a_crash_ends_calls_and_old_channels_stay_dead() -> None:
    async def body(network: MemoryNetwork, ticker: Ticker) -> None:
        channel = network.host("client").dial("10.0.0.1:1")
        ticks = channel.stream("/t.T/Tick", b"")
        ticker.ticks.put_nowait(b"1")
        await anext(ticks)
        network.crash("server")
        with pytest.raises(RpcError) as caught:
            await anext(ticks)
        assert caught.value.code == Code.UNAVAILABLE
        await ticker.ended.wait()
        with pytest.raises(RpcError):
            await channel.unary("/t.T/Echo", b"")
        await network.host("server").serve("10.0.0.1:1", Methods({"/t.T/Echo": echo}))
        assert await channel.unary("/t.T/Echo", b"again") == b"again"
        network.crash("client")
        with pytest.raises(RpcError):
            await channel.unary("/t.T/Echo", b"")
        assert await network.host("client").dial("10.0.0.1:1").unary("/t.T/Echo", b"new") == b"new"
        assert network.exchanges == {}

    run(body)


def test_a_slow_reader_holds_its_sender_back() -> None:
    async def body(network: MemoryNetwork, ticker: Ticker) -> None:
        ticks = network.host("client").dial("10.0.0.1:1").stream("/t.T/Tick", b"")
        for number in range(WINDOW_MESSAGES * 3):
            ticker.ticks.put_nowait(b"%d" % number)
        assert await anext(ticks) == b"0"
        await asyncio.sleep(0.05)
        assert ticker.sent <= WINDOW_MESSAGES + 1
        got = [await anext(ticks) for _ in range(WINDOW_MESSAGES * 3 - 1)]
        assert got == [b"%d" % number for number in range(1, WINDOW_MESSAGES * 3)]

    run(body)


def test_unix_sockets_are_of_one_host() -> None:
    async def body(network: MemoryNetwork, ticker: Ticker) -> None:
        await network.host("a").serve("unix:/s", Methods({"/t.T/Echo": echo}))
        assert await network.host("a").dial("unix:/s").unary("/t.T/Echo", b"x") == b"x"
        with pytest.raises(RpcError):
            await network.host("b").dial("unix:/s").unary("/t.T/Echo", b"x")

    run(body)
