"""emptyDir: a folder that lives as long as the pod, on disk or in memory."""

from __future__ import annotations

import os

from argosy.objects import quantity
from node_agent import mounts
from node_agent.volumes.source import Setting


class EmptyDir:
    field = "emptyDir"
    folder = "kubernetes.io~empty-dir"

    async def set_up(self, setting: Setting) -> str:
        """`sizeLimit` bounds a Memory volume; on disk `eviction.py` watches over it."""
        source = setting.volume.get(self.field) or {}
        medium = str(source.get("medium") or "")
        if medium not in ("", "Memory"):
            raise setting.error(f"emptyDir medium {medium!r} is not supported on this node", final=True)
        limit = quantity.value(source["sizeLimit"]) if source.get("sizeLimit") else 0
        make(setting.path, setting.fs_group, in_memory=medium == "Memory", size_bytes=limit)
        return setting.path


def make(path: str, group: int | None, *, in_memory: bool, size_bytes: int) -> None:
    """Raises OSError."""
    os.makedirs(path, exist_ok=True)
    if in_memory and not os.path.ismount(path):
        mounts.tmpfs(path, size_bytes=size_bytes)
    own(path, group)


def own(path: str, group: int | None) -> None:
    """Open to every user, or to the pod's group with setgid."""
    if group is None:
        os.chmod(path, 0o777)  # noqa: S103  # any user of the pod's containers may write
    elif os.stat(path).st_gid != group or not os.stat(path).st_mode & 0o2000:
        os.chown(path, -1, group)
        os.chmod(path, 0o2777)  # noqa: S103


def disk_bytes(folder: str) -> int:
    """What a tree takes on its own disk; hard links count once, what vanishes meanwhile is passed over."""
    device = os.lstat(folder).st_dev
    seen: set[int] = set()
    total = 0
    pending = [folder]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_dev != device or status.st_ino in seen:
                continue
            if status.st_nlink > 1:
                seen.add(status.st_ino)
            total += status.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
    return total
