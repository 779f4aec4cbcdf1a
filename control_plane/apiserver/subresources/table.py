"""Which handler answers which subresource; what is not here goes to the verbs as it is (status)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from argosy.objects import status as errors
from control_plane.apiserver.request import Answer, ListAnswer, Request, WatchAnswer
from control_plane.apiserver.verbs.context import Context

Result = Answer | ListAnswer | WatchAnswer
Handler = Callable[[Context, Request], Awaitable[Answer]]

STREAMING = ("log", "exec", "attach", "portforward", "proxy")


class Subresources:
    """Handlers by (group, plural, subresource); `*` for group and plural means every resource that has it."""

    def __init__(self, handlers: Mapping[tuple[str, str, str], Handler]) -> None:
        self._handlers = dict(handlers)

    async def call(self, context: Context, request: Request) -> Result | None:
        """None: the verbs themselves know what to do. Raises ApiError."""
        kind, name = request.served.kind, request.subresource
        if name == "status":
            return None
        handler = self._handlers.get((kind.group, kind.plural, name)) or self._handlers.get(("*", "*", name))
        if handler is None:
            detail = f"the subresource {kind.plural}/{name} is reached over a connection of its own"
            raise errors.status_error(501, "NotImplemented", detail)
        return await handler(context, request)
