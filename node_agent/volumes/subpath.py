"""subPath: a part of a volume, found without following a container's links out of it.

A container may change its volume while the path is being resolved, so the path is opened step by step without
following links, and the open file is what gets bind-mounted (upstream pkg/volume/util/subpath, CVE-2017-1002101).
"""

from __future__ import annotations

import os
import stat

from node_agent import mounts

MAX_LINKS = 40


class SubPathError(Exception):
    """The path is no part of the volume, or cannot be made."""


def open_inside(base: str, relative: str, *, create: bool) -> int:
    """An O_PATH descriptor of `relative` under `base`; missing folders are made if `create`. Raises SubPathError.

    Links are followed by hand, and only while they stay inside: ConfigMap volumes are made of them.
    """
    root = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack = [root]
    pending = [part for part in relative.split("/") if part not in ("", ".")][::-1]
    links = 0
    try:
        while pending:
            part = pending.pop()
            if part == "..":
                if len(stack) == 1:
                    raise SubPathError(f"subPath {relative!r} leads out of the volume")
                os.close(stack.pop())
                continue
            step = _step(stack[-1], part, relative, create=create)
            if stat.S_ISLNK(os.fstat(step).st_mode):
                target = os.readlink("", dir_fd=step)
                os.close(step)
                links += 1
                if target.startswith("/") or links > MAX_LINKS:
                    raise SubPathError(f"subPath {relative!r} leads out of the volume")
                pending.extend([word for word in target.split("/") if word not in ("", ".")][::-1])
                continue
            stack.append(step)
        found = stack.pop()
        if found == root:
            return found
        return found
    except OSError as error:
        raise SubPathError(f"subPath {relative!r}: {error.strerror}") from None
    finally:
        for descriptor in stack:
            os.close(descriptor)


def _step(folder: int, part: str, relative: str, *, create: bool) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(part, flags, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise SubPathError(f"subPath {relative!r} does not exist") from None
    try:
        os.mkdir(part, 0o750, dir_fd=folder)
    except FileExistsError:
        pass
    made = os.open(part, flags, dir_fd=folder)
    real = os.stat(folder)
    os.chmod(f"/proc/self/fd/{made}", stat.S_IMODE(real.st_mode))
    os.chown(f"/proc/self/fd/{made}", -1, real.st_gid)
    return made


def expose(base: str, relative: str, target: str, *, create: bool) -> None:
    """Bind-mount `relative` of the volume at `target`. Raises SubPathError, OSError."""
    descriptor = open_inside(base, relative, create=create)
    try:
        os.makedirs(os.path.dirname(target), mode=0o750, exist_ok=True)
        if os.path.ismount(target) or _is_mounted_file(target):
            mounts.unmount(target)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if os.path.isfile(target):
                os.unlink(target)
            os.makedirs(target, mode=0o750, exist_ok=True)
        elif not os.path.isfile(target):
            if os.path.isdir(target):
                os.rmdir(target)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o640))
        mounts.bind(f"/proc/self/fd/{descriptor}", target)
    finally:
        os.close(descriptor)


def _is_mounted_file(target: str) -> bool:
    return target in mounts.mounted_under(os.path.dirname(target))
