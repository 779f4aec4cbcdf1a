"""Log, exec, attach, port-forward: authorised here, then handed to `streaming`, which talks to the node agent."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from argosy.objects import meta
from argosy.objects import status as errors
from control_plane.apiserver.assembly import Parts
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.config import Config
from control_plane.apiserver.request import Request, User
from control_plane.apiserver.rest.paths import ApiPath
from control_plane.apiserver.streaming import connect, routes
from control_plane.apiserver.streaming.dial import Dialer

_VERBS: Final = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "DELETE": "delete", "PATCH": "patch"}


class Streams:
    def __init__(self, parts: Parts, config: Config) -> None:
        self._parts = parts
        self._dialer = Dialer(config.ca, config.kubelet_certificate, config.kubelet_key)

    async def handle(self, http: web.BaseRequest, path: ApiPath, user: User) -> web.StreamResponse:
        """Raises ApiError."""
        parts = self._parts
        served = parts.resources.get(path.group, path.version, path.resource)
        if served is None or served.subresource(path.subresource) is None:
            raise errors.status_error(404, "NotFound", "the server could not find the requested resource")
        verb = _VERBS.get(http.method, http.method.lower())
        parts.authorization.check(
            Action(user, verb, path.group, path.resource, path.subresource, path.namespace, path.name)
        )
        if (path.group, path.resource) != ("", "pods"):
            raise errors.status_error(501, "NotImplemented", f"{path.resource}/{path.subresource} is not supported")
        request = Request(user, verb, served, path.namespace, path.name, path.subresource)
        pod = (await parts.pipeline.context.newest(request)).obj
        await connect.admit(parts.pipeline, request, {name: http.query.getall(name) for name in http.query})
        node_name = str(meta.spec(pod).get("nodeName", ""))
        node = parts.resources.require("", "nodes").cache.get(node_name)
        return await routes.handle(http, pod, node.obj if node else None, path.subresource, self._dialer)
