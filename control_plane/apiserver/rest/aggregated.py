"""Requests for an API that another server serves: authorised here, then passed on as they are, whatever they carry.

What comes back is passed on too, as it comes: objects, tables, watch streams; an upgraded connection (exec,
WebSocket) is joined with the client's. Rules: k8s.io/kube-aggregator `pkg/apiserver/handler_proxy.go` and
apimachinery `pkg/util/proxy/upgradeaware.go`.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from argosy.objects import status as errors
from argosy.streaming import http1
from argosy.streaming.http1 import HttpFailure
from argosy.streaming.pipe import relay, take_over
from control_plane.apiserver.aggregation.manager import Aggregation
from control_plane.apiserver.aggregation.services import Remote
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.request import User
from control_plane.apiserver.rest import paths, requests
from control_plane.apiserver.streaming.routes import Taken, upgrade_of

HOP_BY_HOP: Final = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
OURS: Final = frozenset(("host", "content-length", "authorization", "expect", "x-forwarded-for"))
"""Headers of requests that we say ourselves, or that are nobody else's business."""
DROPPED_PREFIXES: Final = ("x-remote-", "impersonate-")
DISCOVERY_PARTS: Final = 3


class Aggregated:
    def __init__(self, aggregation: Aggregation, authorization: Authorization) -> None:
        self._parts = aggregation
        self._authorization = authorization

    def remote(self, path: str) -> Remote | None:
        """Who serves a path, when it is not us."""
        if not self._parts.services.remotes:
            return None
        parts = path.split("/", 5)
        if len(parts) > DISCOVERY_PARTS and parts[1] == "apis":
            return self._parts.services.remote(parts[2], parts[3])
        if len(parts) > 2 and parts[1] == "api":
            return self._parts.services.remote("", parts[2])
        if len(parts) > DISCOVERY_PARTS + 2 and parts[1:4] == ["openapi", "v3", "apis"]:
            remote = self._parts.services.remote(parts[4], parts[5])
            return remote if remote is not None and self._parts.documents.known(remote).openapi_v3 else None
        return None

    async def handle(self, http: web.BaseRequest, remote: Remote, user: User) -> web.StreamResponse:
        """Raises ApiError."""
        self._authorize(http, user)
        if not remote.available:
            raise errors.unavailable("service unavailable")
        body = b"" if http.method in ("GET", "HEAD") else await requests.read_body(http)
        headers = passed_on(http)
        with self._parts.connector.slot(remote):
            answer = await self._parts.connector.open(remote, user, http.method, http.raw_path, headers, body)
            try:
                if answer.status == 101:
                    return await self._join(http, answer)
                return await _pass_back(http, answer)
            finally:
                answer.close()

    def _authorize(self, http: web.BaseRequest, user: User) -> None:
        """As anybody's request: what the other server allows comes on top."""
        path = paths.parse(http.rel_url.raw_path, tails=True)
        if path is None:
            action = Action(user, http.method.lower(), path=http.path)
        else:
            action = requests.attempted(http, path, user)
        self._authorization.check(action)

    async def _join(self, http: web.BaseRequest, answer: http1.Response) -> web.StreamResponse:
        transport = http.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        client = take_over(transport, http.protocol)
        try:
            kept = [(name, value) for name, value in answer.headers if name != "keep-alive"]
            lines = [b"HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}".encode() for name, value in kept)]
            await client.write(b"\r\n".join(lines) + b"\r\n\r\n")
            await relay(client, answer.pipe())
        finally:
            client.close()
        return Taken()


def passed_on(http: web.BaseRequest) -> list[tuple[str, str]]:
    """A client's headers, without those that only concern its connection to us or say who it is."""
    named = {part.strip().lower() for part in http.headers.get("Connection", "").split(",")}
    upgrade = upgrade_of(http)
    headers = [
        (name, value)
        for name, value in http.headers.items()
        if not (lower := name.lower()).startswith(DROPPED_PREFIXES)
        and lower not in OURS
        and lower not in HOP_BY_HOP
        and lower not in named
    ]
    if upgrade:
        headers += [("Connection", "Upgrade"), ("Upgrade", http.headers["Upgrade"])]
    if http.remote:
        headers.append(("X-Forwarded-For", http.remote))
    return headers


async def _pass_back(http: web.BaseRequest, answer: http1.Response) -> web.StreamResponse:
    if 300 <= answer.status < 400 and answer.header("location"):
        # It could send a client with its credentials anywhere (CVE-2022-3172).
        detail = "the backend attempted to redirect this request, which is not permitted"
        raise errors.status_error(502, "BadGateway", detail)
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in answer.headers:
        if name not in HOP_BY_HOP:
            headers.add(name, value)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if "content-length" not in headers and http.version >= (1, 1):
        response.enable_chunked_encoding()
    await response.prepare(http)
    try:
        async for chunk in answer.body():
            await response.write(chunk)
        await response.write_eof()
    except HttpFailure:
        # The client must see that there is something missing.
        if http.transport is not None:
            http.transport.abort()
    except ConnectionError:
        pass
    return response
