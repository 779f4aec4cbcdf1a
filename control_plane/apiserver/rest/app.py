"""The HTTPS server: every request goes through `Rest.handle`, which ends in an answer or a Status, never a trace."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from argosy import logs
from argosy.host import Clock, Rng
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from control_plane.apiserver.auth import x509
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.auth.authentication import Authentication
from control_plane.apiserver.crd.follower import CustomResources
from control_plane.apiserver.metrics import Metrics
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import ListAnswer, User, WatchAnswer
from control_plane.apiserver.rest import paths, rendering, requests, responses, watches
from control_plane.apiserver.rest.aggregated import Aggregated
from control_plane.apiserver.rest.endpoints import Endpoints
from control_plane.apiserver.subresources.table import STREAMING

KEEPALIVE_S: Final = 75.0
SHUTDOWN_S: Final = 2.0
MAX_LINE_BYTES: Final = 64 << 10
log = logs.get("apiserver.rest")

Streamer = Callable[[web.BaseRequest, paths.ApiPath, User], Awaitable[web.StreamResponse]]


class Rest:
    def __init__(
        self,
        pipeline: Pipeline,
        authentication: Authentication,
        endpoints: Endpoints,
        streamer: Streamer,
        aggregated: Aggregated,
        metrics: Metrics,
        custom: CustomResources,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._pipeline = pipeline
        self._authentication = authentication
        self._endpoints = endpoints
        self._streamer = streamer
        self._aggregated = aggregated
        self._metrics = metrics
        self._custom = custom
        self._clock = clock
        self._rng = rng
        self._runner: web.ServerRunner | None = None

    async def listen(self, sockets: list[socket.socket], tls: ssl.SSLContext) -> None:
        """Serve on sockets that are bound already."""
        server = web.Server(
            self.handle,
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            handler_cancellation=True,
            # Bodies are taken as they are sent, as upstream does; a packed one could grow without bound.
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(server)
        await self._runner.setup()
        for item in sockets:
            site = web.SockSite(self._runner, item, ssl_context=tls, backlog=1024)
            await site.start()

    async def stop(self) -> None:
        if self._runner is not None:
            try:
                await asyncio.wait_for(self._runner.cleanup(), SHUTDOWN_S)
            except TimeoutError:
                log.warning("connections were cut off at shutdown")

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        started = self._clock.monotonic()
        verb, response = http.method, None
        try:
            response = await self._handle(http)
        except ApiError as failure:
            response = responses.error(http, failure)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as failure:
            log.exception("a request failed", method=http.method, path=http.path)
            response = responses.error(http, errors.internal(type(failure).__name__))
        finally:
            code = response.status if response is not None else 0
            self._metrics.request(verb, code, self._clock.monotonic() - started)
        if not response.prepared:
            response.headers["Audit-Id"] = self._rng.uuid()
        return response

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        user = self._user(http)
        remote = self._aggregated.remote(http.rel_url.raw_path)
        if remote is not None:
            return await self._aggregated.handle(http, remote, user)
        path = paths.parse(http.rel_url.raw_path)
        if path is None:
            return await self._unnamed(http, user)
        if path.subresource in STREAMING:
            return await self._streamer(http, path, user)
        resources = self._pipeline.context.resources
        if path.group and resources.get(path.group, path.version, path.resource) is None:
            await self._custom.settle()
        try:
            request = await requests.build(http, path, resources, user)
        except ApiError as failure:
            if failure.code in (404, 405):
                self._pipeline.authorization.check(requests.attempted(http, path, user))
            if failure.code == 404 and path.group and path.group not in resources.groups():
                return responses.text(http, "404 page not found\n", 404)
            raise
        try:
            wanted = rendering.wanted_of(http, request.verb)
            result = await self._pipeline.call(request)
            if isinstance(result, WatchAnswer):
                return await watches.stream(http, request, result, wanted, self._clock)
            if isinstance(result, ListAnswer):
                self._metrics.listed(len(result.entries))
            return rendering.render(http, request, result, wanted, self._clock)
        except ApiError as failure:
            return responses.error(http, failure, request.warnings)

    async def _unnamed(self, http: web.BaseRequest, user: User) -> web.StreamResponse:
        """A path that is no resource's."""
        path = http.path
        if not self._endpoints.is_public(path):
            self._pipeline.authorization.check(Action(user, http.method.lower(), path=path))
        if http.method not in ("GET", "HEAD"):
            if self._endpoints.knows(path):
                raise errors.status_error(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )
            return responses.text(http, "404 page not found\n", 404)
        return await self._endpoints.answer(http)

    def _user(self, http: web.BaseRequest) -> User:
        certificate: User | None = None
        transport = http.transport
        if transport is not None:
            peer = transport.get_extra_info("peercert")
            if peer:
                certificate = x509.from_subject(peer.get("subject"))
        user = self._authentication.user(certificate, http.headers.get("Authorization", ""))
        if any(key.lower().startswith("impersonate-") for key in http.headers):
            headers: dict[str, list[str]] = {}
            for key, value in http.headers.items():
                headers.setdefault(key.lower(), []).append(value)
            return self._authentication.impersonated(user, headers)
        return user


def server_tls(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """Clients may show a certificate of `ca`; without one they need a token. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if ca:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
