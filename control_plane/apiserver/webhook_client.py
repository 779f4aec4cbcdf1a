"""Asking a webhook: JSON to the server that a `clientConfig` names, JSON back, and nothing that can hurt us.

Admission and the conversion of custom resources use it. A service's ready endpoints are dialled, one after another
until one can be reached; whoever answers proves to be `SERVICE.NAMESPACE.svc` by the `caBundle`. The whole call has
one time-out, the answer a bounded size, and connections are kept. Rules and messages: k8s.io/apiserver
`pkg/util/webhook/client.go`, k8s.io/client-go `rest/request.go`.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import orjson

from argosy.host import Clock
from argosy.http import DialError, HttpClient, HttpError, NoTime, Request, Response, verifying_context
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.service_endpoints import Address, ServiceEndpoints

MAX_ANSWER_BYTES: Final = 8 << 20
CONTEXTS_MAX: Final = 200
SERVICE_PORT: Final = 443
SHOWN_CHARS: Final = 512
NO_TIME: Final = "context deadline exceeded"

_REFUSALS: Final = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


class WebhookError(Exception):
    """No usable answer; the text says why, in upstream's words."""


@dataclass(frozen=True)
class _Place:
    url: str
    """As it is shown; the authority is the Host header and the certificate's name."""
    addresses: tuple[Address, ...]


def verifying(bundle: str) -> ssl.SSLContext:
    """TLS that trusts a CA bundle (base64 of PEM). Raises ValueError for one without certificates."""
    try:
        return verifying_context(base64.b64decode(bundle, validate=True).decode("ascii"))
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError):
        raise ValueError("unable to load root certificates: unable to parse bytes as PEM block") from None


class TlsContexts:
    """TLS contexts by CA bundle (base64 of PEM, as API objects carry it), made once each."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    def get(self, bundle: str) -> ssl.SSLContext:
        """Empty: the machine's authorities. Raises ValueError for a bundle without certificates."""
        context = self._made.get(bundle)
        if context is None:
            context = self._made[bundle] = verifying(bundle)
            if len(self._made) > CONTEXTS_MAX:
                self._made.popitem(last=False)
        self._made.move_to_end(bundle)
        return context


class WebhookClient:
    def __init__(self, http: HttpClient, endpoints: ServiceEndpoints, clock: Clock) -> None:
        self._http = http
        self._endpoints = endpoints
        self._clock = clock
        self._contexts = TlsContexts()

    async def post(
        self, config: JsonObject, body: JsonObject, *, timeout_s: float, max_answer_bytes: int = MAX_ANSWER_BYTES
    ) -> JsonObject:
        """The answer to `body` of the webhook with this `clientConfig`. Raises WebhookError."""
        url = url_of(config) + f"?timeout={timeout_s:g}s"
        try:
            context = self._contexts.get(str(config.get("caBundle") or ""))
        except ValueError as error:
            raise WebhookError(str(error)) from None
        try:
            place = self._place(config, url)
        except ApiError as error:
            raise WebhookError(f'Post "{url}": {error.message}') from None
        response = await self._ask(place, orjson.dumps(body), context, timeout_s, max_answer_bytes)
        if response.status < 200 or response.status > 206:
            raise WebhookError(_refusal(response))
        if len(response.body) > max_answer_bytes:
            raise WebhookError(f'Post "{url}": the answer is larger than {max_answer_bytes} bytes')
        try:
            answer = orjson.loads(response.body)
        except orjson.JSONDecodeError as error:
            raise WebhookError(f"couldn't get version/kind; json parse error: {error}") from None
        if not isinstance(answer, dict):
            raise WebhookError("couldn't get version/kind; json parse error: the answer is no object")
        return answer

    def _place(self, config: JsonObject, url: str) -> _Place:
        """Raises ApiError when a service leads nowhere."""
        service = config.get("service")
        if service is None:
            parts = urlsplit(url)
            return _Place(url, ((str(parts.hostname), parts.port or SERVICE_PORT),))
        port = int(service.get("port") or SERVICE_PORT)
        found = self._endpoints.resolve(str(service.get("namespace")), str(service.get("name")), port)
        return _Place(url, tuple(found))

    async def _ask(
        self, place: _Place, body: bytes, context: ssl.SSLContext, timeout_s: float, max_answer_bytes: int
    ) -> Response:
        parts = urlsplit(place.url)
        headers = {
            "Host": parts.netloc,
            "User-Agent": "kube-apiserver-admission",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        ends = self._clock.monotonic() + timeout_s
        reason = NO_TIME
        for host, port in place.addresses:
            left = ends - self._clock.monotonic()
            if left <= 0:
                break
            shown = f"[{host}]" if ":" in host else host
            dialled = f"https://{shown}:{port}{parts.path}?{parts.query}"
            request = Request("POST", dialled, headers, body)
            try:
                return await self._http.send(
                    request,
                    timeout_s=left,
                    tls=context,
                    max_body_bytes=max_answer_bytes + 1,
                    server_name=str(parts.hostname),
                )
            except DialError as error:
                reason = _said(error, dialled)
            except NoTime:
                reason = NO_TIME
                break
            except HttpError as error:
                reason = _said(error, dialled)
                break
        raise WebhookError(f'Post "{place.url}": {reason}')


def url_of(config: JsonObject) -> str:
    """The URL that a `clientConfig` names, as messages show it."""
    service = config.get("service")
    if service is None:
        return str(config.get("url") or "")
    path = str(service.get("path") or "/")
    port = int(service.get("port") or SERVICE_PORT)
    return f"https://{service.get('name')}.{service.get('namespace')}.svc:{port}/{path.lstrip('/')}"


def _said(error: HttpError, url: str) -> str:
    return str(error).removeprefix(f"{url}: ")


def _refusal(response: Response) -> str:
    """What an answer that is no success says: its Status, or its code in client-go's words."""
    try:
        status = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status" and isinstance(status.get("message"), str):
        return str(status["message"])[:SHOWN_CHARS]
    if response.status in _REFUSALS:
        return _REFUSALS[response.status]
    text = response.body[:SHOWN_CHARS].decode("utf-8", "replace").strip()
    if response.status >= 500:
        shown = orjson.dumps(text or "unknown").decode()
        return f"an error on the server ({shown}) has prevented the request from succeeding"
    return f"the server responded with the status code {response.status} but did not return more information"
