"""The provisioner of the class `local-path`: volumes that are folders on this node's own disk.

It works as CSI's external-provisioner does in its deployment on every node: the scheduler names a node on the claim
(`volume.kubernetes.io/selected-node`), that node makes the folder and the PersistentVolume, and removes both when the
volume is released and its policy says Delete. The API server shows a node its own claims and volumes alone, and lets
it write no others (NodeRestriction).
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.events import EventRecorder
from argosy.host import Host
from argosy.informer import Informer
from argosy.objects import meta, storage
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.queue import WorkQueue, run_workers

log = logs.get("node_agent.local-path")

FINALIZER: Final = "external-provisioner.volume.kubernetes.io/finalizer"
"""Keeps a volume until its folder is removed, even when somebody deletes the PersistentVolume (KEP-2644)."""
CLAIM: Final = "claim:"
VOLUME: Final = "volume:"
MAX_NAME_CHARS: Final = 250
Aside = Callable[[Callable[[], None]], Awaitable[None]]


class Unsupported(Exception):
    """A claim or class asks for what these volumes cannot be; the message says what."""


class LocalFolder:
    """The folder that holds the volumes' folders. Nothing outside of it is ever made or removed."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path_for(self, claim: JsonObject) -> str:
        """After the claim, so that people find it; cut where a file system would."""
        name = f"pvc-{meta.uid(claim)}_{meta.namespace(claim)}_{meta.name(claim)}"
        return os.path.join(self.root, name[:MAX_NAME_CHARS])

    def make(self, path: str) -> None:
        """For any user, as emptyDir; what is there already is kept. Raises OSError."""
        os.makedirs(self.root, mode=0o755, exist_ok=True)
        self._check(path)
        if not os.path.isdir(path):
            os.mkdir(path)
            os.chmod(path, 0o777)  # noqa: S103  # any user of the pod's containers may write

    def remove(self, path: str) -> None:
        """With everything in it. Raises OSError, also for a path that is no volume's folder."""
        self._check(path)
        if os.path.lexists(path):
            shutil.rmtree(path)

    def _check(self, path: str) -> None:
        """Directly below the root, and no link that leads elsewhere."""
        folder, name = os.path.split(path)
        if folder != self.root or name in ("", ".", "..") or not name.startswith("pvc-") or os.path.islink(path):
            raise PermissionError(f"{path!r} is no folder of a volume")


def refuse(claim: JsonObject, storage_class: JsonObject) -> None:
    """Raises Unsupported."""
    spec = meta.spec(claim)
    if spec.get("selector"):
        raise Unsupported("claim.Spec.Selector is not supported")
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        raise Unsupported("claim.Spec.DataSource is not supported")
    if storage.volume_mode(claim) != "Filesystem":
        raise Unsupported("only volumes of volumeMode Filesystem are supported")
    modes = [mode for mode in spec.get("accessModes") or () if mode not in ("ReadWriteOnce", "ReadWriteOncePod")]
    if modes:
        raise Unsupported("only the access modes ReadWriteOnce and ReadWriteOncePod are supported")
    for field in ("parameters", "mountOptions"):
        if storage_class.get(field):
            names = ", ".join(sorted(storage_class[field]))
            raise Unsupported(f"{field} of a StorageClass are not supported: {names}")


def volume_for(claim: JsonObject, storage_class: JsonObject, node: str, path: str) -> JsonObject:
    spec = meta.spec(claim)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{meta.uid(claim)}",
            "annotations": {storage.PROVISIONED_BY: storage.LOCAL_PATH_PROVISIONER},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "accessModes": list(spec.get("accessModes") or ()),
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta.namespace(claim),
                "name": meta.name(claim),
                "uid": meta.uid(claim),
                "resourceVersion": meta.resource_version(claim),
            },
            "local": {"path": path},
            "nodeAffinity": storage.local_affinity(node),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": meta.name(storage_class),
            "volumeMode": "Filesystem",
        },
    }


