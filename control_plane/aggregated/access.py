"""What somebody may do in an aggregated API: the cluster's own rules, asked by SubjectAccessReview, kept briefly.

Rules and times: k8s.io/apiserver `pkg/server/options/authorization.go` (DelegatingAuthorizationOptions).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from argosy.client import Client
from argosy.host import Clock
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.aggregated.calls import Place, User

TTL_S: Final = 10.0
CACHED: Final = 4096
MASTERS: Final = "system:masters"
ALWAYS: Final = ("/healthz", "/livez", "/readyz")

_Key = tuple[object, ...]


class Access:
    def __init__(self, client: Client, clock: Clock) -> None:
        self._reviews = client.resource("authorization.k8s.io", "v1", "subjectaccessreviews")
        self._clock = clock
        self._known: OrderedDict[_Key, tuple[float, bool, str]] = OrderedDict()

    async def check(self, user: User, verb: str, place: Place) -> None:
        """Raises ApiError 403."""
        attributes = {
            "verb": verb,
            "group": place.group,
            "version": place.version,
            "resource": place.resource,
            "subresource": place.subresource,
            "namespace": place.namespace,
            "name": place.name,
        }
        asked = {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
        allowed, reason = await self._ask(user, ("r", *attributes.values()), asked)
        if allowed:
            return
        resource = f"{place.resource}/{place.subresource}" if place.subresource else place.resource
        where = f'in the namespace "{place.namespace}"' if place.namespace else "at the cluster scope"
        detail = f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{place.group}" {where}'
        raise errors.forbidden(place.group, place.resource, place.name, detail + (f": {reason}" if reason else ""))

    async def check_path(self, user: User, verb: str, path: str) -> None:
        """The same for what is no resource."""
        if path.rstrip("/") in ALWAYS:
            return
        asked = {"nonResourceAttributes": {"verb": verb, "path": path}}
        allowed, reason = await self._ask(user, ("p", verb, path), asked)
        if not allowed:
            message = f'forbidden: User "{user.name}" cannot {verb} path "{path}"' + (f": {reason}" if reason else "")
            raise errors.status_error(403, "Forbidden", message)

    async def _ask(self, user: User, what: _Key, asked: JsonObject) -> tuple[bool, str]:
        """Raises ApiError when the API server gives no answer: who cannot be judged is not let in."""
        if MASTERS in user.groups:
            return True, ""
        key = (user.name, user.groups, user.uid, tuple(sorted(user.extra.items())), *what)
        now = self._clock.monotonic()
        known = self._known.get(key)
        if known is not None and known[0] > now:
            return known[1:]
        spec: JsonObject = {**asked, "user": user.name, "groups": list(user.groups)}
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {name: list(values) for name, values in user.extra.items()}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": spec,
        }
        status = (await self._reviews.create(review)).get("status") or {}
        allowed, reason = bool(status.get("allowed")), str(status.get("reason") or "")
        self._known[key] = (now + TTL_S, allowed, reason)
        if len(self._known) > CACHED:
            self._known.popitem(last=False)
        return allowed, reason
