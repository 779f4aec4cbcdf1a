"""Brings the control files of processes (argosy.fault_controls) to what the faults in force say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from argosy import fault_controls
from argosy.fault_controls import Controls
from deploy.chaos import journal
from deploy.chaos.fault import Fault, FaultError
from deploy.chaos.site import NODE, Component, Site

SKEW_CLOCK, SLOW_DISK, FILL_DISK = "skew-clock", "slow-disk", "fill-disk"
DISKED: Final = ("etcd",)
"""What keeps its data by the Disk seam."""


def of(name: str, faults: Iterable[Fault]) -> Controls:
    """Those of one process: skews and syncs add up. Pure."""
    mine = [fault for fault in faults if name in fault.settings.get("controlled", ())]
    return Controls(
        skew_s=sum(fault.settings["skew_s"] for fault in mine if fault.kind == SKEW_CLOCK),
        sync_s=sum(fault.settings["sync_ms"] for fault in mine if fault.kind == SLOW_DISK) / 1000,
        disk_full=any(fault.kind == FILL_DISK for fault in mine),
    )


def sync(site: Site, names: Iterable[str]) -> None:
    """Make it so for these processes. Raises OSError, FaultError."""
    faults = journal.in_force(site.layout)
    for name in names:
        fault_controls.write(site.layout.controls(name) + ".ctl", of(name, faults))


def controlled(site: Site, targets: Sequence[str]) -> list[str]:
    """The processes whose clock is meant: a node's are its agent's and its proxy's. Raises FaultError."""
    result: list[str] = []
    for target in targets:
        found = site.component(target)
        wanted = [item for item in site.components.values() if item.node == found.name] if found.make == NODE else []
        own = [item.name for item in wanted or [found] if item.own]
        if not own:
            raise FaultError(f"{target} is not one of Argosy's own processes: its clock cannot be skewed")
        result += own
    return result


def disked(site: Site, target: str) -> Component:
    """A store member. Raises FaultError."""
    found = site.component(target)
    if found.kind not in DISKED:
        raise FaultError(f"{target} does not keep its data by itself; store members do: etcd-1, …")
    return found
