"""The load generator against servers that answer, that do not, and while it is not let run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from tests.load import TICK_S, Generator

OK = b"HTTP/1.1 200 OK\r\n\r\nme\n"


@contextlib.asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[str]:
    """Its URL; without an answer it reads and stays silent."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


async def drain(generator: Generator) -> None:
    async with asyncio.timeout(20):
        while generator.is_busy:
            generator.look(begin=False)
            await asyncio.sleep(TICK_S)


async def begin(generator: Generator, count: int) -> None:
    while generator.whole.sent < count:
        generator.look(begin=True)
        await asyncio.sleep(TICK_S)


async def outcome(answer: bytes | None, timeout_s: float) -> tuple[int, int, list[str]]:
    async with server(answer) as url:
        generator = Generator(url, 200.0, timeout_s)
        await begin(generator, 10)
        await drain(generator)
    said = generator.whole.as_json()
    assert said["sent"] == generator.whole.sent >= 10
    return generator.whole.sent, generator.whole.failed, said["errors"]  # type: ignore[return-value]


def test_answers_are_counted_and_others_are_failures_by_kind() -> None:
    assert asyncio.run(outcome(OK, 5.0))[1:] == (0, [])
    sent, failed, (error,) = asyncio.run(outcome(b"HTTP/1.1 503 No\r\n\r\n", 5.0))
    assert failed == sent and error.startswith(f"{sent} × waiting for the answer: OSError(") and "503" in error
    sent, failed, (error,) = asyncio.run(outcome(None, 0.2))
    assert failed == sent and error.startswith(f"{sent} × waiting for the answer: not within 0.2 s")


def test_an_answer_that_came_while_the_generator_was_not_let_run_is_no_failure() -> None:
    async def stalled() -> Generator:
        async with server(OK) as url:
            generator = Generator(url, 200.0, 0.5)
            await begin(generator, 5)
            while not generator.is_busy:
                await asyncio.sleep(TICK_S)
                generator.look(begin=True)
            await asyncio.sleep(0)
            # Nothing of this process runs, as on a machine with too much to do.
            time.sleep(0.8)
            await drain(generator)
            return generator

    generator = asyncio.run(stalled())
    assert generator.whole.failed == 0, generator.whole.as_json()
    assert len(generator.whole.taken_ms) == generator.whole.sent
    assert generator.stalled_s > 0.5
