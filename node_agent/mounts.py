"""mount(2) and umount2(2): no process is forked beside gRPC to mount a tmpfs."""

from __future__ import annotations

import ctypes
import os

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, path: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def tmpfs(path: str, *, size_bytes: int = 0, mode: int = 0o777) -> None:
    """Mount an empty tmpfs on a folder. Raises OSError."""
    options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes else "")
    _check(_libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", MS_NOSUID | MS_NODEV, options.encode()), path)


def bind(source: str, target: str) -> None:
    """Raises OSError."""
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND | MS_REC, None), target)


def unmount(path: str) -> None:
    """Detach a mount, busy or not. Raises OSError."""
    _check(_libc.umount2(os.fsencode(path), MNT_DETACH), path)


def mounted_under(folder: str) -> list[str]:
    """Mount points inside `folder`, deepest first."""
    prefix = os.path.realpath(folder).rstrip("/") + "/"
    with open("/proc/self/mountinfo", "rb") as file:
        points = [line.split(b" ")[4] for line in file]
    names = [os.fsdecode(point.decode("unicode_escape").encode("latin-1")) for point in points]
    return sorted((name for name in names if name.startswith(prefix)), key=len, reverse=True)


def unmount_all(folder: str) -> None:
    """Everything mounted inside `folder`. Raises OSError."""
    for point in mounted_under(folder):
        unmount(point)
