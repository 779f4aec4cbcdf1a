"""The queue of `make spike`: its books, and the worker's shell script against a Redis of a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from deploy.builtin_images import busybox_path
from tests.spike.queue_load import Queue
from tests.spike.ways import EXAMPLES

NEEDED = ("sh", "nc", "tr", "sed", "sleep", "grep", "hostname")


class Lists:
    """Redis' lists, for the commands that are used."""

    def __init__(self) -> None:
        self.lists: dict[str, list[bytes]] = {}

    async def rpush(self, name: str, *items: str) -> int:
        self.lists.setdefault(name, []).extend(item.encode() for item in items)
        return len(self.lists[name])

    async def lpop(self, name: str, count: int) -> list[bytes] | None:
        found = self.lists.get(name, [])
        taken, self.lists[name] = found[:count], found[count:]
        return taken or None

    async def llen(self, name: str) -> int:
        return len(self.lists.get(name, []))


def test_what_is_done_counts_once_and_what_is_not_is_known() -> None:
    lists = Lists()
    queue = Queue(lists)  # type: ignore[arg-type]

    async def work() -> None:
        await queue.put(3)
        await queue.put(1)
        assert lists.lists["jobs"] == [b"0", b"1", b"2", b"3"]
        await lists.rpush("done", "1:a", "1:b", "3:b", "nonsense")
        await queue.take()
        await queue.take()

    asyncio.run(work())
    assert list(queue.begun) == ["0", "2"]
    said = queue.whole.as_json()
    assert (said["sent"], said["answered"], said["answers"]) == (4, 2, {"a": 1, "b": 1})


@contextlib.asynccontextmanager
async def serving(lists: Lists) -> AsyncIterator[int]:
    """Inline commands in, RESP out; the port."""

    def answer(words: list[str]) -> bytes:
        if words[0] == "LMOVE":
            source = lists.lists.get(words[1], [])
            if not source:
                return b"$-1\r\n"
            item = source.pop(0)
            lists.lists.setdefault(words[2], []).append(item)
            return b"$%d\r\n%s\r\n" % (len(item), item)
        if words[0] == "LREM":
            lists.lists[words[1]].remove(words[3].encode())
            return b":1\r\n"
        if words[0] == "RPUSH":
            lists.lists.setdefault(words[1], []).append(words[2].encode())
            return b":%d\r\n" % len(lists.lists[words[1]])
        return b"+OK\r\n"

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).decode().split():
            writer.write(answer(line))
            if line == ["QUIT"]:
                break
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_a_worker_does_item_after_item_and_finishes_the_one_in_hand_when_told_to_end(tmp_path: Path) -> None:
    try:
        busybox = busybox_path()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    for name in NEEDED:
        os.symlink(busybox, tmp_path / name)
    documents = yaml.safe_load_all((EXAMPLES / "spike-queue.yaml").read_text(encoding="utf-8"))
    (worker,) = [item for item in documents if (item["kind"], item["metadata"]["name"]) == ("Deployment", "worker")]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    lists = asyncio.run(_working(container["command"], tmp_path))
    assert [item.partition(b":")[0] for item in lists.lists["done"]] == [b"7", b"8", b"9"]
    assert lists.lists["jobs"] == [b"10"] and not lists.lists["doing"]


async def _working(command: list[str], programs: Path) -> Lists:
    """Two items done, then told to end in the midst of the third of four."""
    lists = Lists()
    async with serving(lists) as port, asyncio.timeout(30):
        environment = {
            "PATH": str(programs), "QUEUE_SERVICE_HOST": "127.0.0.1", "QUEUE_SERVICE_PORT": str(port),
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(str(programs / "sh"), *command[1:], env=environment)
        try:
            await lists.rpush("jobs", "7", "8")
            while len(lists.lists.get("done", [])) < 2:
                await asyncio.sleep(0.02)
            assert [item.partition(b":")[0] for item in lists.lists["done"]] == [b"7", b"8"]
            assert not lists.lists["doing"] and not lists.lists["jobs"]
            await lists.rpush("jobs", "9", "10")
            while not lists.lists["doing"]:
                await asyncio.sleep(0.02)
            process.terminate()
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return lists
