"""NamespaceLifecycle: nothing new in a namespace that is missing or going, and the system's own stay.

Rules: k8s.io/apiserver `plugin/pkg/admission/namespace/lifecycle`.
"""

from __future__ import annotations

from typing import Final

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.storage.store import Store

IMMORTAL: Final = ("default", "kube-system", "kube-public")


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"

    def __init__(self, resources: Resources, store: Store) -> None:
        self._namespaces = resources.require("", "namespaces")
        self._store = store

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or not attributes.kind.namespaced:
            return
        if attributes.kind.virtual:
            return
        namespace = await self._find(attributes.namespace)
        if namespace is None:
            raise errors.not_found("", "namespaces", attributes.namespace)
        if meta.is_deleting(namespace) or meta.status(namespace).get("phase") == "Terminating":
            raise _terminating(attributes)

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.DELETE or not attributes.is_for("", "namespaces"):
            return
        if attributes.request.name in IMMORTAL:
            raise errors.forbidden("", "namespaces", attributes.request.name, "this namespace may not be deleted")

    async def _find(self, name: str) -> JsonObject | None:
        """From the cache; what it does not have is looked up, it may be new."""
        entry = self._namespaces.cache.get(name)
        if entry is not None:
            return entry.obj
        stored = await self._store.read(self._namespaces.store_key("", name))
        return None if stored is None else Entry.stored(name, stored.value, stored.revision).obj


def _terminating(attributes: Attributes) -> errors.ApiError:
    request = attributes.request
    name = meta.name(attributes.obj or {})
    detail = f"unable to create new content in namespace {attributes.namespace} because it is being terminated"
    status = errors.forbidden(request.served.group, request.served.plural, name, detail).status
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {attributes.namespace} is being terminated",
        "field": "metadata.namespace",
    }
    status.setdefault("details", {})["causes"] = [cause]
    return errors.ApiError(status)
