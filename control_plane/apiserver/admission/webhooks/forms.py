"""Objects as webhooks see them, in the version that they asked for, and their patches on the way back."""

from __future__ import annotations

from typing import Final

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes
from control_plane.apiserver.patch import json_patch
from control_plane.apiserver.resources import Served
from control_plane.apiserver.schema.schemas import Schemas

OURS: Final = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)
"""Metadata that nobody but the server sets."""


class Forms:
    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    async def shown(self, attributes: Attributes, served: Served, obj: JsonObject | None) -> JsonObject | None:
        """An object of a request in the version of `served`. Raises ApiError."""
        if obj is None or obj.get("kind") != served.kind.kind:
            return obj
        if attributes.subresource == "scale":
            return _scale(attributes, obj)
        return await converted(obj, served)

    async def patch(
        self, attributes: Attributes, served: Served, shown: JsonObject, operations: list[JsonObject]
    ) -> bool:
        """Patch `shown` and put the result in the place of the request's object. Whether it changed anything.

        Raises ApiError.
        """
        obj = attributes.obj
        assert obj is not None
        patched = json_patch.apply(shown, operations)
        if not isinstance(patched.get("metadata"), dict):
            raise errors.bad_request("a patch must leave an object with metadata")
        for key in ("apiVersion", "kind"):
            if patched.get(key) != shown.get(key):
                raise errors.bad_request(f"a webhook must not change {key}")
        group, _, version = str(patched["apiVersion"]).rpartition("/")
        compiled = self._schemas.for_kind(group, version, str(patched["kind"]))
        result = compiled.check(patched)
        if result.errors:
            raise compiled.decode_error(result.errors[0].message)
        if obj.get("kind") != served.kind.kind:
            new = patched
        elif attributes.subresource == "scale":
            new = _scaled(attributes, obj, patched)
        else:
            new = await _stored(attributes, served, patched)
            served.kind.default(new)
        _keep(new, obj)
        if new == obj:
            return False
        obj.clear()
        obj.update(new)
        return True


async def converted(obj: JsonObject, served: Served) -> JsonObject:
    """An object of the server's own version, or of one of a custom resource's, in that of `served`."""
    if served.custom is not None:
        if obj.get("apiVersion") == served.api_version:
            return obj
        return await served.custom.shown(obj, served.api_version)
    return served.from_storage(obj)


async def _stored(attributes: Attributes, served: Served, obj: JsonObject) -> JsonObject:
    """Back in the version in which the request is worked on."""
    if served.custom is not None:
        wanted = attributes.request.served.api_version
        return obj if obj.get("apiVersion") == wanted else await served.custom.shown(obj, wanted)
    return served.to_storage(obj)


def _keep(new: JsonObject, old: JsonObject) -> None:
    """What only the server sets stays as it was, in place."""
    for key in OURS:
        if key in old["metadata"]:
            new["metadata"][key] = meta.copy(old["metadata"][key])
        else:
            new["metadata"].pop(key, None)
    if old["metadata"].get("namespace"):
        new["metadata"]["namespace"] = old["metadata"]["namespace"]


def _scale(attributes: Attributes, obj: JsonObject) -> JsonObject:
    from control_plane.apiserver.cache.entry import Entry
    from control_plane.apiserver.subresources.scale import scale_of

    return scale_of(Entry("", 0, obj, b""), attributes.kind)


def _scaled(attributes: Attributes, obj: JsonObject, scale: JsonObject) -> JsonObject:
    from control_plane.apiserver.subresources.scale import set_replicas

    new = meta.copy_object(obj)
    set_replicas(new, attributes.kind, (scale.get("spec") or {}).get("replicas") or 0)
    return new
