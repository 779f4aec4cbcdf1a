"""A disk without room.

A node or store member with a file system of its own (`argosy up --node-disk 4Gi --store-disk 1Gi`) gets a file there
that takes what is free: everything that writes to that disk meets ENOSPC, and statvfs tells. A store member without
one is told by its Disk seam that there is no room; a node without one is refused, as the disk is the machine's.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Final

from deploy import disks
from deploy.chaos import controls
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import NODE, Site

FILE: Final = ".argosy-chaos-fill"
CHUNK_BYTES: Final = 1 << 20


class FillDisk:
    """Settings: `percent` of the disk that is in use then."""

    name = controls.FILL_DISK

    def check(self, site: Site, fault: Fault) -> Fault:
        percent = float(fault.settings.get("percent") or 100.0)
        if not 0 < percent <= 100:
            raise FaultError(f"a disk {percent:g} % full: up to 100")
        filled: list[str] = []
        controlled: list[str] = []
        for target in fault.targets:
            found = site.component(target)
            if found.make == NODE:
                folder = disks.of_node(site.layout, found.name)
                if not disks.is_own(folder):
                    raise FaultError(
                        f"{found.name} shares this machine's disk, which is not filled for it; "
                        "`argosy up --node-disk 4Gi` gives each node one of its own"
                    )
                filled.append(folder)
                continue
            controls.disked(site, target)
            folder = disks.of_store(site.layout, found.name)
            if disks.is_own(folder):
                filled.append(folder)
            elif percent < 100:
                raise FaultError(f"{found.name} has no disk of its own (--store-disk) that could be partly full")
            else:
                controlled.append(found.name)
        if not filled and not controlled:
            raise FaultError("whose disk is to be full?")
        return replace(fault, settings={"percent": percent, "filled": filled, "controlled": controlled})

    def lasts(self, fault: Fault) -> bool:
        return True

    def describe(self, fault: Fault) -> str:
        return f"{words(fault.targets)}: disk {fault.settings['percent']:g} % full"

    def steps(self, site: Site, fault: Fault) -> list[str]:
        result = []
        for folder in fault.settings["filled"]:
            wanted = room(folder, fault.settings["percent"])
            result.append(f"make {folder}/{FILE}-… of {wanted >> 20} MiB")
        return result + [f"write {site.layout.controls(name)}.ctl" for name in fault.settings["controlled"]]

    def apply(self, site: Site, fault: Fault) -> None:
        controls.sync(site, fault.settings["controlled"])
        for folder in fault.settings["filled"]:
            fill(f"{folder}/{FILE}-{fault.id}", room(folder, fault.settings["percent"]))

    def heal(self, site: Site, fault: Fault) -> None:
        controls.sync(site, fault.settings["controlled"])
        for folder in fault.settings["filled"]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/{FILE}-{fault.id}")


def room(folder: str, percent: float) -> int:
    """Bytes to take so that a file system is `percent` full."""
    stat = os.statvfs(folder)
    left = int(stat.f_blocks * (100 - percent) / 100)
    return max(0, stat.f_bavail - left) * stat.f_frsize


def fill(path: str, size_bytes: int) -> None:
    """A file of that size, all of it allocated, or as large as the disk lets it be. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        done, step = 0, size_bytes
        # A file's own bookkeeping takes room too: what does not fit in one piece is taken in smaller ones.
        while done < size_bytes and step >= 4096:
            step = min(step, size_bytes - done)
            try:
                os.posix_fallocate(fd, done, step)
                done += step
            except OSError:
                done, step = os.fstat(fd).st_size, step // 2
        os.fsync(fd)
    finally:
        os.close(fd)
