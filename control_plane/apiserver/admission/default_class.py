"""DefaultIngressClass: an Ingress without a class gets the one that is marked as the default (KEP-1453)."""

from __future__ import annotations

from typing import Final

from argosy.kinds.ingress import CLASS_ANNOTATION
from argosy.objects import meta
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.resources import Resources

DEFAULT: Final = "ingressclass.kubernetes.io/is-default-class"


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.require("networking.k8s.io", "ingressclasses").cache

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or attributes.subresource:
            return
        if not attributes.is_for("networking.k8s.io", "ingresses"):
            return
        ingress = attributes.obj
        assert ingress is not None
        if ingress["spec"].get("ingressClassName") is not None or CLASS_ANNOTATION in meta.annotations(ingress):
            return
        marked = [
            entry.obj for entry in self._classes.entries() if meta.annotations(entry.obj).get(DEFAULT) == "true"
        ]
        if marked:
            # The newest of several, and the first by name among equally old ones, as upstream since 1.26.
            marked.sort(key=meta.name)
            newest = max(str(meta.metadata(item).get("creationTimestamp")) for item in marked)
            chosen = next(item for item in marked if meta.metadata(item).get("creationTimestamp") == newest)
            ingress["spec"]["ingressClassName"] = meta.name(chosen)
