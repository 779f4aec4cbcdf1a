"""SIGSTOP to a process and its descendants, or to everything in a node; SIGCONT heals.

A paused process keeps its connections and believes, when it goes on, that no time has passed. Of a node's containerd
only itself is paused, not the containers; of the supervisor only itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from deploy import children
from deploy.chaos import journal
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import Site

ROUNDS: Final = 20
"""A process may start others while it is being stopped: looked for again until there are none."""


class Pause:
    """Settings, by itself: `stopped`, pids with their start times."""

    name = "pause"

    def check(self, site: Site, fault: Fault) -> Fault:
        names = tuple(site.component(target).name for target in fault.targets)
        stopped = sorted({item for name in names for item in site.all_processes(name)})
        return replace(fault, targets=names, settings={"stopped": [list(item) for item in stopped]})

    def lasts(self, fault: Fault) -> bool:
        return True

    def describe(self, fault: Fault) -> str:
        return f"{words(fault.targets)} paused"

    def steps(self, site: Site, fault: Fault) -> list[str]:
        return [f"SIGSTOP to {', '.join(str(pid) for pid, _ in fault.settings['stopped'])}"]

    def apply(self, site: Site, fault: Fault) -> None:
        stopped = {(pid, ticks) for pid, ticks in fault.settings["stopped"]}
        _signal(stopped, signal.SIGSTOP)
        for _ in range(ROUNDS):
            found = {item for name in fault.targets for item in site.all_processes(name)}
            if found <= stopped:
                return
            stopped |= found
            settings = {"stopped": [list(item) for item in sorted(stopped)]}
            journal.put(site.layout, replace(fault, settings=settings))
            _signal(found, signal.SIGSTOP)
        raise FaultError(f"{words(fault.targets)} start processes faster than they can be paused")

    def heal(self, site: Site, fault: Fault) -> None:
        held = {
            tuple(item)
            for other in journal.in_force(site.layout)
            if other.kind == self.name
            for item in other.settings["stopped"]
        }
        _signal({(pid, ticks) for pid, ticks in fault.settings["stopped"]} - held, signal.SIGCONT)


def _signal(found: Iterable[tuple[int, int]], number: signal.Signals) -> None:
    for pid, ticks in sorted(found):
        if children.start_ticks(pid) == ticks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
