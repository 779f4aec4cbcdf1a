"""Generic ephemeral volumes: a claim per pod and volume, made from the pod's template and owned by the pod.

Upstream: `pkg/controller/volume/ephemeral`. The pod's owner reference lets the garbage collector delete the claim.
"""

from __future__ import annotations

from argosy.objects import meta, storage
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from control_plane.controllers.base import PODS, Context, Controller
from control_plane.controllers.volume_state import CLAIM_INDEX, by_pod_claims


def claim_for(pod: JsonObject, volume: JsonObject) -> JsonObject:
    template = volume["ephemeral"].get("volumeClaimTemplate") or {}
    metadata: JsonObject = {
        "name": storage.ephemeral_claim_name(pod, volume),
        "namespace": meta.namespace(pod),
        "ownerReferences": [meta.owner_reference({**pod, "apiVersion": "v1", "kind": "Pod"})],
    }
    for field in ("labels", "annotations"):
        if meta.metadata(template).get(field):
            metadata[field] = dict(template["metadata"][field])
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": meta.copy(template.get("spec") or {}),
    }


class EphemeralVolumeController(Controller):
    name = "ephemeral-volume-controller"
    watches = (PODS, CLAIMS)
    writes = (CLAIMS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        pods = self.informer(PODS)
        pods.add_index(CLAIM_INDEX, by_pod_claims)
        pods.add_handler(added=self._pod_added)
        self.informer(CLAIMS).add_handler(deleted=self._claim_gone)

    def _pod_added(self, pod: JsonObject) -> None:
        if not meta.is_deleting(pod) and any(item.get("ephemeral") for item in meta.spec(pod).get("volumes") or ()):
            self.enqueue(pod)

    def _claim_gone(self, claim: JsonObject) -> None:
        """One that was in the way under the same name, or one that somebody deleted."""
        for pod in self.informer(PODS).by_index(CLAIM_INDEX, meta.key(claim)):
            self._pod_added(pod)

    async def reconcile(self, key: str) -> float | None:
        pod = self.informer(PODS).get(key)
        if pod is None or meta.is_deleting(pod) or meta.status(pod).get("phase") in ("Succeeded", "Failed"):
            return None
        for volume in meta.spec(pod).get("volumes") or ():
            if isinstance(volume.get("ephemeral"), dict):
                await self._ensure(pod, volume)
        return None

    async def _ensure(self, pod: JsonObject, volume: JsonObject) -> None:
        """Raises RuntimeError while another claim has the name, ApiError when it cannot be made."""
        name = storage.ephemeral_claim_name(pod, volume)
        found = self.informer(CLAIMS).get(f"{meta.namespace(pod)}/{name}")
        if found is None:
            try:
                await self.writer(CLAIMS).create(claim_for(pod, volume))
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    found = await self.reader(CLAIMS).get(name, namespace=meta.namespace(pod))
                else:
                    message = f"ephemeral volume {volume['name']}: create PVC {name}: {error.message}"
                    self.events.event({**pod, "apiVersion": "v1", "kind": "Pod"}, "Warning", "FailedBinding", message)
                    raise
        if found is not None and not storage.is_owned_by(found, pod):
            raise RuntimeError(f"PVC {meta.key(found)} was not created for pod {meta.key(pod)} (pod is not owner)")
