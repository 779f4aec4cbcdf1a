"""Control groups of nodes, v1 (also hybrid) and v2: made with their limits, found by processes, removed to the last.

A node's group holds all it runs and carries its declared CPU and memory; the node sees it as the root of its
hierarchies (a cgroup namespace), so that what runs inside needs to know nothing of where it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import Final

ROOT: Final = "/sys/fs/cgroup"
PERIOD_US: Final = 100_000
MAX_DEPTH: Final = 32


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy: where, and with which options a further mount of it is made."""

    path: str
    version: int
    options: str
    """Version 1: the controllers as mount options, such as `cpu,cpuacct` or `none,name=systemd`."""


def hierarchies(mounts: str | None = None) -> list[Hierarchy]:
    """Those below /sys/fs/cgroup; `mounts` is the text of /proc/self/mounts (tests hand in another's)."""
    if mounts is None:
        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounts = file.read()
    found: dict[str, Hierarchy] = {}
    for line in mounts.splitlines():
        _, path, kind, options = line.split()[:4]
        if not (path == ROOT or path.startswith(ROOT + "/")):
            continue
        if kind == "cgroup2":
            found[path] = Hierarchy(path, 2, "")
        elif kind == "cgroup":
            known = {"rw", "ro", "nosuid", "nodev", "noexec", "relatime", "seclabel", "xattr", "clone_children"}
            wanted = [
                item for item in options.split(",") if item not in known and not item.startswith("release_agent")
            ]
            named = [item for item in wanted if item.startswith("name=")]
            found[path] = Hierarchy(path, 1, ",".join(["none", *named] if named else wanted))
    return [found[path] for path in sorted(found)]


def is_unified(found: list[Hierarchy]) -> bool:
    """Version 2 alone; a hybrid machine's controllers are on version 1."""
    return any(item.version == 2 and item.path == ROOT for item in found)


def usable(found: list[Hierarchy]) -> list[Hierarchy]:
    """Those that nodes get: on a hybrid machine all but the one of version 2, which crun refuses to see."""
    if is_unified(found):
        return [item for item in found if item.path == ROOT]
    return [item for item in found if item.version == 1]


def make(group: str, *, cpus: float, memory_bytes: int) -> list[str]:
    """Make a group (a path below the root) in every hierarchy, with its limits; gives the folders. Raises OSError.

    `cpus` of 0 or at least the machine's, and `memory_bytes` of 0, are no limit: with one, a container's own
    larger quota would be refused by version 1.
    """
    found = hierarchies()
    folders = []
    for item in usable(found):
        folder = item.path
        for part in group.split("/"):
            if item.version == 2:
                _delegate(folder)
            parent, folder = folder, f"{folder}/{part}"
            # Nodes that start at once make their cluster's group together.
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            if item.version == 1 and "cpuset" in item.options.split(","):
                _copy_cpuset(parent, folder)
        folders.append(folder)
        _limit(item, folder, cpus, memory_bytes)
    return folders


def pids(group: str) -> list[int]:
    """Every process in a group or below it, in any hierarchy."""
    result: set[int] = set()
    for item in hierarchies():
        for folder, _, _ in os.walk(f"{item.path}/{group}"):
            with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", encoding="ascii") as file:
                result.update(int(line) for line in file if line.strip() != "0")
    return sorted(result)


def kill(group: str) -> int:
    """SIGKILL to every process of a group; gives how many there were."""
    found = pids(group)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def remove(group: str) -> bool:
    """Remove a group and all below it from every hierarchy; False when something in it still runs."""
    clean = True
    for item in hierarchies():
        top = f"{item.path}/{group}"
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                clean = False
    parent = os.path.dirname(group)
    if clean and parent:
        for item in hierarchies():
            with contextlib.suppress(OSError):
                os.rmdir(f"{item.path}/{parent}")
    return clean


def children(group: str) -> list[str]:
    """Names of the groups right below one, in any hierarchy."""
    result: set[str] = set()
    for item in hierarchies():
        with contextlib.suppress(OSError), os.scandir(f"{item.path}/{group}") as entries:
            result.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return sorted(result)


def _delegate(folder: str) -> None:
    """Version 2: hand every controller of a folder down to its children."""
    with open(f"{folder}/cgroup.controllers", encoding="ascii") as file:
        controllers = file.read().split()
    for controller in controllers:
        with contextlib.suppress(OSError), open(f"{folder}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write(f"+{controller}")


def _copy_cpuset(parent: str, folder: str) -> None:
    """Version 1: a new cpuset is empty, and holds no process until it has CPUs and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        with open(f"{folder}/{name}", encoding="ascii") as file:
            if file.read().strip():
                continue
        with open(f"{parent}/{name}", encoding="ascii") as source, open(f"{folder}/{name}", "w") as target:
            target.write(source.read())


def _limit(item: Hierarchy, folder: str, cpus: float, memory_bytes: int) -> None:
    whole = os.cpu_count() or 1
    limits: dict[str, str] = {}
    quota = int(cpus * PERIOD_US) if 0 < cpus < whole else 0
    if item.version == 2:
        limits["cpu.max"] = f"{quota} {PERIOD_US}" if quota else "max"
        limits["memory.max"] = str(memory_bytes) if memory_bytes else "max"
    else:
        controllers = item.options.split(",")
        if "cpu" in controllers:
            limits["cpu.cfs_quota_us"] = str(quota) if quota else "-1"
        if "memory" in controllers:
            limits["memory.limit_in_bytes"] = str(memory_bytes) if memory_bytes else "-1"
    for name, value in limits.items():
        try:
            with open(f"{folder}/{name}", "w", encoding="ascii") as file:
                file.write(value)
        except FileNotFoundError:
            # A kernel without bandwidth control or swap accounting: the node is declared but not enforced.
            continue
