"""The real kubectl, in every version that the machine has, against the whole path."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node_agent.runtime.runtime import State
from tests.unit.streaming.whole_path import Kubectl, clients

Whole = Callable[[Any], None]


needs_kubectl = pytest.mark.parametrize(
    "kubectl", clients() or [pytest.param("", marks=pytest.mark.skip("no kubectl"))]
)


@needs_kubectl
def test_exec_logs_attach_and_port_forward(whole: Whole, kubectl: str, tmp_path: Path) -> None:
    async def test(path: Any) -> None:
        run = Kubectl(path, kubectl, tmp_path)
        code, out, err = await run("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
        assert (code, out) == (3, b"out\n") and "err\n" in err and "exit code 3" in err
        payload = os.urandom(700_000)
        code, out, err = await run("exec", "-i", "web", "-c", "app", "--", "cat", text=payload)
        assert (code, out == payload) == (0, True), err
        code, out, err = await run("exec", "web", "-c", "zz", "--", "ls")
        assert code == 1 and "container zz is not valid for pod web" in err

        Path(path.runtime.logs["app-0"]).write_text("2026-11-23T12:00:01Z stdout F hello\n")
        assert (await run("logs", "web"))[:2] == (0, b"hello\n")
        code, out, err = await run("logs", "web", "-p")
        assert code == 1 and 'previous terminated container "app" in pod "web" not found' in err

        path.runtime.attached.put_nowait(b"from the container\n")
        path.runtime.attached.put_nowait(b"")
        code, out, err = await run("attach", "web")
        assert (code, out) == (0, b"from the container\n"), err
        await port_forward(run)
        path.runtime.exit("app")
        code, out, err = await run("exec", "web", "--", "ls")
        assert code == 1 and 'container not found ("app")' in err
        path.runtime.add("app", 1, State.RUNNING)

    whole(test)


async def port_forward(run: Kubectl) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        local = probe.getsockname()[1]
    process = await run.start("port-forward", "pod/web", f"{local}:{target}", "--address", "127.0.0.1")
    try:
        assert process.stdout is not None and process.stderr is not None
        async with asyncio.timeout(30):
            first = await process.stdout.readline()
            assert b"Forwarding from" in first, first + await process.stderr.read()
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", local)
                writer.write(b"hello " * 10_000)
                writer.write_eof()
                assert await reader.read(-1) == b"HELLO " * 10_000
                writer.close()
    finally:
        process.terminate()
        await process.wait()
        server.close()
