"""Bodies and headers: Status errors, warnings, gzip for large answers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from aiohttp import web
from multidict import CIMultiDict

from argosy.objects.status import ApiError

GZIP_FROM_BYTES: Final = 128 << 10
WARNINGS_MAX_CHARS: Final = 4096
WARNING_MAX_CHARS: Final = 256
JSON: Final = "application/json"


def quoted(text: str) -> str:
    """An HTTP quoted-string; control characters would end the header."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def add_warnings(headers: CIMultiDict[str], warnings: Sequence[str]) -> None:
    """One `Warning` header each; cut when there is too much (apimachinery `net.NewWarningHeader`)."""
    total = 0
    cut = sum(len(text) for text in warnings) > WARNINGS_MAX_CHARS
    for text in warnings:
        if cut:
            text = text[:WARNING_MAX_CHARS]
        total += len(text)
        if total > WARNINGS_MAX_CHARS:
            return
        headers.add("Warning", f"299 - {quoted(text)}")


def body(
    request: web.BaseRequest,
    content: bytes,
    code: int = 200,
    content_type: str = JSON,
    headers: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
) -> web.Response:
    given: CIMultiDict[str] = CIMultiDict(headers or {})
    given.setdefault("Cache-Control", "no-cache, private")
    given["Content-Type"] = content_type
    if warnings:
        add_warnings(given, warnings)
    if len(content) >= GZIP_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        content = packer.compress(content) + packer.flush()
        given["Content-Encoding"] = "gzip"
        given["Vary"] = ", ".join(filter(None, (given.get("Vary"), "Accept-Encoding")))
    return web.Response(body=content, status=code, headers=given)


def text(request: web.BaseRequest, content: str, code: int = 200) -> web.Response:
    return body(request, content.encode(), code, "text/plain; charset=utf-8")


def error(request: web.BaseRequest, failure: ApiError, warnings: Sequence[str] = ()) -> web.Response:
    headers: dict[str, str] = {}
    seconds = (failure.status.get("details") or {}).get("retryAfterSeconds")
    if seconds:
        headers["Retry-After"] = str(seconds)
    if failure.code == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="kubernetes"'
    return body(request, orjson.dumps(failure.status), failure.code, JSON, headers, warnings)
