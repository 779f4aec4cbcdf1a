"""The volumes of a real node's pods: ROOT/pods/UID/volumes/PLUGIN/NAME, as upstream lays them out."""

from __future__ import annotations

import asyncio
import os
import posixpath
import shutil
from collections.abc import Mapping

from argosy import logs
from argosy.host import Clock
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from node_agent import mounts
from node_agent.environment import Surroundings, expand
from node_agent.machine import ObjectSource
from node_agent.runtime.runtime import Mount, Propagation
from node_agent.seams import VolumeError
from node_agent.volumes import atomic, subpath
from node_agent.volumes.empty_dir import disk_bytes
from node_agent.volumes.source import Setting, Source
from node_agent.volumes.sources import ALL
from node_agent.volumes.tokens import Tokens

log = logs.get("node_agent.volumes")

_PROPAGATIONS = {
    "": Propagation.PRIVATE,
    "None": Propagation.PRIVATE,
    "HostToContainer": Propagation.HOST_TO_CONTAINER,
    "Bidirectional": Propagation.BIDIRECTIONAL,
}
READ_ONLY_SOURCES = ("configMap", "secret", "downwardAPI", "projected")


def source_of(volume: JsonObject) -> Source:
    """Raises VolumeError for a source that this node does not have."""
    fields = [field for field in volume if field != "name"]
    if not fields:
        fields = ["emptyDir"]
    for source in ALL:
        if source.field == fields[0]:
            return source
    message = f"volume source {fields[0]} is not supported on this node"
    raise VolumeError(str(volume.get("name", "")), message, final=True)


class NodeVolumes:
    def __init__(self, root_dir: str, objects: ObjectSource, clock: Clock) -> None:
        self._pods = os.path.join(root_dir, "pods")
        self._objects = objects
        self._clock = clock
        self._tokens = Tokens(objects, clock)
        self._paths: dict[tuple[str, str], str] = {}
        """Paths on the node by pod uid and volume name."""

    async def set_up(self, pod: JsonObject, around: Surroundings) -> None:
        """A volume that was set up before keeps its contents when they cannot be renewed: the pod goes on with it."""
        stale: VolumeError | None = None
        for volume in meta.spec(pod).get("volumes") or []:
            source = source_of(volume)
            name, uid = str(volume["name"]), meta.uid(pod)
            path = os.path.join(self._pods, uid, "volumes", source.folder, name)
            if (uid, name) not in self._paths and atomic.is_written(path):
                self._paths[uid, name] = path
            setting = Setting(pod, volume, path, around, self._objects, self._tokens, self._clock)
            try:
                self._paths[uid, name] = await self._one(source, setting)
            except VolumeError as error:
                if (uid, name) not in self._paths:
                    raise
                stale = stale or VolumeError(name, error.message, quiet=error.quiet, stale=True)
        if stale is not None:
            raise stale

    async def _one(self, source: Source, setting: Setting) -> str:
        """Raises VolumeError."""
        try:
            return await source.set_up(setting)
        except ApiError as error:
            quiet = error.code in (403, 503)
            raise VolumeError(setting.name, error.message, quiet=quiet) from None
        except (OSError, ValueError) as error:
            raise VolumeError(setting.name, str(error)) from None

    def mounts(self, pod: JsonObject, container: JsonObject, env: Mapping[str, str]) -> list[Mount]:
        result: list[Mount] = []
        volumes = {str(volume["name"]): volume for volume in meta.spec(pod).get("volumes") or []}
        for index, entry in enumerate(container.get("volumeMounts") or []):
            name = str(entry["name"])
            base = self._paths.get((meta.uid(pod), name))
            if base is None or name not in volumes:
                raise VolumeError(name, f'volume "{name}" is not set up')
            source = source_of(volumes[name]).field
            written = source in READ_ONLY_SOURCES
            read_only = written or bool(entry.get("readOnly"))
            if source == "persistentVolumeClaim" and volumes[name][source].get("readOnly"):
                read_only = True
            host_path = base
            relative = self._sub_path(entry, env)
            if relative:
                host_path = self._expose(pod, container, name, index, base, relative, create=not written)
            where = str(entry["mountPath"])
            if not where.startswith("/"):
                where = posixpath.join("/", where)
            if entry.get("recursiveReadOnly") == "Enabled":
                raise VolumeError(name, "recursiveReadOnly=Enabled is not supported on this node")
            propagation = _PROPAGATIONS.get(str(entry.get("mountPropagation") or ""))
            if propagation is None:
                raise VolumeError(name, f"mountPropagation {entry.get('mountPropagation')!r} is not supported")
            result.append(Mount(where, host_path, read_only, propagation))
        if container.get("volumeDevices"):
            raise VolumeError("", "volumeDevices are not supported on this node")
        return result

    def _sub_path(self, entry: JsonObject, env: Mapping[str, str]) -> str:
        path = str(entry.get("subPath") or "")
        if entry.get("subPathExpr"):
            path = expand(str(entry["subPathExpr"]), env)
            if "$(" in path:
                raise VolumeError(str(entry["name"]), f"subPathExpr names a variable that is not set: {path}")
        if path.startswith("/") or ".." in path.split("/"):
            raise VolumeError(str(entry["name"]), f"subPath {path!r} must be relative, without '..'")
        return path

    def _expose(
        self,
        pod: JsonObject,
        container: JsonObject,
        volume: str,
        index: int,
        base: str,
        relative: str,
        *,
        create: bool,
    ) -> str:
        folder = os.path.join(self._pods, meta.uid(pod), "volume-subpaths", volume, str(container["name"]))
        target = os.path.join(folder, str(index))
        try:
            subpath.expose(base, relative, target, create=create)
        except subpath.SubPathError as error:
            raise VolumeError(volume, f"failed to prepare subPath for volumeMount: {error}") from None
        return target

    async def usage_bytes(self, pod: JsonObject) -> dict[str, int]:
        """Walks the volumes in a thread: a container may have filled them with a million files."""
        found: dict[str, int] = {}
        for volume in meta.spec(pod).get("volumes") or []:
            path = self._paths.get((meta.uid(pod), str(volume["name"])))
            if path and source_of(volume).field == "emptyDir" and not (volume.get("emptyDir") or {}).get("medium"):
                found[str(volume["name"])] = await asyncio.to_thread(disk_bytes, path)
        return found

    def refresh_s(self, pod: JsonObject) -> float | None:
        return self._tokens.renew_in_s(meta.uid(pod))

    def tear_down(self, pod_uid: str) -> None:
        self._tokens.forget(pod_uid)
        for key in [key for key in self._paths if key[0] == pod_uid]:
            del self._paths[key]
        folder = os.path.join(self._pods, pod_uid)
        if not os.path.isdir(folder):
            return
        mounts.unmount_all(folder)
        left = mounts.mounted_under(folder)
        if left:
            raise OSError(f"still mounted: {', '.join(left)}")
        for name in ("volumes", "volume-subpaths"):
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
        if not os.listdir(folder):
            os.rmdir(folder)

    def known(self) -> list[str]:
        try:
            return sorted(os.listdir(self._pods))
        except FileNotFoundError:
            return []
