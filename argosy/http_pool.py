"""An HTTP client that keeps its connections, for servers that are asked again and again: webhooks, aggregated APIs.

`send` is the seam of argosy/http.py; `open` gives an answer as it comes, for what streams. A kept connection that
the server closed, or on which it speaks unasked, is dropped at once. A request that meets its end is sent anew on
a fresh one, once, and only if no byte of an answer had come.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

from argosy.http import MAX_BODY_BYTES, DialError, HttpError, NoTime, Request, Response, place_of, trusting_context
from argosy.streaming import http1
from argosy.streaming.http1 import Connection, DialFailure, HeaderList, HttpFailure, NoAnswer, Target

IDLE_S: Final = 60.0
IDLE_PER_TARGET: Final = 16
IDLE_MAX: Final = 256


class _Idle:
    """A kept connection and the task that notices its end."""

    def __init__(self, connection: Connection, watch: asyncio.Task[None]) -> None:
        self.connection, self.watch = connection, watch


class PooledHttp:
    def __init__(self) -> None:
        self._idle: dict[Target, list[_Idle]] = {}
        self._count = 0
        self._trusting: ssl.SSLContext | None = None

    @property
    def idle(self) -> int:
        """How many connections are kept."""
        return self._count

    async def send(
        self,
        request: Request,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        server_name: str = "",
    ) -> Response:
        """As `HttpClient.send`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(request, tls, max_body_bytes, server_name)
        except TimeoutError:
            raise NoTime(f"{request.url}: no answer within {timeout_s:g} s") from None
        except DialFailure as error:
            raise DialError(f"{request.url}: {error}") from None
        except (OSError, ValueError) as error:
            raise HttpError(f"{request.url}: {error}") from None

    async def _send(
        self, request: Request, tls: ssl.SSLContext | None, max_body_bytes: int, server_name: str
    ) -> Response:
        place = place_of(request.url)
        context: ssl.SSLContext | None = None
        if place.is_tls:
            if tls is None and self._trusting is None:
                self._trusting = trusting_context()
            context = tls or self._trusting
        target = Target(place.host, place.port, context, server_name=server_name)
        answer = await self.open(target, request.method, place.path, tuple(request.headers.items()), request.body)
        try:
            body = bytearray()
            async for chunk in answer.body():
                body += chunk
                if len(body) >= max_body_bytes:
                    break
            return Response(answer.status, dict(answer.headers), bytes(body[:max_body_bytes]))
        finally:
            answer.close()

    async def open(
        self, target: Target, method: str, path: str, headers: HeaderList = (), body: bytes = b""
    ) -> http1.Response:
        """An answer's head; its body is read from it. `close` it when done. Raises HttpFailure."""
        head = http1.request_head(target, method, path, headers, body)
        bodyless = method == "HEAD"

        def keep(connection: Connection) -> None:
            self._keep(target, connection)

        kept = await self._take(target)
        if kept is not None:
            with contextlib.suppress(NoAnswer):
                return await http1.exchange(kept, head, body, keep, bodyless=bodyless)
        return await http1.exchange(await http1.connect(target), head, body, keep, bodyless=bodyless)

    async def close(self) -> None:
        tasks = [idle.watch for kept in self._idle.values() for idle in kept]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, target: Target) -> Connection | None:
        """The connection that was used last, if one is still good."""
        while kept := self._idle.get(target):
            idle = kept[-1]
            self._forget(target, idle)
            if idle.watch.done():
                continue
            idle.watch.cancel("taken")
            await asyncio.gather(idle.watch, return_exceptions=True)
            if not idle.connection.writer.is_closing() and not idle.connection.reader.at_eof():
                return idle.connection
        return None

    def _keep(self, target: Target, connection: Connection) -> None:
        kept = self._idle.setdefault(target, [])
        if len(kept) >= IDLE_PER_TARGET or self._count >= IDLE_MAX or connection.reader.at_eof():
            connection.writer.close()
            if not kept:
                del self._idle[target]
            return
        idle = _Idle(connection, asyncio.get_running_loop().create_task(self._watch(connection)))
        kept.append(idle)
        self._count += 1
        idle.watch.add_done_callback(lambda _task: self._forget(target, idle))

    async def _watch(self, connection: Connection) -> None:
        """Until there is something to read, which can only be an end or a mistake, or nobody came for it."""
        try:
            with contextlib.suppress(OSError, HttpFailure, TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await connection.reader.read(1)
        except asyncio.CancelledError as error:
            if error.args != ("taken",):
                connection.writer.close()
            raise
        connection.writer.close()

    def _forget(self, target: Target, idle: _Idle) -> None:
        kept = self._idle.get(target)
        if kept is not None and idle in kept:
            kept.remove(idle)
            self._count -= 1
            if not kept:
                del self._idle[target]
