"""What a real machine says of itself: size, identity, shortages; and whether it has booted since."""

from __future__ import annotations

import os
import platform

from node_agent.cgroups import NodeCgroups
from node_agent.config import Config
from node_agent.node_status import Capacity, Level, SystemInfo, architecture
from node_agent.pressure import IMAGEFS, IMAGEFS_INODES, MEMORY, NODEFS, NODEFS_INODES, PIDS


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(64 << 10)
    except OSError:
        return ""


def boot_id() -> str:
    """Differs after every start of the node: the kernel's boot id and the start of this pid namespace's init.

    A node that is a namespace of a machine boots when its PID 1 starts.
    """
    kernel = _read("/proc/sys/kernel/random/boot_id").strip()
    stat = _read("/proc/1/stat")
    fields = stat[stat.rfind(")") + 2 :].split()
    started = fields[19] if len(fields) > 19 else "0"
    return f"{kernel}-{started}" if kernel else started


def meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    result: dict[str, int] = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            result[name] = int(words[0]) * 1024
    return result


class MachineFacts:
    def __init__(self, config: Config, cgroups: NodeCgroups) -> None:
        self._config = config
        self._cgroups = cgroups
        self._system = SystemInfo(
            machine_id=_read("/etc/machine-id").strip(),
            system_uuid=_read("/sys/class/dmi/id/product_uuid").strip() or _read("/etc/machine-id").strip(),
            boot_id=boot_id(),
            kernel=platform.release(),
            os_image=_pretty_name(_read("/etc/os-release")),
            architecture=architecture(),
        )

    def capacity(self) -> Capacity:
        cpus = float(len(os.sched_getaffinity(0)))
        stat = os.statvfs(self._existing(self._config.root_dir))
        return Capacity(cpus, meminfo().get("MemTotal", 0), stat.f_blocks * stat.f_frsize)

    def signals(self) -> dict[str, Level]:
        root, images = self._existing(self._config.root_dir), self._existing(self._config.image_dir)
        found = {MEMORY: self._memory(), PIDS: _free_pids()}
        for path, room, inodes in ((root, NODEFS, NODEFS_INODES), (images, IMAGEFS, IMAGEFS_INODES)):
            stat = os.statvfs(path)
            found[room] = Level(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)
            if stat.f_files:
                # Some file systems make inodes as they are needed, and tell of none.
                found[inodes] = Level(stat.f_favail, stat.f_files)
        return found

    def _memory(self) -> Level:
        """What the node's group may still take; of a machine without groups, what the kernel says."""
        machine = meminfo()
        whole = self._config.node_memory_bytes or machine.get("MemTotal", 0)
        try:
            return Level(max(0, whole - self._cgroups.usage().working_set_bytes), whole)
        except (OSError, ValueError, KeyError):
            return Level(machine.get("MemAvailable", whole), whole)

    def system(self) -> SystemInfo:
        return self._system

    def _existing(self, path: str) -> str:
        while path != "/" and not os.path.exists(path):
            path = os.path.dirname(path)
        return path


def _free_pids() -> Level:
    most = _read("/proc/sys/kernel/pid_max").strip()
    words = _read("/proc/loadavg").split()
    running = words[3].partition("/")[2] if len(words) > 3 else ""
    if not most.isdigit() or not running.isdigit():
        return Level(1, 1)
    return Level(max(0, int(most) - int(running)), int(most))


def _pretty_name(os_release: str) -> str:
    for line in os_release.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip('"')
    return "Linux"


class BootMark:
    """The boot in which this node's agent last ran, in a file."""

    def __init__(self, root_dir: str) -> None:
        self._root_dir = root_dir
        self._path = os.path.join(root_dir, "boot-id")

    def is_new(self) -> bool:
        return _read(self._path).strip() != boot_id()

    def remember(self) -> None:
        os.makedirs(self._root_dir, mode=0o750, exist_ok=True)
        with open(self._path, "w", encoding="utf-8") as file:
            file.write(boot_id())
