"""The cgroups of pods, on v1, hybrid and v2 machines alike.

    ROOT/kubepods/pod<UID>                 Guaranteed
    ROOT/kubepods/burstable/pod<UID>
    ROOT/kubepods/besteffort/pod<UID>

The runtime makes the containers' groups below these and never removes a parent, so that is done here, in every
hierarchy. What the node as a whole may use is set by whoever made ROOT.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from argosy import logs
from argosy.objects.pod_qos import BEST_EFFORT, BURSTABLE, GUARANTEED
from node_agent.resources import PERIOD_US, PodLimits, cpu_shares

log = logs.get("node_agent.cgroups")

MOUNTINFO = "/proc/self/mountinfo"
_QOS_FOLDERS = {GUARANTEED: "", BURSTABLE: "burstable", BEST_EFFORT: "besteffort"}
_CONTROLLERS = ("cpu", "memory", "pids", "cpuset", "io")


def hierarchies(mountinfo: str) -> tuple[dict[str, str], bool]:
    """({controller: mount point}, whether this is pure cgroup v2). `unified` is v2's, `name=…` are named ones."""
    found: dict[str, str] = {}
    unified = ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or not kind:
            continue
        if kind[0] == "cgroup":
            for option in kind[2].split(","):
                if option in ("rw", "ro"):
                    continue
                found.setdefault(option, fields[4])
        elif kind[0] == "cgroup2":
            unified = fields[4]
    if unified:
        found["unified"] = unified
    return found, bool(unified) and "memory" not in found and "cpu" not in found


@dataclass(frozen=True)
class NodeUsage:
    """What everything on the node uses."""

    cpu_nanoseconds: int
    """Since the node's start."""
    working_set_bytes: int
    """Memory that cannot be had back by dropping caches."""


