"""SIGTERM: a process or a node ends in order, and is started again by whoever keeps it."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace

from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import SUPERVISOR, Site


class Restart:
    name = "restart"

    def check(self, site: Site, fault: Fault) -> Fault:
        names = tuple(site.component(target).name for target in fault.targets)
        if SUPERVISOR in names:
            raise FaultError("the supervisor ends the whole cluster in order when it is told to end; kill it instead")
        for name in names:
            site.process(name)
        return replace(fault, targets=names)

    def lasts(self, fault: Fault) -> bool:
        return False

    def describe(self, fault: Fault) -> str:
        return f"{words(fault.targets)} restarted"

    def steps(self, site: Site, fault: Fault) -> list[str]:
        return [f"SIGTERM to {name}, pid {site.process(name)[0]}" for name in fault.targets]

    def apply(self, site: Site, fault: Fault) -> None:
        for pid in [site.process(name)[0] for name in fault.targets]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def heal(self, site: Site, fault: Fault) -> None:
        """There is nothing to undo."""
