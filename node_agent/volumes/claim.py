"""persistentVolumeClaim and ephemeral: the volume that a claim is bound to, where it is on this node.

Upstream: the kubelet's desired_state_of_world_populator (which claims a pod may use) and the volume plug-ins `local`
and `host_path`. The volume's own path is given to the containers: nothing is mounted in the pod's folder, so that
removing that folder can never reach the data.
"""

from __future__ import annotations

import asyncio
import os
import stat

from argosy.objects import meta, storage
from argosy.objects.types import JsonObject
from argosy.scheduling import volumes as matching
from node_agent.volumes.host_path import provide
from node_agent.volumes.source import Setting


class _Claimed:
    """What both sources do."""

    folder = "kubernetes.io~local-volume"

    async def _path(self, setting: Setting, name: str, *, own: bool) -> str:
        """`own`: the claim must have been made for this very pod."""
        space = meta.namespace(setting.pod)
        claim = await setting.objects.claim(space, name)
        if claim is None:
            raise setting.error(f'error processing PVC {space}/{name}: persistentvolumeclaim "{name}" not found')
        problem = _unusable(claim, setting.pod, own=own)
        if problem:
            raise setting.error(f"error processing PVC {space}/{name}: {problem}")
        volume = await setting.objects.volume(str(meta.spec(claim)["volumeName"]))
        if volume is None or not matching.is_bound_to(volume, claim):
            volume_name = meta.spec(claim)["volumeName"]
            raise setting.error(f'error processing PVC {space}/{name}: PV "{volume_name}" is not bound to it')
        return await self._provide(setting, volume)

    async def _provide(self, setting: Setting, volume: JsonObject) -> str:
        spec, name = meta.spec(volume), meta.name(volume)
        if spec.get("volumeMode") == "Block":
            raise setting.error("volumeMode Block is not supported on this node", final=True)
        if spec.get("mountOptions"):
            raise setting.error(
                f"mountOptions of PersistentVolume {name!r} are not supported on this node", final=True
            )
        labels = setting.objects.node_labels()
        node = matching.NodeView(labels.get(storage.HOSTNAME, ""), labels)
        if not matching.node_fits(volume, node):
            raise setting.error(f'MountVolume.NodeAffinity check failed for volume "{name}": no matching node')
        (kind,) = storage.source_names(spec) or ("",)
        if kind == "hostPath":
            path = str(spec[kind].get("path", ""))
            complaint = _outside(path) or provide(path, str(spec[kind].get("type") or ""))
        elif kind == "local":
            path = str(spec[kind].get("path", ""))
            complaint = _outside(path) or _missing(path)
        else:
            what = f"volume source {kind} of PersistentVolume {name!r}"
            raise setting.error(f"{what} is not supported on this node", final=True)
        if complaint:
            raise setting.error(complaint)
        if kind == "local" and setting.fs_group is not None:
            await asyncio.to_thread(own_tree, path, setting.fs_group, _change_policy(setting.pod))
        return path


class PersistentVolumeClaim(_Claimed):
    field = "persistentVolumeClaim"

    async def set_up(self, setting: Setting) -> str:
        return await self._path(setting, str(setting.volume[self.field].get("claimName", "")), own=False)


class Ephemeral(_Claimed):
    field = "ephemeral"

    async def set_up(self, setting: Setting) -> str:
        name = storage.ephemeral_claim_name(setting.pod, setting.volume)
        return await self._path(setting, name, own=True)


def _unusable(claim: JsonObject, pod: JsonObject, *, own: bool) -> str:
    """Why a pod may not use a claim. One whose containers run already goes on with a claim that is being deleted."""
    if own and not storage.is_owned_by(claim, pod):
        return f"PVC {meta.key(claim)} was not created for pod {meta.key(pod)} (pod is not owner)"
    started = any(item.get("containerID") for item in meta.status(pod).get("containerStatuses") or ())
    if meta.is_deleting(claim) and not started:
        return "PVC is being deleted"
    if meta.status(claim).get("phase") != "Bound" or not meta.spec(claim).get("volumeName"):
        return "PVC is not bound"
    return ""


def _outside(path: str) -> str:
    return (
        ""
        if path.startswith("/") and ".." not in path.split("/")
        else f"path {path!r} must be absolute, without '..'"
    )


def _missing(path: str) -> str:
    return "" if os.path.isdir(path) else f'path "{path}" does not exist'


def _change_policy(pod: JsonObject) -> str:
    return str((meta.spec(pod).get("securityContext") or {}).get("fsGroupChangePolicy") or "Always")


def _is_owned(status: os.stat_result, group: int) -> bool:
    return status.st_gid == group and status.st_mode & 0o2070 == 0o2070


def own_tree(path: str, group: int, policy: str) -> None:
    """Give a tree to a group, which may then read and write all of it (upstream `SetVolumeOwnership`).

    Links are not followed: a container may have made them. Raises OSError.
    """
    if policy == "OnRootMismatch" and _is_owned(os.stat(path), group):
        return
    for folder, names, files, descriptor in os.fwalk(path, follow_symlinks=False):
        del folder, names
        for name in files:
            _own(name, group, descriptor)
        status = os.fstat(descriptor)
        if not _is_owned(status, group):
            os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) | 0o2770)


def _own(name: str, group: int, folder: int) -> None:
    """A file, or a link, which has no mode of its own; what vanished meanwhile is passed over."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if status.st_gid != group:
            os.chown(name, -1, group, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o060 != 0o060:
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IMODE(status.st_mode) | 0o660)
            finally:
                os.close(descriptor)
    except FileNotFoundError:
        return