class LocalPath:
    """`run()` makes and removes this node's volumes until it is cancelled."""

    def __init__(
        self, node: str, folder: LocalFolder, host: Host, client: Client, aside: Aside = asyncio.to_thread
    ) -> None:
        """`aside` does what may take long, such as removing a million files, beside the event loop."""
        self._node, self._folder, self._aside = node, folder, aside
        claims, volumes = (client.resource("", "v1", f"persistentvolume{end}") for end in ("claims", "s"))
        self._volumes = volumes
        self._classes = client.resource("storage.k8s.io", "v1", "storageclasses")
        self._claim_cache = Informer(claims, host, fields=f"{storage.SELECTED_NODE_FIELD}={node}")
        self._volume_cache = Informer(volumes, host, fields=f"{storage.NODE_FIELD}={node}")
        self._events = EventRecorder(client, host, storage.LOCAL_PATH_PROVISIONER, node=node)
        self._queue = WorkQueue()
        for informer, prefix in ((self._claim_cache, CLAIM), (self._volume_cache, VOLUME)):
            self._follow(informer, prefix)

    def _follow(self, informer: Informer, prefix: str) -> None:
        def enqueue(obj: JsonObject) -> None:
            self._queue.add(prefix + meta.key(obj))

        informer.add_handler(added=enqueue, updated=lambda _old, new: enqueue(new))

    async def run(self) -> None:
        jobs = (
            self._claim_cache.run(),
            self._volume_cache.run(),
            self._events.run(),
            run_workers(self._queue, self._reconcile, count=1, name="local-path"),
        )
        tasks = [asyncio.get_running_loop().create_task(job) for job in jobs]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reconcile(self, key: str) -> float | None:
        if key.startswith(VOLUME):
            volume = self._volume_cache.get(key.removeprefix(VOLUME))
            if volume is not None:
                await self._release(volume)
            return None
        claim = self._claim_cache.get(key.removeprefix(CLAIM))
        if claim is not None and self._is_wanted(claim):
            await self._provision(claim)
        return None

    def _is_wanted(self, claim: JsonObject) -> bool:
        return (
            meta.annotations(claim).get(storage.STORAGE_PROVISIONER) == storage.LOCAL_PATH_PROVISIONER
            and storage.selected_node(claim) == self._node
            and not meta.spec(claim).get("volumeName")
            and not meta.is_deleting(claim)
        )

    async def _provision(self, claim: JsonObject) -> None:
        """Raises ApiError and OSError, to be tried again."""
        space, name = meta.namespace(claim), meta.name(claim)
        self._tell(
            claim, "Normal", "Provisioning", f'External provisioner is provisioning volume for claim "{space}/{name}"'
        )
        path = self._folder.path_for(claim)
        try:
            storage_class = await self._classes.get(storage.claim_class(claim))
            refuse(claim, storage_class)
            self._folder.make(path)
            made = await self._volumes.create(volume_for(claim, storage_class, self._node, path))
        except Unsupported as error:
            self._fail(claim, str(error))
            return
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return
            self._fail(claim, error.message)
            raise
        except OSError as error:
            self._fail(claim, str(error))
            raise
        log.info("volume made", claim=meta.key(claim), path=path)
        self._tell(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {meta.name(made)}")

    def _fail(self, claim: JsonObject, why: str) -> None:
        message = f'failed to provision volume with StorageClass "{storage.claim_class(claim)}": {why}'
        self._tell(claim, "Warning", "ProvisioningFailed", message)

    async def _release(self, volume: JsonObject) -> None:
        """Remove what is released and not to be kept. Raises ApiError and OSError, to be tried again."""
        spec, name = meta.spec(volume), meta.name(volume)
        if spec.get("persistentVolumeReclaimPolicy") != "Delete":
            if meta.is_deleting(volume) and meta.status(volume).get("phase") != "Bound":
                await self._let_go(volume)  # its data stay, as they must
            return
        if meta.status(volume).get("phase") not in ("Released", "Failed"):
            return
        path = str((spec.get("local") or {}).get("path", ""))
        try:
            await self._aside(lambda: self._folder.remove(path))
        except OSError as error:
            self._events.event(_referable(volume, "PersistentVolume"), "Warning", "VolumeFailedDelete", str(error))
            raise
        log.info("volume removed", volume=name, path=path)
        try:
            if not meta.is_deleting(volume):
                await self._volumes.delete(name, uid=meta.uid(volume))
                volume = await self._volumes.get(name)
            await self._let_go(volume)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _let_go(self, volume: JsonObject) -> None:
        kept = [each for each in meta.finalizers(volume) if each != FINALIZER]
        if kept != meta.finalizers(volume):
            await self._volumes.update({**volume, "metadata": {**meta.metadata(volume), "finalizers": kept}})

    def _tell(self, claim: JsonObject, type_: str, reason: str, message: str) -> None:
        self._events.event(_referable(claim, "PersistentVolumeClaim"), type_, reason, message)


def _referable(obj: JsonObject, kind: str) -> JsonObject:
    """Lists leave apiVersion and kind out of their items."""
    return {**obj, "apiVersion": "v1", "kind": kind}
