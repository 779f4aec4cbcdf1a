"""Injects and heals: the journal first, then the deed; for a fault with an end, a process that waits for it.

Called by `argosy chaos`, by `cluster.chaos` in tests (`api`), by `healer` and by `argosy down`. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from argosy import logs
from argosy.host import real_host
from deploy import children, launch, netns
from deploy.chaos import journal
from deploy.chaos.fault import Fault, FaultError
from deploy.chaos.kinds import kind_of
from deploy.chaos.site import Site
from deploy.layout import Layout

FOREVER: Final = 0.0
LONGEST_S: Final = 7 * 86400.0
log = logs.get("deploy.chaos")


def site_of(layout: Layout) -> Site:
    """Raises FaultError without root, ConfigError when there is no such cluster."""
    if os.geteuid() != 0:
        raise FaultError("faults need root: run it with sudo")
    return Site.of(layout, launch.current(layout))


def checked(site: Site, fault: Fault, for_s: float = FOREVER) -> Fault:
    """The fault as it would be injected. Changes nothing. Raises FaultError."""
    if for_s < 0 or for_s > LONGEST_S:
        raise FaultError(f"for {for_s:g} s: up to a week")
    until_s = real_host().clock.monotonic() + for_s if for_s else FOREVER
    fault = kind_of(fault.kind).check(site, replace(fault, until_s=until_s))
    return replace(fault, begun_s=real_host().clock.now())


def steps(site: Site, fault: Fault) -> list[str]:
    """What `inject` would do, for a dry run. Raises FaultError."""
    return kind_of(fault.kind).steps(site, checked(site, fault))


def inject(site: Site, fault: Fault, for_s: float = FOREVER) -> Fault:
    """Break it; gives the fault as it is in force. What fails half-way is undone.

    Raises FaultError, CommandError, OSError.
    """
    kind = kind_of(fault.kind)
    with journal.held(site.layout):
        fault = checked(site, fault, for_s)
        if not kind.lasts(fault):
            kind.apply(site, fault)
            return fault
        fault = journal.add(site.layout, fault)
        try:
            if fault.until_s:
                _start_healer(site.layout, fault)
            kind.apply(site, fault)
        except BaseException:
            _heal(site, fault)
            raise
    return fault


def heal(site: Site, ids: Sequence[str] = ()) -> list[Fault]:
    """Undo these faults, or all; gives those that were in force. Raises FaultError naming what cannot be undone."""
    if not os.path.isdir(site.layout.chaos):
        if ids:
            raise FaultError(f"no fault {ids[0]} is in force")
        return []
    problems, healed = [], []
    with journal.held(site.layout):
        known = {fault.id: fault for fault in journal.faults(site.layout)}
        for id_ in ids:
            if id_ not in known:
                there = ", ".join(known) or "none"
                raise FaultError(f"no fault {id_} is in force; there are: {there}")
        # The latest first, as they were piled up.
        for fault in reversed([item for item in known.values() if not ids or item.id in ids]):
            try:
                _heal(site, fault)
                healed.append(fault)
            except (FaultError, netns.CommandError, OSError) as error:
                problems.append(f"{kind_of(fault.kind).describe(fault)}: {error}")
    if problems:
        raise FaultError("; ".join(problems))
    return healed


def heal_leftovers(layout: Layout) -> None:
    """Before a cluster is taken down: whatever can be undone is; the rest goes with the cluster."""
    try:
        heal(site_of(layout))
    except Exception as error:
        log.warning("faults are not healed", cluster=layout.name, error=error)


def active(layout: Layout) -> list[Fault]:
    """What is in force, oldest first. Raises FaultError."""
    return journal.in_force(layout)


def _heal(site: Site, fault: Fault) -> None:
    """With the journal held. A fault whose healing was cut off is healed again."""
    fault = next((item for item in journal.faults(site.layout) if item.id == fault.id), fault)
    journal.put(site.layout, replace(fault, healing=True))
    kind_of(fault.kind).heal(site, fault)
    journal.remove(site.layout, fault)
    _end_healer(site.layout, fault)


def _start_healer(layout: Layout, fault: Fault) -> None:
    """It survives whoever started it. Raises SpawnError."""
    log_file = layout.log("chaos")
    running = children.spawn(
        [
            *(sys.executable, "-m", "deploy.chaos.healer", "--name", layout.name, "--fault", fault.id),
            *("--log-file", log_file),
        ],
        namespace="",
        log=log_file.removesuffix(".log") + ".err",
        sockets={},
        environment={**children.inherited(("PATH", "PYTHONPATH")), **children.FRUGAL},
    )
    os.close(running.pidfd)
    with open(_healer_file(layout, fault), "w", encoding="ascii") as file:
        file.write(f"{running.pid} {running.ticks}")


def _end_healer(layout: Layout, fault: Fault) -> None:
    with contextlib.suppress(OSError, ValueError):
        with open(_healer_file(layout, fault), encoding="ascii") as file:
            pid, ticks = (int(word) for word in file.read().split())
        os.unlink(_healer_file(layout, fault))
        if pid != os.getpid() and children.start_ticks(pid) == ticks:
            os.kill(pid, signal.SIGTERM)


def _healer_file(layout: Layout, fault: Fault) -> str:
    return f"{layout.chaos}/{fault.id}.healer"
