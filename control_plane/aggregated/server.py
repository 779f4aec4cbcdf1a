"""The HTTPS server of an aggregated API: every request is authenticated, allowed, and ends in an answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

import orjson
from aiohttp import web

from argosy import logs
from argosy.host import Clock
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.aggregated import documents
from control_plane.aggregated.access import Access
from control_plane.aggregated.calls import ApiResource, Call, GroupVersion, Place, User, parse, verb_of
from control_plane.aggregated.identity import Trust

MAX_BODY_BYTES: Final = 3 << 20
SHUTDOWN_S: Final = 2.0
RETRY_S: Final = 0.5
JSON: Final = "application/json"
log = logs.get("aggregated")

Result = JsonObject | AsyncIterator[JsonObject]
Handler = Callable[[Call], Awaitable[Result]]
"""Gives an object, a list, or a watch's events (`{"type": "ADDED", "object": …}`). Raises ApiError."""


class AggregatedServer:
    """`openapi` holds documents by path (`/openapi/v2`, `/openapi/v3`, …), where there are any."""

    def __init__(
        self,
        groups: Sequence[GroupVersion],
        handler: Handler,
        trust: Trust,
        access: Access,
        clock: Clock,
        openapi: Mapping[str, JsonObject] | None = None,
    ) -> None:
        self._groups = tuple(groups)
        self._handler = handler
        self._trust = trust
        self._access = access
        self._clock = clock
        self._openapi = dict(openapi or {})
        self._runner: web.ServerRunner | None = None
        self._tls: ssl.SSLContext | None = None
        self._accepted: set[str] = set()

    async def listen(self, addresses: Sequence[str], certificate: str, key: str) -> list[tuple[str, int]]:
        """Serve on `host:port` addresses, once it is known whom to trust; gives them with their ports.

        `certificate` and `key` are PEM files. Raises OSError.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        self._tls = context
        while True:
            try:
                await self._trust.load()
                break
            except (ApiError, ValueError) as error:
                log.warning("cannot read whom to trust yet", error=error)
                await asyncio.sleep(RETRY_S)
        self._accept()
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server)
        await self._runner.setup()
        bound: list[tuple[str, int]] = []
        for address in addresses:
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            item = socket.create_server((host, int(port)), family=family, backlog=128)
            await web.SockSite(self._runner, item, ssl_context=context).start()
            bound.append(item.getsockname()[:2])
        return bound

    async def stop(self) -> None:
        if self._runner is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._runner.cleanup(), SHUTDOWN_S)

    def _accept(self) -> None:
        """Handshakes take certificates of these authorities; which one it was is looked at afterwards."""
        for authority in self._trust.published.authorities:
            if authority not in self._accepted and self._tls is not None:
                try:
                    self._tls.load_verify_locations(cadata=authority)
                except ssl.SSLError as error:
                    log.warning("an authority is no certificate", error=error)
                self._accepted.add(authority)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(http)
        except ApiError as failure:
            return _failure(failure)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as failure:
            log.exception("a request failed", method=http.method, path=http.path)
            return _failure(errors.internal(type(failure).__name__))

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        user = await self._user(http)
        place = parse(http.rel_url.raw_path)
        if place is None:
            await self._access.check_path(user, http.method.lower(), http.path)
            return self._document(http)
        query = {name: http.query.getall(name) for name in http.query}
        verb = verb_of(http.method, place, query)
        await self._access.check(user, verb, place)
        resource = self._resource(place, verb)
        body = await _body(http)
        call = Call(
            *(user, verb, place.group, place.version, place.resource, place.namespace, place.name),
            place.subresource,
            query,
            body,
            http.headers.get("Content-Type", ""),
        )
        result = await self._handler(call)
        if isinstance(result, dict):
            if resource is not None and ";as=Table" in http.headers.get("Accept", "").replace(" ", ""):
                result = documents.table(resource, result, self._clock.now())
            return _json(result, 201 if verb == "create" else 200)
        return await _stream(http, result)

    async def _user(self, http: web.BaseRequest) -> User:
        der, subject = b"", None
        if http.transport is not None:
            connection = http.transport.get_extra_info("ssl_object")
            if connection is not None:
                der = connection.getpeercert(True) or b""
                subject = (connection.getpeercert() or {}).get("subject")
        user = await self._trust.user(der, subject, list(http.headers.items()))
        self._accept()
        return user

    def _resource(self, place: Place, verb: str) -> ApiResource | None:
        """Raises ApiError 404, 405."""
        missing = errors.status_error(404, "NotFound", "the server could not find the requested resource")
        found = next((g for g in self._groups if (g.group, g.version) == (place.group, place.version)), None)
        if found is None:
            raise missing
        name = f"{place.resource}/{place.subresource}" if place.subresource else place.resource
        resource = found.resource(name)
        if resource is None and not found.any_resource:
            raise missing
        if resource is not None and verb not in resource.verbs:
            message = "the server does not allow this method on the requested resource"
            raise errors.status_error(405, "MethodNotAllowed", message)
        return resource

    def _document(self, http: web.BaseRequest) -> web.Response:
        """Discovery, health and OpenAPI. Raises ApiError 404, 405."""
        path = http.path.rstrip("/")
        parts = path.split("/")[1:]
        groups = documents.by_group(self._groups)
        if http.method not in ("GET", "HEAD"):
            raise errors.status_error(405, "MethodNotAllowed", "only GET is allowed here")
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if path in self._openapi:
            return _json(self._openapi[path])
        if path == "/apis":
            accept = http.headers.get("Accept", "").replace(" ", "")
            if "as=APIGroupDiscoveryList" in accept:
                version = "v2" if "v=v2;" in accept or accept.endswith("v=v2") or "v=v2," in accept else "v2beta1"
                media = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                return _json(documents.aggregated(self._groups, version), media=media)
            return _json(documents.group_list(self._groups))
        if parts[0] == "apis" and len(parts) == 2 and parts[1] in groups:
            return _json(documents.group(parts[1], groups[parts[1]]))
        if parts[0] == "apis" and len(parts) == 3:
            for item in groups.get(parts[1], ()):
                if item.version == parts[2]:
                    return _json(documents.resource_list(item))
        raise errors.status_error(404, "NotFound", "the server could not find the requested resource")


async def _body(http: web.BaseRequest) -> bytes:
    """Raises ApiError 413."""
    parts = bytearray()
    async for chunk in http.content.iter_any():
        parts += chunk
        if len(parts) > MAX_BODY_BYTES:
            raise errors.too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}")
    return bytes(parts)


async def _stream(http: web.BaseRequest, events: AsyncIterator[JsonObject]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    await response.prepare(http)
    await response.write(b"")
    with contextlib.suppress(ConnectionError):
        try:
            async for event in events:
                await response.write(orjson.dumps(event) + b"\n")
        except ApiError as error:
            await response.write(orjson.dumps({"type": "ERROR", "object": error.status}) + b"\n")
        await response.write_eof()
    return response


def _json(value: JsonObject, code: int = 200, media: str = JSON) -> web.Response:
    headers = {"Content-Type": media, "Cache-Control": "no-cache, private", "Vary": "Accept"}
    return web.Response(body=orjson.dumps(value), status=code, headers=headers)


def _failure(error: ApiError) -> web.Response:
    return _json(error.status, error.code)
