"""Memory and processor time of a cluster's processes, from /proc: the supervisor's whole tree, nodes included."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
RUNTIME = ("containerd", "containerd-shim", "runc", "crun", "ctr", "pause")
"""Commands that are not ours."""


@dataclass(frozen=True)
class Usage:
    """One process: `cpu_s` since it began, its ended children's included."""

    pid: int
    parent: int
    command: str
    cpu_s: float
    pss_bytes: int = 0

    @property
    def is_runtime(self) -> bool:
        return self.command.startswith(RUNTIME)


def read(pid: int, *, memory: bool = False) -> Usage | None:
    """None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode(errors="replace")
        head, _, tail = text.rpartition(")")
        fields = tail.split()
        cpu_s = sum(int(fields[at]) for at in range(11, 15)) / TICKS_PER_S
        pss_bytes = _pss(pid) if memory else 0
    except OSError:
        return None
    return Usage(pid, int(fields[1]), head.partition("(")[2], cpu_s, pss_bytes)


def _pss(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def tree(root: int, *, memory: bool = False) -> dict[int, Usage]:
    """A process and all below it, by pid."""
    found = {}
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (usage := read(int(name))) is not None:
            found[usage.pid] = usage
            children.setdefault(usage.parent, []).append(usage.pid)
    result: dict[int, Usage] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        usage = (read(pid, memory=True) if memory else found.get(pid)) or found.get(pid)
        if usage is not None:
            result[pid] = usage
            waiting += children.get(pid, [])
    return result


def cpu_s(processes: Iterable[Usage]) -> float:
    return sum(item.cpu_s for item in processes)
