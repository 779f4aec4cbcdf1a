"""Container logs: the CRI format, tails, times, following, rotation, and refusals as kubectl shows them."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.host import parse_rfc3339
from argosy.objects.status import ApiError
from control_plane.apiserver.streaming import node as nodes
from node_agent.runtime.runtime import State
from node_agent.server_logs import BadOptions, LogOptions, parse_options, read_log, tail_offset

Whole = Callable[[Any], None]
LOG = "/api/v1/namespaces/default/pods/web/log"
NOW = parse_rfc3339("2026-11-23T12:00:10Z")


def line(second: int, text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-11-23T12:00:{second:02d}.5Z {stream} {tag} {text}\n"


def read(path: Path, options: LogOptions = LogOptions()) -> str:  # noqa: B008
    async def dead() -> bool:
        return False

    async def body() -> bytes:
        return b"".join([chunk async for chunk in read_log(str(path), options, dead)])

    return asyncio.run(body()).decode("utf-8", "replace")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_text(
        line(1, "one")
        + line(2, "two", "stderr")
        + line(3, "thr", tag="P")
        + line(3, "ee", tag="P")
        + line(3, "!", tag="F")
        + line(4, "")
        + line(5, "five")
    )
    return path


def test_lines_are_joined_and_streams_merged(log: Path) -> None:
    assert read(log) == "one\ntwo\nthree!\n\nfive\n"
    assert read(log, LogOptions(stream="stderr")) == "two\n"


def test_tail_counts_whole_lines(log: Path) -> None:
    whole = ["one\n", "two\n", "three!\n", "\n", "five\n"]
    for count in range(7):
        assert read(log, LogOptions(tail_lines=count)) == "".join(whole[max(0, 5 - count) :])


def test_timestamps_once_a_line_with_nine_digits(log: Path) -> None:
    text = read(log, LogOptions(timestamps=True))
    assert text.splitlines()[2] == "2026-11-23T12:00:03.500000000Z three!"
    assert len(text.splitlines()) == 5


def test_since_and_limit(log: Path) -> None:
    since = parse_rfc3339("2026-11-23T12:00:04Z")
    assert read(log, LogOptions(since_s=since)) == "\nfive\n"
    assert read(log, LogOptions(limit_bytes=6)) == "one\ntw"
    assert read(log, LogOptions(since_s=NOW + 100)) == ""


def test_options_come_from_the_query() -> None:
    assert parse_options({"sinceSeconds": ["5"], "tailLines": ["3"], "follow": ["true"]}, NOW) == LogOptions(
        follow=True, tail_lines=3, since_s=NOW - 5
    )
    for bad in (
        {"tailLines": ["-1"]},
        {"tailLines": ["x"]},
        {"follow": ["maybe"]},
        {"sinceTime": ["yesterday"]},
        {"limitBytes": ["0"]},
        {"sinceSeconds": ["5"], "sinceTime": ["2026-11-23T12:00:04Z"]},
        {"stream": ["stdin"]},
    ):
        with pytest.raises(BadOptions):
            parse_options(bad, NOW)


def test_what_is_not_in_the_format_is_shown_and_an_unfinished_line_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("panic: x\n" + line(1, "one") + "2026-11-23T12:00:02Z stdout F no break")
    assert read(path) == "panic: x\none\nno break\n"
    path.write_bytes(b"\xff\x00\n" * 3 + b"x" * 3_000_000)
    assert len(read(path)) > 3_000_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90_000), st.booleans()), max_size=6), st.integers(0, 8))
def test_tail_offset_against_a_dumb_model(tmp_path_factory: Any, pieces: list[tuple[int, bool]], count: int) -> None:
    lines = [f"2026-11-23T12:00:01Z stdout {'P' if part else 'F'} {'y' * size}" for size, part in pieces]
    path = tmp_path_factory.mktemp("tail") / "log"
    path.write_text("".join(text + "\n" for text in lines))
    ends = [number for number, (_, part) in enumerate(pieces) if not part]
    wanted = len(lines) if count == 0 else ends[-count - 1] + 1 if len(ends) > count else 0
    fd = os.open(path, os.O_RDONLY)
    try:
        assert tail_offset(fd, count) == sum(len(text) + 1 for text in lines[:wanted])
    finally:
        os.close(fd)


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.005)


def test_follow_through_rotation_until_the_container_ends(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text(line(1, "one"))
    alive = True

    async def running() -> bool:
        return alive

    async def body() -> None:
        nonlocal alive
        got: list[bytes] = []

        async def follow() -> None:
            async for chunk in read_log(str(path), LogOptions(follow=True), running):
                got.append(chunk)

        task = asyncio.ensure_future(follow())
        await until(lambda: b"".join(got) == b"one\n")
        with path.open("a") as file:
            file.write(line(2, "two")[:20])
            file.flush()
            file.write(line(2, "two")[20:])
        await until(lambda: b"".join(got) == b"one\ntwo\n")
        with path.open("a") as file:
            file.write(line(3, "last of the old"))
        path.rename(tmp_path / "0.log.20261123")
        path.write_text(line(4, "first of the new"))
        await until(lambda: b"".join(got) == b"one\ntwo\nlast of the old\nfirst of the new\n")
        with path.open("a") as file:
            file.write(line(5, "end"))
        alive = False
        async with asyncio.timeout(10):
            await task
        assert b"".join(got).endswith(b"end\n")

    asyncio.run(body())


def test_through_the_whole_path(whole: Whole) -> None:
    async def test(path: Any) -> None:
        file = Path(path.runtime.logs["app-0"])
        file.write_text("".join(line(number, f"line {number}") for number in range(1, 9)))
        connector = aiohttp.TCPConnector(ssl=path.context)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask(query: str = "") -> tuple[int, str]:
                async with session.get(path.url + LOG + query) as response:
                    if response.content_type == "application/json":
                        return response.status, (await response.json())["message"]
                    return response.status, await response.text()

            assert await ask("?tailLines=2&container=app") == (200, "line 7\nline 8\n")
            assert await ask("?limitBytes=4") == (200, "line")
            assert (await ask("?tailLines=-3"))[0] == 422
            assert await ask("?container=zz") == (400, "container zz is not valid for pod web")
            previous = 'previous terminated container "app" in pod "web" not found'
            assert await ask("?previous=true") == (400, previous)
            async with session.get(path.url + LOG + "?follow=true&tailLines=1") as response:
                assert await response.content.readline() == b"line 8\n"
                with file.open("a") as writing:
                    writing.write(line(9, "line 9"))
                assert await response.content.readline() == b"line 9\n"
                path.runtime.exit("app")
                assert await response.content.read() == b""
            old = file.with_name("old.log")
            file.rename(old)
            path.runtime.logs["app-0"] = str(old)
            path.runtime.add("app", 1, State.RUNNING, str(file))
            file.write_text(line(1, "second life"))
            assert await ask() == (200, "second life\n")
            assert (await ask("?previous=true&tailLines=1")) == (200, "line 9\n")
            file.unlink()
            assert await ask() == (400, "unable to retrieve container logs for containerd://app-1")
            path.runtime.containers.clear()
            ended = {"terminated": {"exitCode": 1, "containerID": "containerd://gone"}}
            path.pod["status"]["containerStatuses"][0]["state"] = ended
            assert await ask() == (400, "unable to retrieve container logs for containerd://gone")
            path.pod["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ImagePullBackOff"}}
            waiting = 'container "app" in pod "web" is waiting to start: ImagePullBackOff'
            assert await ask() == (400, waiting)
            del path.pod["spec"]["nodeName"]
            assert await ask() == (200, "")

    whole(test)


def test_a_reader_that_lags_passes_through_every_rotated_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text(line(1, "one"))
    alive = True

    async def running() -> bool:
        return alive

    async def body() -> bytes:
        nonlocal alive
        got: list[bytes] = []
        async for chunk in read_log(str(path), LogOptions(follow=True), running):
            got.append(chunk)
            if len(got) == 1:
                for number in range(1, 4):
                    path.rename(tmp_path / f"0.log.{number}")
                    path.write_text(line(1 + number, f"after {number}"))
                alive = False
        return b"".join(got)

    assert asyncio.run(body()) == b"one\nafter 1\nafter 2\nafter 3\n"


@pytest.mark.parametrize("protocol", ["", "binary.k8s.io", "base64.binary.k8s.io"])
def test_in_websocket_messages(whole: Whole, protocol: str) -> None:
    async def test(path: Any) -> None:
        Path(path.runtime.logs["app-0"]).write_text(line(1, "one") + line(2, "two"))
        connector = aiohttp.TCPConnector(ssl=path.context)
        offered = (protocol,) if protocol else ()
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.ws_connect(path.url + LOG + "?container=app", protocols=offered) as socket:
                assert (socket.protocol or "") == protocol
                messages = [message.data async for message in socket]
            if "base64" in protocol:
                messages = [base64.b64decode(text) for text in messages]
            assert messages[0] == b"" and b"".join(messages) == b"one\ntwo\n"
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(path.url + LOG + "?container=app", protocols=("v9.unknown",))

    whole(test)


def test_grpc_side_open_log(whole: Whole) -> None:
    async def test(path: Any) -> None:
        Path(path.runtime.logs["app-0"]).write_text(line(1, "one") + line(2, "two"))
        chunks = [chunk async for chunk in nodes.open_log(path.dialer, path.pod, path.node, {"tailLines": ["1"]})]
        assert b"".join(chunks) == b"two\n"
        with pytest.raises(ApiError):
            async for _ in nodes.open_log(path.dialer, path.pod, path.node, {"container": ["zz"]}):
                pass

    whole(test)
