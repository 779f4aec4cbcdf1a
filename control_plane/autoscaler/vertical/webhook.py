"""The admission webhook: the API server shows each new pod, and gets a patch with the recommended requests."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

import orjson

from argosy import logs
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.autoscaler.targets import UnknownKind
from control_plane.autoscaler.vertical.admission import ADMITTING, mode_of, patch

if TYPE_CHECKING:
    from aiohttp import web

    from argosy.objects.selectors import Selector

log = logs.get("autoscaler.webhook")

PATH: Final = "/mutate"
MAX_REVIEW_BYTES: Final = 4 << 20


class AdmissionWebhook:
    """`autoscalers` gives those of a namespace; `selector_of` raises UnknownKind."""

    def __init__(
        self,
        autoscalers: Callable[[str], Iterable[JsonObject]],
        selector_of: Callable[[JsonObject], Awaitable[Selector]],
    ) -> None:
        self._autoscalers = autoscalers
        self._selector_of = selector_of

    async def review(self, review: JsonObject) -> JsonObject:
        """An AdmissionReview's answer; the pod is always allowed. Raises ValueError for what is none."""
        request = review.get("request")
        if not isinstance(request, dict) or not isinstance(request.get("object"), dict):
            raise ValueError("no AdmissionReview with an object")
        response: JsonObject = {"uid": request.get("uid", ""), "allowed": True}
        operations = await self._operations(request["object"], str(request.get("namespace") or ""))
        if operations:
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(orjson.dumps(operations)).decode()
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

    async def _operations(self, pod: JsonObject, namespace: str) -> list[JsonObject]:
        labels = meta.labels(pod)
        for autoscaler in list(self._autoscalers(namespace)):
            if mode_of(autoscaler) not in ADMITTING:
                continue
            try:
                selector = await self._selector_of(autoscaler)
            except UnknownKind:
                continue
            if selector.matches(labels):
                return patch(pod, autoscaler)
        return []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        if request.method != "POST" or request.path != PATH:
            return web.Response(status=404, text="404 page not found\n")
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_REVIEW_BYTES:
                return web.Response(status=413, text="the review is too large\n")
        try:
            review = orjson.loads(bytes(body))
            if not isinstance(review, dict):
                raise ValueError("no object")
            answer = await self.review(review)
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    async def serve(self, listen: str, certificate: str, key: str) -> None:
        """Until cancelled. `listen` is IP:PORT; the others are PEM files. Raises OSError."""
        from aiohttp import web

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        host, _, port = listen.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)
        runner = web.ServerRunner(web.Server(self.handle, access_log=None))
        try:
            await runner.setup()
            await web.SockSite(runner, listener, ssl_context=context).start()
            await asyncio.get_running_loop().create_future()
        finally:
            await runner.cleanup()
            listener.close()
