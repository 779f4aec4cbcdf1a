"""Watch over HTTP: one JSON line per event, batches joined into one write, the connection watched for its end."""

from __future__ import annotations

import contextlib

import orjson
from aiohttp import web

from argosy.host import Clock
from control_plane.apiserver import tables
from control_plane.apiserver.cache.events import Type
from control_plane.apiserver.request import Request, WatchAnswer, WatchItem
from control_plane.apiserver.rest import responses
from control_plane.apiserver.rest.negotiate import Form, Wanted
from control_plane.apiserver.verbs.watching import line


async def stream(
    http: web.BaseRequest, request: Request, result: WatchAnswer, wanted: Wanted, clock: Clock
) -> web.StreamResponse:
    """Send events until the watch or the client ends."""
    response = web.StreamResponse(headers={"Content-Type": responses.JSON, "Cache-Control": "no-cache, private"})
    responses.add_warnings(response.headers, request.warnings)
    response.enable_chunked_encoding()
    encoder = _Encoder(http, request, wanted, clock)
    async with contextlib.aclosing(result.batches) as batches:  # type: ignore[type-var]
        await response.prepare(http)
        # The headers must reach a client that waits for them before the first event.
        await response.write(b"")
        with contextlib.suppress(ConnectionError):
            async for batch in batches:
                await response.write(b"".join(encoder.line(item) for item in batch))
            await response.write_eof()
    return response


class _Encoder:
    def __init__(self, http: web.BaseRequest, request: Request, wanted: Wanted, clock: Clock) -> None:
        self._request = request
        self._wanted = wanted
        self._clock = clock
        self._include = http.query.get("includeObject", "")
        self._first = True

    def line(self, item: WatchItem) -> bytes:
        if self._wanted.form is Form.PLAIN:
            return self._plain(item)
        kind, shown, _ = line(self._request, item)
        served = self._request.served
        if kind is Type.ERROR:
            body = shown
        elif self._wanted.form is Form.TABLE:
            metadata = {"resourceVersion": shown["metadata"].get("resourceVersion", "")}
            rows = []
            if kind is not Type.BOOKMARK and item.item is not None:
                stored = item.item.entry.obj
                rows = [tables.row(served.kind, stored, shown, self._clock.now(), self._include)]
            elif kind is Type.BOOKMARK:
                rows = [{"cells": [], "object": tables.partial(shown)}]
            body = tables.table(served, rows, metadata, self._wanted.version, columns=self._first)
            self._first = False
        else:
            body = tables.partial(shown, self._wanted.version)
        return orjson.dumps({"type": kind.value, "object": body}) + b"\n"

    def _plain(self, item: WatchItem) -> bytes:
        change = item.item.change if item.item is not None else None
        if change is None:
            kind, _, raw = line(self._request, item)
            return _line(kind, raw)
        assert item.item is not None
        key = (item.item.type, self._request.served.api_version)
        known = change.lines.get(key)
        if known is None:
            kind, _, raw = line(self._request, item)
            known = change.lines[key] = _line(kind, raw)
        return known


def _line(kind: Type, raw: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.value.encode(), raw)
