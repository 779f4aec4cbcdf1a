"""Removes a cluster to the last trace but its logs, whatever state it is in and whoever of it has died.

Nothing here relies on the supervisor or on files being whole: processes are found by what they are in (namespaces,
control groups), what they are (command line, where they log to) and what was written down.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable

from deploy import cgroups, children, netns
from deploy.layout import Layout
from deploy.network import every_network

KILL_TIMEOUT_S = 10.0
POLL_S = 0.01


class CleanupError(Exception):
    """Something could not be removed; the message names it."""


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll `condition`; gives its last value."""
    from argosy.host import RealClock

    clock, pause = RealClock(), threading.Event()
    deadline_s = clock.monotonic() + timeout_s
    while not condition():
        if clock.monotonic() >= deadline_s:
            return False
        pause.wait(POLL_S)
    return True


def processes(layout: Layout) -> list[int]:
    """Every process of a cluster that runs now."""
    namespaces = set()
    for path in _namespaces(layout):
        with contextlib.suppress(OSError):
            namespaces.add(os.stat(path).st_ino)
    found = set(cgroups.pids(layout.cgroup)) | _written_down(layout)
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _belongs(int(entry), layout, namespaces):
            found.add(int(entry))
    found.discard(os.getpid())
    return sorted(found)


def remove(layout: Layout) -> None:
    """Kill what runs, then remove namespaces, control groups, mounts and files. Raises CleanupError.

    The configuration goes first: what an interrupted removal leaves is leftovers, not a cluster.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(layout.config_file)

    def gone() -> bool:
        left = processes(layout)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    if not wait_until(gone, KILL_TIMEOUT_S):
        raise CleanupError(f"processes do not end: {', '.join(str(pid) for pid in processes(layout))}")
    for network in every_network(layout):
        try:
            network.remove()
        except (netns.CommandError, OSError) as error:
            raise CleanupError(f"the network cannot be cleaned: {error}") from None
    if not wait_until(lambda: cgroups.remove(layout.cgroup), KILL_TIMEOUT_S):
        raise CleanupError(f"control group {layout.cgroup} is still in use")
    for path in mounts_below((layout.state, layout.run)):
        with contextlib.suppress(netns.CommandError):
            netns.tool(["umount", "--lazy", path])
    for folder in (layout.run, layout.state):
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.exists(folder):
            raise CleanupError(f"{folder} cannot be removed")
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(folder))


def exists(layout: Layout) -> bool:
    """Whether anything of the cluster is there."""
    return (
        os.path.exists(layout.state)
        or os.path.exists(layout.run)
        or bool(_namespaces(layout))
        or bool(processes(layout))
    )


def _namespaces(layout: Layout) -> list[str]:
    return [path for network in every_network(layout) for path in network.namespaces()]


def mounts_below(folders: tuple[str, ...]) -> list[str]:
    """Mount points below folders, deepest first."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            path = line.split()[4].encode().decode("unicode_escape")
            if any(path == folder or path.startswith(folder + "/") for folder in folders):
                found.append(path)
    return sorted(found, reverse=True)


def _written_down(layout: Layout) -> set[int]:
    """Children that a supervisor noted and that are still the same processes."""
    try:
        with open(layout.children_file, encoding="utf-8") as file:
            read = json.load(file)
        return {int(item["pid"]) for item in read.values() if children.start_ticks(item["pid"]) == item["ticks"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _belongs(pid: int, layout: Layout, namespaces: set[int]) -> bool:
    """In one of the cluster's network namespaces, or its supervisor, uplink or another process by command line."""
    if children.start_ticks(pid) == 0:
        return False
    with contextlib.suppress(OSError):
        if os.stat(f"/proc/{pid}/ns/net").st_ino in namespaces:
            return True
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read().decode(errors="replace").split("\0")
    except OSError:
        return False
    if "deploy.supervisor" in line and "--name" in line:
        return line[line.index("--name") + 1 : line.index("--name") + 2] == [layout.name]
    if "--log-file" in line and line[line.index("--log-file") + 1].startswith(layout.logs + "/"):
        return True
    return os.path.basename(line[0]) == "slirp4netns" and layout.namespace_path("lan") in line
