"""Each sync of a store member to disk takes longer.

At the member's Disk seam: the thread that syncs waits. A node's disk cannot be slowed: of what it writes, most goes
through the page cache, which control groups of version 1 do not slow down.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from deploy.chaos import controls
from deploy.chaos.fault import Fault, FaultError, words
from deploy.chaos.site import Site

MOST_MS: Final = 60_000.0


class SlowDisk:
    """Settings: `sync_ms`."""

    name = controls.SLOW_DISK

    def check(self, site: Site, fault: Fault) -> Fault:
        sync_ms = float(fault.settings["sync_ms"])
        if not 0 < sync_ms <= MOST_MS:
            raise FaultError(f"a sync of {sync_ms:g} ms: more than 0 and up to {MOST_MS:g}")
        names = [controls.disked(site, target).name for target in fault.targets]
        if not names:
            raise FaultError("whose disk is to be slow?")
        return replace(fault, settings={"sync_ms": sync_ms, "controlled": names})

    def lasts(self, fault: Fault) -> bool:
        return True

    def describe(self, fault: Fault) -> str:
        return f"{words(fault.settings['controlled'])}: each sync to disk takes {fault.settings['sync_ms']:g} ms more"

    def steps(self, site: Site, fault: Fault) -> list[str]:
        return [f"write {site.layout.controls(name)}.ctl" for name in fault.settings["controlled"]]

    def apply(self, site: Site, fault: Fault) -> None:
        controls.sync(site, fault.settings["controlled"])

    def heal(self, site: Site, fault: Fault) -> None:
        controls.sync(site, fault.settings["controlled"])
