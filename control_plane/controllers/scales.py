"""How many pods the owner of any kind wants: by its scale subresource, whatever API it is of.

Upstream: `getScaleController` of `pkg/controller/disruption/disruption.go`.
"""

from __future__ import annotations

from typing import Final

from argosy.client import Client
from argosy.discovery import ApiResource, discover
from argosy.kinds import KINDS
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject

MAX_KINDS: Final = 1000


class ScaleError(Exception):
    """The wanted number of pods cannot be told; the message says why."""


class Scales:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str], ApiResource] = {}

    async def wanted(self, owner: JsonObject, namespace: str) -> int | None:
        """The replicas that an owner reference's object asks for; None when it is not there. Raises ScaleError,
        ApiError."""
        group, _, version = str(owner.get("apiVersion", "")).rpartition("/")
        kind = str(owner.get("kind", ""))
        plural = await self._plural(group, version, kind)
        built_in = KINDS.kind(group, kind)
        if built_in is not None and built_in.subresource("scale") is None:
            raise _without_scale(group, version, plural)
        resource = self._client.resource(group, version, plural)
        try:
            scale = await resource.get(str(owner.get("name")), namespace=namespace, subresource="scale")
        except ApiError as error:
            if error.code == 404 and "the server could not find" in error.message:
                raise _without_scale(group, version, plural) from None
            if error.code == 404:
                return None
            raise
        return int(meta.spec(scale).get("replicas") or 0) if meta.uid(scale) == owner.get("uid") else None

    async def _plural(self, group: str, version: str, kind: str) -> str:
        built_in = KINDS.kind(group, kind)
        if built_in is not None:
            return built_in.plural
        found = self._known.get((group, kind))
        if found is None:
            resources = (await discover(self._client)).resources
            self._known = {(each.group, each.kind): each for each in resources[:MAX_KINDS]}
            found = self._known.get((group, kind))
        if found is None:
            raise ScaleError(f'no matches for kind "{kind}" in version "{group}/{version}"')
        return found.plural


def _without_scale(group: str, version: str, plural: str) -> ScaleError:
    named = f"{group}/{version}" if group else version
    return ScaleError(f"{named}, Resource={plural} does not implement the scale subresource")
