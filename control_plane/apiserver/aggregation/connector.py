"""Connections to aggregated API servers: at the Service's endpoints, with our certificate, and the user in headers.

The server believes the headers because of the certificate (the authenticating proxy of Kubernetes' documentation;
client-go `transport.SetAuthProxyHeaders`). It is reached like a webhook, but its answer may be a stream.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import quote

from argosy.http import trusting_context
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from argosy.streaming.http1 import DialFailure, HeaderList, HttpFailure, Response, Target
from control_plane.apiserver.aggregation.services import Remote
from control_plane.apiserver.request import User
from control_plane.apiserver.service_endpoints import ServiceEndpoints
from control_plane.apiserver.webhook_client import verifying

CONTEXTS_MAX: Final = 100
RUNNING_MAX: Final = 256
"""Requests that one server may have under way: a slow one fills this, and not the API server."""
EXTRA_SAFE: Final = "!#$&'*+-.^_`|~"
UNAVAILABLE: Final = "service unavailable"
AGGREGATOR: Final = User("system:kube-aggregator", ("system:masters",))


class Opener(Protocol):
    """What `argosy.http_pool.PooledHttp` does."""

    async def open(
        self, target: Target, method: str, path: str, headers: HeaderList = (), body: bytes = b""
    ) -> Response: ...


def identity_headers(user: User) -> list[tuple[str, str]]:
    """Who asks, for a server that trusts the sender."""
    headers = [("X-Remote-User", user.name)]
    if user.uid:
        headers.append(("X-Remote-Uid", user.uid))
    headers += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        name = "X-Remote-Extra-" + quote(key.lower(), safe=EXTRA_SAFE)
        headers += [(name, value) for value in values]
    return headers


class Connector:
    """`certificate` and `key` are PEM files by which we prove to be the front proxy; empty: we cannot."""

    def __init__(self, http: Opener, endpoints: ServiceEndpoints, certificate: str, key: str) -> None:
        self._http = http
        self._endpoints = endpoints
        self._files = (certificate, key)
        self._contexts: OrderedDict[str | None, ssl.SSLContext] = OrderedDict()
        self._running: dict[tuple[str, str, int], int] = {}

    @contextlib.contextmanager
    def slot(self, remote: Remote) -> Iterator[None]:
        """A place among the requests to a server. Raises ApiError 429 when all are taken."""
        running = self._running.get(remote.backend, 0)
        if running >= RUNNING_MAX:
            raise errors.too_many_requests(f"too many requests are waiting for {remote.name}", 1)
        self._running[remote.backend] = running + 1
        try:
            yield
        finally:
            left = self._running.pop(remote.backend) - 1
            if left:
                self._running[remote.backend] = left

    async def open(
        self,
        remote: Remote,
        user: User,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        verify: bool = True,
    ) -> Response:
        """One request's answer as it comes; `close` it when done. Raises ApiError 500 and 503."""
        try:
            addresses = self._endpoints.resolve(remote.namespace, remote.service, remote.port)
        except ApiError as error:
            raise errors.unavailable(error.message if error.code == 503 else UNAVAILABLE) from None
        context = self._context(remote, verify)
        sent = [("Host", f"{remote.host}:{remote.port}"), *headers, *identity_headers(user)]
        reason: HttpFailure | None = None
        for host, port in addresses:
            target = Target(host, port, context, server_name=remote.host)
            try:
                return await self._http.open(target, method, path, sent, body)
            except DialFailure as error:
                reason = error
            except HttpFailure as error:
                raise errors.unavailable(f"error trying to reach service: {error}") from None
        raise errors.unavailable(f"error trying to reach service: {reason}")

    def _context(self, remote: Remote, verify: bool) -> ssl.SSLContext:
        key = remote.bundle if verify and not remote.insecure else None
        context = self._contexts.get(key)
        if context is None:
            try:
                context = trusting_context() if key is None else verifying(key)
            except ValueError as error:
                raise errors.internal(str(error)) from None
            if self._files[0]:
                context.load_cert_chain(*self._files)
            self._contexts[key] = context
            if len(self._contexts) > CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return context


def failure_of(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> ApiError:
    """The error that an answer which is no success tells."""
    import orjson

    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status" and isinstance(found.get("code"), int):
        return ApiError(found)
    text = body[:512].decode("utf-8", "replace").strip()
    reasons = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests"}
    reason = reasons.get(status, "ServiceUnavailable" if status == 503 else "InternalError")
    return errors.status_error(status if status >= 400 else 502, reason, text or f"the server answered {status}")
