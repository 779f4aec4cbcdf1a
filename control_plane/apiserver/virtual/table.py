"""Which handler answers which virtual kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import orjson

from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.request import Answer, Request
from control_plane.apiserver.schema.schemas import Schemas
from control_plane.apiserver.verbs import body

Handler = Callable[[Request, JsonObject], Awaitable[JsonObject]]
"""(request, checked body) to the answer."""


class VirtualKinds:
    def __init__(self, schemas: Schemas, handlers: Mapping[str, Handler]) -> None:
        self._schemas = schemas
        self._handlers = dict(handlers)

    async def create(self, request: Request) -> Answer:
        """Raises ApiError."""
        kind = request.served.kind
        handler = self._handlers.get(kind.kind)
        if handler is None:
            raise errors.status_error(501, "NotImplemented", f"{kind.plural} cannot be created")
        sent = body.read(request, self._schemas, body.expected_of(request.served))
        answer = await handler(request, sent)
        return Answer(answer, orjson.dumps(answer), 201)
