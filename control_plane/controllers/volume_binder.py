"""The volume binder: gives claims their volumes and keeps both sides' phases true.

Upstream: `pkg/controller/volume/persistentvolume/pv_controller.go`, whose states and messages these are. A claim is
bound in four writes (volume's claimRef, volume's phase, claim's volumeName, claim's phase), each of which a later
round completes when an earlier one was interrupted. Volumes are made and deleted by provisioners (for `local-path`
the node agents), never here.
"""

from __future__ import annotations

from typing import Final

from argosy import logs
from argosy.host import rfc3339
from argosy.objects import meta, storage
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.scheduling import volumes as matching
from control_plane.controllers import volume_state as state
from control_plane.controllers.base import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from control_plane.controllers.base import PODS, STORAGE_CLASSES, VOLUMES, Context, Controller

log = logs.get("controllers.volumes")

CLAIM: Final = "claim:"
VOLUME: Final = "volume:"
RETAINED: Final = ("Released", "Failed")


class VolumeBinder(Controller):
    """One worker: two claims are never matched at once, so that no volume is given away twice."""

    name = "persistentvolume-binder-controller"
    watches = (CLAIMS, VOLUMES, STORAGE_CLASSES, PODS)
    writes = (CLAIMS, VOLUMES)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.events = context.recorder("persistentvolume-controller")
        self._claims = state.Written(self.informer(CLAIMS))
        self._volumes = state.Written(self.informer(VOLUMES))
        self._classes = self.informer(STORAGE_CLASSES)
        claims, volumes, pods = self.informer(CLAIMS), self.informer(VOLUMES), self.informer(PODS)
        volumes.add_index(state.CLASS_INDEX, state.by_volume_class)
        volumes.add_index(state.KEPT_INDEX, state.by_kept_claim)
        claims.add_index(state.CLASS_INDEX, state.by_pending_class)
        claims.add_index(state.VOLUME_INDEX, state.by_named_volume)
        pods.add_index(state.CLAIM_INDEX, state.by_pod_claims)
        claims.add_handler(
            added=self._claim_changed, updated=lambda _old, new: self._claim_changed(new), deleted=self._claim_gone
        )
        volumes.add_handler(
            added=self._volume_changed, updated=lambda _old, new: self._volume_changed(new), deleted=self._volume_gone
        )
        self._classes.add_handler(added=self._class_changed, updated=lambda _old, new: self._class_changed(new))

    # What happens

    def _claim_changed(self, claim: JsonObject) -> None:
        self.queue.add(CLAIM + meta.key(claim))

    def _claim_gone(self, claim: JsonObject) -> None:
        for volume in self.informer(VOLUMES).by_index(state.KEPT_INDEX, meta.key(claim)):
            self.queue.add(VOLUME + meta.name(volume))

    def _volume_changed(self, volume: JsonObject) -> None:
        self.queue.add(VOLUME + meta.name(volume))

    def _volume_gone(self, volume: JsonObject) -> None:
        """Its claim is lost; others may have asked for it by name."""
        for claim in self.informer(CLAIMS).by_index(state.VOLUME_INDEX, meta.name(volume)):
            self._claim_changed(claim)

    def _class_changed(self, storage_class: JsonObject) -> None:
        self._waiting(meta.name(storage_class))
        if storage.is_default_class(storage_class):
            self._waiting(state.NO_CLASS)

    def _waiting(self, class_name: str) -> None:
        """Claims of a class that have no volume yet have another chance."""
        for claim in self.informer(CLAIMS).by_index(state.CLASS_INDEX, class_name):
            self._claim_changed(claim)

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(VOLUME):
            volume = self._volumes.get(key.removeprefix(VOLUME))
            if volume is not None:
                await self._sync_volume(volume)
            return None
        claim = self._claims.get(key.removeprefix(CLAIM))
        if claim is None or meta.is_deleting(claim):
            return None
        if storage.BIND_COMPLETED in meta.annotations(claim):
            await self._sync_bound(claim)
        else:
            await self._sync_unbound(claim)
        return None

    # Claims

    async def _sync_unbound(self, claim: JsonObject) -> None:
        name = str(meta.spec(claim).get("volumeName") or "")
        if not name:
            await self._sync_free(claim)
            return
        volume = self._volumes.get(name)
        if volume is None:
            await self._claim_phase(claim, "Pending")
        elif matching.claim_reference(volume) is None:
            problem = matching.unsatisfied(volume, claim)
            if problem:
                message = f'Cannot bind to requested volume "{name}": {problem}'
                self._tell(claim, "Warning", "VolumeMismatch", message)
                await self._claim_phase(claim, "Pending")
            else:
                await self._bind(volume, claim)
        elif matching.is_bound_to(volume, claim):
            await self._bind(volume, claim)
        else:
            message = f'volume "{name}" already bound to a different claim.'
            self._tell(claim, "Warning", "FailedBinding", message)
            await self._claim_phase(claim, "Pending")

    async def _sync_free(self, claim: JsonObject) -> None:
        """A claim that names no volume: a volume that is there, or one that is made for it."""
        if await self._take_default_class(claim):
            return
        class_name = storage.claim_class(claim)
        storage_class = self._classes.get(class_name) if class_name else None
        chosen = storage.SELECTED_NODE in meta.annotations(claim)
        delayed = storage_class is not None and storage.waits_for_consumer(storage_class) and not chosen
        candidates = [
            *self._volumes.by_index(state.KEPT_INDEX, meta.key(claim)),
            *self._volumes.by_index(state.CLASS_INDEX, class_name),
        ]
        volume = matching.find_volume(claim, candidates, delayed=delayed)
        if volume is not None:
            await self._bind(volume, claim)
            return
        if delayed:
            self._tell_waiting(claim)
        elif class_name:
            await self._provision(claim, class_name, storage_class)
        else:
            message = "no persistent volumes available for this claim and no storage class is set"
            self._tell(claim, "Normal", "FailedBinding", message)
        await self._claim_phase(claim, "Pending")

    async def _take_default_class(self, claim: JsonObject) -> bool:
        """A claim that was made before there was a default class gets it now (KEP-3333)."""
        if storage.claim_class_or_none(claim) is not None:
            return False
        found = storage.default_class(self._classes.list())
        if found is None:
            return False
        log.info("claim gets the default class", claim=meta.key(claim), storage_class=meta.name(found))
        await self._write_claim({**claim, "spec": {**meta.spec(claim), "storageClassName": meta.name(found)}})
        return True

    def _tell_waiting(self, claim: JsonObject) -> None:
        waiting = [
            meta.name(pod)
            for pod in self.informer(PODS).by_index(state.CLAIM_INDEX, meta.key(claim))
            if not meta.spec(pod).get("nodeName")
        ]
        if not waiting:
            message = "waiting for first consumer to be created before binding"
            self._tell(claim, "Normal", "WaitForFirstConsumer", message)
        else:
            one = len(waiting) == 1
            message = f"waiting for pod{'' if one else 's'} {','.join(sorted(waiting))} to be scheduled"
            self._tell(claim, "Normal", "WaitForPodScheduled", message)

    async def _provision(self, claim: JsonObject, class_name: str, storage_class: JsonObject | None) -> None:
        """Provisioners make volumes for the claims that carry their name."""
        if storage_class is None:
            message = f'storageclass.storage.k8s.io "{class_name}" not found'
            self._tell(claim, "Warning", "ProvisioningFailed", message)
            return
        provisioner = str(storage_class.get("provisioner", ""))
        if provisioner.startswith("kubernetes.io/"):
            message = f"no volume plugin matched name: {provisioner}"
            self._tell(claim, "Warning", "ProvisioningFailed", message)
            return
        wanted = dict.fromkeys((storage.STORAGE_PROVISIONER, storage.BETA_STORAGE_PROVISIONER), provisioner)
        if any(meta.annotations(claim).get(key) != provisioner for key in wanted):
            await self._write_claim(_annotated(claim, wanted))
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
            "the system administrator. If volume creation is delayed, please verify that the provisioner is running "
            "and correctly registered."
        )
        self._tell(claim, "Normal", "ExternalProvisioning", message)

    async def _sync_bound(self, claim: JsonObject) -> None:
        name = str(meta.spec(claim).get("volumeName") or "")
        volume = self._volumes.get(name) if name else None
        if not name:
            message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
            await self._lost(claim, "ClaimLost", message)
        elif volume is None:
            message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            await self._lost(claim, "ClaimLost", message)
        elif matching.claim_reference(volume) is None or matching.is_bound_to(volume, claim):
            await self._bind(volume, claim)
        else:
            message = "Two claims are bound to the same volume, this one is bound incorrectly"
            await self._lost(claim, "ClaimMisbound", message)

    async def _lost(self, claim: JsonObject, reason: str, message: str) -> None:
        if meta.status(claim).get("phase") != "Lost":
            self._tell(claim, "Warning", reason, message)
            await self._write_claim_status({**claim, "status": {**meta.status(claim), "phase": "Lost"}})

    async def _claim_phase(self, claim: JsonObject, phase: str) -> None:
        newest = self._claims.get(meta.key(claim)) or claim
        if meta.status(newest).get("phase") != phase:
            await self._write_claim_status({**newest, "status": {**meta.status(newest), "phase": phase}})

    # Binding

    async def _bind(self, volume: JsonObject, claim: JsonObject) -> None:
        volume = await self._volume_phase(await self._bind_volume(volume, claim), "Bound")
        claim = await self._bind_claim(claim, volume)
        status, spec = meta.status(claim), meta.spec(volume)
        wanted = {**status, "phase": "Bound", "accessModes": spec.get("accessModes") or []}
        if status.get("phase") != "Bound" or not status.get("capacity"):
            # Later sizes are told by whoever made the volume grow.
            wanted["capacity"] = spec.get("capacity") or {}
        if wanted != status:
            await self._write_claim_status({**claim, "status": wanted})
            log.info("bound", claim=meta.key(claim), volume=meta.name(volume))

    async def _bind_volume(self, volume: JsonObject, claim: JsonObject) -> JsonObject:
        reference = matching.claim_reference(volume)
        if reference is not None and reference.get("uid") == meta.uid(claim):
            return volume
        wanted = {
            "kind": "PersistentVolumeClaim",
            "namespace": meta.namespace(claim),
            "name": meta.name(claim),
            "uid": meta.uid(claim),
            "apiVersion": "v1",
            "resourceVersion": meta.resource_version(claim),
        }
        new = {**volume, "spec": {**meta.spec(volume), "claimRef": wanted}}
        if reference is None:
            new = _annotated(new, {storage.BOUND_BY_CONTROLLER: "yes"})
        return await self._write_volume(new)

    async def _bind_claim(self, claim: JsonObject, volume: JsonObject) -> JsonObject:
        notes = {} if storage.BIND_COMPLETED in meta.annotations(claim) else {storage.BIND_COMPLETED: "yes"}
        new = claim
        if meta.spec(claim).get("volumeName") != meta.name(volume):
            notes[storage.BOUND_BY_CONTROLLER] = "yes"
            new = {**claim, "spec": {**meta.spec(claim), "volumeName": meta.name(volume)}}
        return await self._write_claim(_annotated(new, notes)) if notes else claim

    # Volumes

    async def _sync_volume(self, volume: JsonObject) -> None:
        reference = matching.claim_reference(volume)
        if reference is None or not reference.get("uid"):
            volume = await self._volume_phase(volume, "Available")
            self._offer(volume, reference)
            return
        claim = await self._claim_of(reference, volume)
        if claim is None:
            if meta.status(volume).get("phase") not in RETAINED:
                volume = await self._volume_phase(volume, "Released")
            await self._reclaim(volume)
        elif not meta.spec(claim).get("volumeName"):
            if storage.volume_mode(claim) != storage.volume_mode(volume):
                message = (
                    f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{meta.name(claim)}" due to '
                    "incompatible volumeMode."
                )
                self._tell(volume, "Warning", "VolumeMismatch", message)
                self._tell(claim, "Warning", "VolumeMismatch", message.replace("requested ", ""))
                return
            self._claim_changed(claim)
        elif meta.spec(claim)["volumeName"] == meta.name(volume):
            await self._volume_phase(volume, "Bound")
            if not storage.is_bound(claim) or meta.status(claim).get("phase") != "Bound":
                self._claim_changed(claim)
        elif (
            storage.PROVISIONED_BY in meta.annotations(volume)
            and meta.spec(volume).get("persistentVolumeReclaimPolicy") == "Delete"
        ):
            # Made for a claim that took another volume meanwhile: nobody will ever use it.
            if meta.status(volume).get("phase") not in RETAINED:
                volume = await self._volume_phase(volume, "Released")
            await self._reclaim(volume)
        else:
            await self._unbind(volume)

    def _offer(self, volume: JsonObject, reference: JsonObject | None) -> None:
        """Who may be waiting for a free volume."""
        for claim in self.informer(CLAIMS).by_index(state.VOLUME_INDEX, meta.name(volume)):
            if not storage.is_bound(claim):
                self._claim_changed(claim)
        if reference is None:
            self._waiting(storage.volume_class(volume))
        else:
            self.queue.add(f"{CLAIM}{reference.get('namespace', '')}/{reference.get('name', '')}")

    async def _claim_of(self, reference: JsonObject, volume: JsonObject) -> JsonObject | None:
        """The very claim that a volume is bound to; None when it is gone, which only the API itself may say."""
        key = f"{reference.get('namespace', '')}/{reference.get('name', '')}"
        claim = self._claims.get(key)
        if claim is None and meta.status(volume).get("phase") in RETAINED:
            return None
        if claim is None or meta.uid(claim) != reference["uid"]:
            try:
                claim = await self.reader(CLAIMS).get(
                    str(reference.get("name", "")), namespace=str(reference.get("namespace", ""))
                )
            except ApiError as error:
                if error.code != 404:
                    raise
                return None
        return claim if meta.uid(claim) == reference["uid"] else None

    async def _reclaim(self, volume: JsonObject) -> None:
        """Only provisioners can delete; this controller has no plug-in that could, and says so."""
        policy = meta.spec(volume).get("persistentVolumeReclaimPolicy")
        if policy == "Recycle":
            await self._fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
        elif policy == "Delete" and storage.PROVISIONED_BY not in meta.annotations(volume):
            message = (
                f'error getting deleter volume plugin for volume "{meta.name(volume)}": no deletable volume plugin '
                "matched"
            )
            await self._fail(volume, "VolumeFailedDelete", message)

    async def _fail(self, volume: JsonObject, reason: str, message: str) -> None:
        if meta.status(volume).get("phase") != "Failed":
            self._tell(volume, "Warning", reason, message)
            await self._volume_phase(volume, "Failed", message)

    async def _unbind(self, volume: JsonObject) -> None:
        """Its claim took another one: free again, or kept for whom its maker named."""
        spec = dict(meta.spec(volume))
        new = {**volume, "spec": spec}
        notes = dict(meta.annotations(volume))
        if notes.pop(storage.BOUND_BY_CONTROLLER, None) is not None:
            del spec["claimRef"]
            new["metadata"] = {**meta.metadata(volume), "annotations": notes}
        else:
            spec["claimRef"] = {key: value for key, value in spec["claimRef"].items() if key != "uid"}
        await self._volume_phase(await self._write_volume(new), "Available")

    async def _volume_phase(self, volume: JsonObject, phase: str, message: str = "") -> JsonObject:
        status = meta.status(volume)
        if status.get("phase") == phase:
            return volume
        new: JsonObject = {"phase": phase, "lastPhaseTransitionTime": rfc3339(self.host.clock.now())}
        if message:
            new["message"] = message
        written = await self.writer(VOLUMES).update_status({**volume, "status": new})
        self._volumes.wrote(written)
        return written

    # Writing

    async def _write_volume(self, volume: JsonObject) -> JsonObject:
        written = await self.writer(VOLUMES).update(volume)
        self._volumes.wrote(written)
        return written

    async def _write_claim(self, claim: JsonObject) -> JsonObject:
        written = await self.writer(CLAIMS).update(claim)
        self._claims.wrote(written)
        return written

    async def _write_claim_status(self, claim: JsonObject) -> JsonObject:
        written = await self.writer(CLAIMS).update_status(claim)
        self._claims.wrote(written)
        return written

    def _tell(self, obj: JsonObject, type_: str, reason: str, message: str) -> None:
        kind = "PersistentVolumeClaim" if meta.namespace(obj) else "PersistentVolume"
        self.events.event({**obj, "apiVersion": "v1", "kind": kind}, type_, reason, message)


def _annotated(obj: JsonObject, notes: dict[str, str]) -> JsonObject:
    if not notes:
        return obj
    return {**obj, "metadata": {**meta.metadata(obj), "annotations": {**meta.annotations(obj), **notes}}}
