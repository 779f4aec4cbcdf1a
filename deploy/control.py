"""How the command line speaks to a cluster's supervisor: one JSON object a line, over a Unix socket for root only.

A request is `{"op": NAME, …}`; the answer `{"ok": true, …}` or `{"ok": false, "error": TEXT}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from argosy import logs
from deploy.layout import Layout

MAX_LINE_BYTES: Final = 4 << 20
CALL_TIMEOUT_S: Final = 60.0

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]
log = logs.get("deploy.control")


class ControlError(Exception):
    """The supervisor refused, or there is none."""


class NotRunning(ControlError):
    """No supervisor of that cluster listens."""


def call(layout: Layout, op: str, *, timeout_s: float = CALL_TIMEOUT_S, **arguments: object) -> Answer:
    """Ask the supervisor. Raises NotRunning, ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(layout.control_socket)
            sock.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline(MAX_LINE_BYTES)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(f"cluster {layout.name!r} is not running; `argosy up` starts it") from None
    except OSError as error:
        raise ControlError(f"the supervisor of cluster {layout.name!r} does not answer: {error}") from None
    if not line:
        raise ControlError(f"the supervisor of cluster {layout.name!r} ended without an answer")
    answer: Answer = json.loads(line)
    if not answer.pop("ok", False):
        raise ControlError(str(answer.get("error", "no reason given")))
    return answer


async def serve(layout: Layout, handlers: dict[str, Handler]) -> asyncio.Server:
    """Listen for the command line. Raises OSError."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await _handle(line, handlers)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError) as error:
            log.warning("control connection failed", error=error)
        finally:
            writer.close()

    with contextlib.suppress(FileNotFoundError):
        os.unlink(layout.control_socket)
    previous = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(answer, layout.control_socket, limit=MAX_LINE_BYTES)
    finally:
        os.umask(previous)


async def _handle(line: bytes, handlers: dict[str, Handler]) -> Answer:
    try:
        request = json.loads(line)
        handler = handlers[request["op"]]
    except (ValueError, KeyError, TypeError):
        return {"ok": False, "error": f"not a request; known operations: {', '.join(sorted(handlers))}"}
    try:
        return {"ok": True, **await handler(request)}
    except Exception as error:
        log.exception("request failed", op=request["op"])
        return {"ok": False, "error": f"{request['op']}: {error}"}
