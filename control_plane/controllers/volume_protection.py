"""Claims that pods use, and volumes that claims use, cannot be deleted under them: a finalizer keeps them.

Upstream: `pkg/controller/volume/pvcprotection` and `pvprotection`. New objects get their finalizer in admission
(StorageObjectInUseProtection); here it is added to those that were made without, and taken away once nobody is left.
"""

from __future__ import annotations

from argosy import logs
from argosy.objects import meta, storage
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from control_plane.controllers.base import PODS, VOLUMES, Context, Controller, ResourceName
from control_plane.controllers.volume_state import CLAIM_INDEX, by_pod_claims

log = logs.get("controllers.volume-protection")


def uses(pod: JsonObject, claim: JsonObject) -> bool:
    """Whether a pod may have the claim mounted. Until it has a node no kubelet knows it, and none will start it."""
    if not meta.spec(pod).get("nodeName"):
        return False
    return any(
        storage.pod_claim_name(pod, volume) == meta.name(claim)
        and (not volume.get("ephemeral") or storage.is_owned_by(claim, pod))
        for volume in meta.spec(pod).get("volumes") or ()
    )


class _Protection(Controller):
    resource: ResourceName
    finalizer: str

    async def _add(self, obj: JsonObject) -> None:
        await self._write(obj, [*meta.finalizers(obj), self.finalizer])

    async def _take(self, obj: JsonObject) -> None:
        await self._write(obj, [each for each in meta.finalizers(obj) if each != self.finalizer])
        log.info("may be deleted", resource=self.resource.plural, name=meta.key(obj))

    async def _write(self, obj: JsonObject, finalizers: list[str]) -> None:
        try:
            await self.writer(self.resource).update(
                {**obj, "metadata": {**meta.metadata(obj), "finalizers": finalizers}}
            )
        except ApiError as error:
            if error.code != 404:
                raise

    async def reconcile(self, key: str) -> float | None:
        obj = self.informer(self.resource).get(key)
        if obj is None:
            return None
        protected = self.finalizer in meta.finalizers(obj)
        if meta.is_deleting(obj):
            if protected and not await self._in_use(obj):
                await self._take(obj)
        elif not protected:
            await self._add(obj)
        return None

    async def _in_use(self, obj: JsonObject) -> bool:
        raise NotImplementedError


class ClaimProtection(_Protection):
    name = "persistentvolumeclaim-protection-controller"
    watches = (CLAIMS, PODS)
    writes = (CLAIMS,)
    resource = CLAIMS
    finalizer = storage.PVC_PROTECTION

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.enqueue_changes(self.informer(CLAIMS))
        pods = self.informer(PODS)
        pods.add_index(CLAIM_INDEX, by_pod_claims)
        pods.add_handler(deleted=self._pod_gone)

    def _pod_gone(self, pod: JsonObject) -> None:
        for key in by_pod_claims(pod):
            self.queue.add(key)

    async def _in_use(self, obj: JsonObject) -> bool:
        """The cache may be behind, so that the API has the last word on that nobody uses it."""
        if any(uses(pod, obj) for pod in self.informer(PODS).by_index(CLAIM_INDEX, meta.key(obj))):
            return True
        live = await self.reader(PODS).list(namespace=meta.namespace(obj))
        return any(uses(pod, obj) for pod in live.items)


class VolumeProtection(_Protection):
    name = "persistentvolume-protection-controller"
    watches = (VOLUMES,)
    writes = (VOLUMES,)
    resource = VOLUMES
    finalizer = storage.PV_PROTECTION

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.enqueue_changes(self.informer(VOLUMES))

    async def _in_use(self, obj: JsonObject) -> bool:
        return bool(meta.status(obj).get("phase") == "Bound")
