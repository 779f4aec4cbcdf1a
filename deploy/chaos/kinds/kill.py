"""SIGKILL to a process, or a node's power cut: at once, and for a while not started again where that is asked for.

What was killed is started again by whoever keeps it, the supervisor or the node's PID 1. `hold` keeps them from it by
a file that they look at before each start.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace

from deploy.chaos import journal
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import SUPERVISOR, Site

HOLD = "hold"


class Kill:
    """Settings: `hold`, whether it stays down until the fault is healed."""

    name = "kill"

    def check(self, site: Site, fault: Fault) -> Fault:
        names = tuple(site.component(target).name for target in fault.targets)
        for name in names:
            site.process(name)
        hold = bool(fault.settings.get(HOLD)) or bool(fault.until_s)
        if hold and SUPERVISOR in names:
            raise FaultError("the supervisor is not started again by itself: `argosy up` does that")
        return replace(fault, targets=names, settings={HOLD: hold})

    def lasts(self, fault: Fault) -> bool:
        return bool(fault.settings[HOLD])

    def describe(self, fault: Fault) -> str:
        return words(fault.targets) + (" killed and kept down" if fault.settings[HOLD] else " killed")

    def steps(self, site: Site, fault: Fault) -> list[str]:
        result = []
        for name in fault.targets:
            if fault.settings[HOLD]:
                result.append(f"make {_file(site, name)}, so that {name} is not started")
            result.append(f"SIGKILL to {name}, pid {site.process(name)[0]}")
        return result

    def apply(self, site: Site, fault: Fault) -> None:
        pids = [site.process(name)[0] for name in fault.targets]
        if fault.settings[HOLD]:
            for name in fault.targets:
                path = _file(site, name)
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                with open(path, "w", encoding="ascii"):
                    pass
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def heal(self, site: Site, fault: Fault) -> None:
        others = {
            name for other in journal.in_force(site.layout) if other.kind == self.name for name in other.targets
        }
        for name in set(fault.targets) - others:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_file(site, name))


def _file(site: Site, name: str) -> str:
    return site.layout.controls(name) + ".hold"