class NodeCgroups:
    def __init__(self, root: str, mountinfo: str | None = None) -> None:
        """`mountinfo` is the text of /proc/self/mountinfo, by default the real one. Raises OSError."""
        if mountinfo is None:
            with open(MOUNTINFO, encoding="utf-8") as file:
                mountinfo = file.read()
        self._mounts, self.is_v2 = hierarchies(mountinfo)
        self._root = "/" + root.strip("/") if root.strip("/") else ""
        self._base = f"{self._root}/kubepods"
        self._made: dict[str, PodLimits] = {}
        self._weights: dict[str, int] = {}

    def parent(self, pod_uid: str, qos: str) -> str:
        return "/".join(part for part in (self._base, _QOS_FOLDERS[qos], f"pod{pod_uid}") if part)

    def make(self, pod_uid: str, qos: str, limits: PodLimits) -> None:
        if self._made.get(pod_uid) == limits:
            return
        path = self.parent(pod_uid, qos)
        if self.is_v2:
            self._make_v2(path, limits)
        else:
            self._make_v1(path, limits)
        self._made[pod_uid] = limits

    def memory_bytes(self, pod_uid: str, qos: str, container_id: str = "") -> int:
        """What a pod, or one of its containers, uses now, caches too. Raises OSError, ValueError."""
        mount, file = ("unified", "memory.current") if self.is_v2 else ("memory", "memory.usage_in_bytes")
        return _number(os.path.join(self._mounts[mount] + self.parent(pod_uid, qos), container_id, file))

    def weigh(self, burstable_milli: int) -> None:
        """Give the QoS classes their weights; best effort pods get what the others leave."""
        mount = self._mounts.get("unified" if self.is_v2 else "cpu")
        if mount is None:
            return
        for qos, milli in ((BURSTABLE, burstable_milli), (BEST_EFFORT, 0)):
            shares = cpu_shares(milli)
            folder = f"{mount}{self._base}/{_QOS_FOLDERS[qos]}"
            if self._weights.get(qos) == shares or not os.path.isdir(folder):
                continue
            if self.is_v2:
                _write(folder, "cpu.weight", _weight(shares))
            else:
                _write(folder, "cpu.shares", shares)
            self._weights[qos] = shares

    def remove(self, pod_uid: str) -> None:
        self._made.pop(pod_uid, None)
        for mount in dict.fromkeys(self._mounts.values()):
            for qos in _QOS_FOLDERS:
                _remove_tree(mount + self.parent(pod_uid, qos))

    def usage(self) -> NodeUsage:
        """Of the whole node: the group that the pods' groups are in. Raises OSError, ValueError.

        On a v2 machine whose root group is the node's, the kernel has no memory.current there; /proc says it.
        """
        if self.is_v2:
            folder = self._mounts["unified"] + self._root
            cpu = _pairs(f"{folder}/cpu.stat")["usage_usec"] * 1000
            if not os.path.exists(f"{folder}/memory.current"):
                return NodeUsage(cpu, _used_of_machine())
            return NodeUsage(cpu, _working_set(folder, "memory.current", "inactive_file"))
        cpu = _number(f"{self._mounts['cpuacct']}{self._root}/cpuacct.usage")
        memory = self._mounts["memory"] + self._root
        return NodeUsage(cpu, _working_set(memory, "memory.usage_in_bytes", "total_inactive_file"))

    def known(self) -> list[str]:
        uids: dict[str, None] = {}
        for mount in dict.fromkeys(self._mounts.values()):
            for folder in _QOS_FOLDERS.values():
                try:
                    names = os.listdir(os.path.join(mount + self._base, folder))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                uids.update((name[3:], None) for name in names if name.startswith("pod") and len(name) > 3)
        return list(uids)

    def _make_v1(self, path: str, limits: PodLimits) -> None:
        for controller in ("cpu", "memory", "pids"):
            mount = self._mounts.get(controller)
            if mount is None:
                continue
            folder = mount + path
            os.makedirs(folder, exist_ok=True)
            if controller == "cpu":
                _write(folder, "cpu.shares", limits.cpu_shares)
                if limits.cpu_quota_us:
                    _write(folder, "cpu.cfs_period_us", PERIOD_US)
                _write(folder, "cpu.cfs_quota_us", limits.cpu_quota_us or -1)
            elif controller == "memory":
                _write(folder, "memory.limit_in_bytes", limits.memory_limit_bytes or -1)

    def _make_v2(self, path: str, limits: PodLimits) -> None:
        mount = self._mounts["unified"]
        folder = mount + path
        os.makedirs(folder, exist_ok=True)
        self._enable(mount, os.path.dirname(path))
        _write(folder, "cpu.weight", _weight(limits.cpu_shares))
        _write(folder, "cpu.max", f"{limits.cpu_quota_us or 'max'} {PERIOD_US}")
        _write(folder, "memory.max", limits.memory_limit_bytes or "max")

    def _enable(self, mount: str, path: str) -> None:
        """Hand the controllers down to where pods are."""
        steps = [part for part in path.split("/") if part]
        for depth in range(len(steps) + 1):
            folder = "/".join((mount, *steps[:depth]))
            for controller in _CONTROLLERS:
                try:
                    _write(folder, "cgroup.subtree_control", f"+{controller}")
                except OSError as error:
                    log.debug("controller is not handed down", folder=folder, controller=controller, error=error)


def _working_set(folder: str, usage: str, inactive: str) -> int:
    return max(0, _number(f"{folder}/{usage}") - _pairs(f"{folder}/memory.stat").get(inactive, 0))


def _used_of_machine() -> int:
    found = _pairs("/proc/meminfo")
    return (found["MemTotal:"] - found["MemAvailable:"]) << 10


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _pairs(path: str) -> dict[str, int]:
    """The `name number …` lines of a file."""
    with open(path, encoding="ascii") as file:
        lines = [line.split() for line in file]
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def _weight(shares: int) -> int:
    """cpu.shares (2…262144) as cpu.weight (1…10000), as runc converts it."""
    return 1 + (shares - 2) * 9999 // 262142


def _write(folder: str, name: str, value: object) -> None:
    with open(os.path.join(folder, name), "w", encoding="ascii") as file:
        file.write(str(value))


def _remove_tree(folder: str) -> None:
    """rmdir from the leaves up; a group that still has processes is an error."""
    if not os.path.isdir(folder):
        return
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                continue
            raise
