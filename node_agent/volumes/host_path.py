"""hostPath: a path of the node, checked or made as its type says."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from node_agent.volumes.source import Setting

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}
_CREATED = {"DirectoryOrCreate": "Directory", "FileOrCreate": "File"}


class HostPath:
    field = "hostPath"
    folder = "kubernetes.io~host-path"

    async def set_up(self, setting: Setting) -> str:
        source = setting.volume[self.field]
        path, type_ = str(source["path"]), str(source.get("type") or "")
        if not path.startswith("/") or ".." in path.split("/"):
            raise setting.error(f"hostPath {path!r} must be absolute, without '..'", final=True)
        if type_ not in ("", *_CHECKS, *_CREATED):
            raise setting.error(f"hostPath type {type_!r} is not supported", final=True)
        complaint = provide(path, type_)
        if complaint:
            raise setting.error(complaint)
        return path


def provide(path: str, type_: str) -> str:
    """Make the path if its type says so, and check what it is; gives the complaint. Raises OSError."""
    if type_ in ("", "DirectoryOrCreate") and not os.path.lexists(path):
        os.makedirs(path, mode=0o755)
    elif type_ == "FileOrCreate" and not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    if not type_:
        return ""
    is_right, what = _CHECKS[_CREATED.get(type_, type_)]
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = 0
    return "" if is_right(mode) else f"hostPath type check failed: {path} is not {what}"
