"""File systems of their own for nodes and store members: a file, a loop device, ext4.

So a disk is as large as it is said to be, fills up alone, and tells how full it is; without one, a part's data is in
a folder of the machine's disk. The supervisor mounts them before it starts what is on them; `deploy.cleanup` unmounts
them.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from deploy import netns
from deploy.layout import Layout

LEAST_BYTES: Final = 64 << 20


def of_node(layout: Layout, name: str) -> str:
    """The folder that is a node's /var."""
    return f"{layout.node(name)}/var"


def of_store(layout: Layout, name: str) -> str:
    return layout.store(name)


def is_own(folder: str) -> bool:
    """Whether something is mounted on it."""
    return os.path.ismount(folder)


def ensure(folder: str, size_bytes: int) -> None:
    """`folder` is a file system of that size, which outlives a reboot. Raises CommandError, OSError."""
    os.makedirs(folder, mode=0o755, exist_ok=True)
    if not size_bytes or is_own(folder):
        return
    image = folder + ".disk"
    if not os.path.exists(image):
        with open(image + ".new", "wb") as file:
            file.truncate(size_bytes)
        # Nothing is kept back for root: everything on a node is root's, and a full disk is to be full.
        netns.tool(
            ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", image + ".new"]
        )
        os.rename(image + ".new", image)
    netns.tool(["mount", "-o", "loop,noatime", image, folder])
    with contextlib.suppress(OSError):
        os.rmdir(f"{folder}/lost+found")


def release(folder: str) -> None:
    """Unmount it, at the latest when its last user ends, and forget what was on it. Raises OSError."""
    if is_own(folder):
        with contextlib.suppress(netns.CommandError):
            netns.tool(["umount", "--lazy", folder])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder + ".disk")
