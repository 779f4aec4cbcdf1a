"""Claims get the default class; claims and volumes in use are protected; claims grow only where their class allows.

Rules: plugin/pkg/admission/storage (storageclass/setdefault, storageobjectinuseprotection, persistentvolume/resize).
"""

from __future__ import annotations

from typing import Final

from argosy.objects import meta, storage
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.resources import Resources

CLAIMS: Final = "persistentvolumeclaims"
VOLUMES: Final = "persistentvolumes"
NOT_RESIZABLE: Final = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.require("storage.k8s.io", "storageclasses").cache

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or not attributes.is_for("", CLAIMS):
            return
        claim = attributes.obj
        assert claim is not None
        if storage.claim_class_or_none(claim) is not None:
            return
        found = storage.default_class(entry.obj for entry in self._classes.select(""))
        if found is not None:
            claim.setdefault("spec", {})["storageClassName"] = meta.name(found)


class StorageProtection(Plugin):
    name = "StorageObjectInUseProtection"

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or attributes.obj is None:
            return
        for plural, finalizer in ((CLAIMS, storage.PVC_PROTECTION), (VOLUMES, storage.PV_PROTECTION)):
            if attributes.is_for("", plural):
                held = meta.finalizers(attributes.obj)
                if finalizer not in held:
                    attributes.obj["metadata"]["finalizers"] = [*held, finalizer]


class ClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.require("storage.k8s.io", "storageclasses").cache

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.UPDATE or not attributes.is_for("", CLAIMS):
            return
        new, old = attributes.obj or {}, attributes.old or {}
        if storage.claim_bytes(new) <= storage.claim_bytes(old):
            return
        detail = ""
        if meta.status(old).get("phase") != "Bound":
            detail = "Only bound persistent volume claims can be expanded"
        elif not self._grows(old):
            detail = NOT_RESIZABLE
        if detail:
            raise errors.forbidden("", CLAIMS, attributes.request.name, detail)

    def _grows(self, claim: JsonObject) -> bool:
        name = storage.claim_class(claim)
        found = self._classes.get(name) if name else None
        return found is not None and bool(found.obj.get("allowVolumeExpansion"))
