"""The one way into the API: authorise, then the verb; REST and gRPC both end here, and nothing else touches storage.

Authentication comes before it (`auth.authentication`), because only the edge knows what a connection showed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from argosy.objects import status as errors
from control_plane.apiserver.auth.attributes import action_of
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.auth.rbac import MASTERS
from control_plane.apiserver.request import Answer, ListAnswer, Request, WatchAnswer
from control_plane.apiserver.subresources.table import Subresources
from control_plane.apiserver.verbs import delete, patch, reads, update, watching
from control_plane.apiserver.verbs.context import Context
from control_plane.apiserver.verbs.create import create
from control_plane.apiserver.virtual.table import VirtualKinds

MAX_BODY_BYTES: Final = 3 << 20
READS: Final = ("get", "list", "watch")

Result = Answer | ListAnswer | WatchAnswer
Verb = Callable[[Context, Request], Awaitable[Result]]

_VERBS: Final[dict[str, Verb]] = {
    "get": reads.get,
    "list": reads.list_,
    "watch": watching.watch,
    "create": create,
    "update": update.update,
    "patch": patch.patch,
    "delete": delete.delete,
    "deletecollection": delete.delete_collection,
}


class Pipeline:
    """`limits` are how many reads and writes are answered at once; more are told to come again."""

    def __init__(
        self,
        context: Context,
        authorization: Authorization,
        subresources: Subresources,
        virtual: VirtualKinds,
        limits: tuple[int, int] = (400, 200),
    ) -> None:
        self._free = list(limits)
        self.context = context
        self.authorization = authorization
        self._subresources = subresources
        self._virtual = virtual

    async def call(self, request: Request) -> Result:
        """Raises ApiError; 429 when too many are being answered."""
        lane = 0 if request.verb in READS else 1
        if self._free[lane] <= 0 and MASTERS not in request.user.groups:
            raise errors.too_many_requests("Too many requests, please try again later.", 1)
        self._free[lane] -= 1
        try:
            return await self._call(request)
        finally:
            self._free[lane] += 1

    async def _call(self, request: Request) -> Result:
        self.authorization.check(action_of(request))
        check_supported(request)
        if len(request.body) > MAX_BODY_BYTES:
            raise errors.too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}")
        served = request.served
        if served.kind.deprecation:
            request.warn(served.kind.deprecation)
        if served.kind.virtual:
            return await self._virtual.create(request)
        if request.subresource:
            handled = await self._subresources.call(self.context, request)
            if handled is not None:
                return handled
        return await _VERBS[request.verb](self.context, request)

    async def trusted(self, request: Request) -> Result:
        """A call of the server itself: no authorisation, everything else as for everyone."""
        return await _VERBS[request.verb](self.context, request)


def not_found() -> errors.ApiError:
    """404 of a path in a served group that leads nowhere."""
    return errors.status_error(404, "NotFound", "the server could not find the requested resource")


def not_allowed() -> errors.ApiError:
    """405 of a path that is there, but not for this method."""
    message = "the server does not allow this method on the requested resource"
    return errors.status_error(405, "MethodNotAllowed", message)


def check_supported(request: Request) -> None:
    """Raises ApiError 404 or 405."""
    served, verb = request.served, request.verb
    if request.subresource:
        sub = served.subresource(request.subresource)
        if sub is None:
            raise not_found()
        if verb not in sub.verbs:
            raise not_allowed()
        return
    if verb not in served.kind.verbs:
        raise not_allowed()
    everywhere = ("list", "watch", "create") if served.kind.virtual else ("list", "watch")
    if served.kind.namespaced and not request.namespace and verb not in everywhere:
        raise errors.bad_request("an empty namespace may not be set when a resource name may be provided")
