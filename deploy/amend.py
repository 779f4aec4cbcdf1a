"""How a supervisor changes its own cluster's configuration: as `argosy` commands do, one change at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from deploy import cluster, launch, locks
from deploy.cluster import ClusterConfig
from deploy.layout import Layout

LOCK_TIMEOUT_S: Final = 5.0
LOCK_POLL_S: Final = 0.05


class BusyError(Exception):
    """Not now, but soon: the message says why."""


def current(layout: Layout) -> ClusterConfig:
    """Raises BusyError when the cluster is being removed, ConfigError."""
    found = cluster.load(layout)
    if found is None:
        raise BusyError("the cluster is being removed")
    return found


async def amend(layout: Layout, edit: Callable[[ClusterConfig], ClusterConfig]) -> None:
    """Write down what `edit` makes of the configuration. Raises BusyError, ConfigError, OSError; what `edit` does."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + LOCK_TIMEOUT_S
    path = f"{os.path.dirname(layout.run)}/.{layout.name}.lock"
    while True:
        try:
            with locks.held(path, wait=False):
                await asyncio.to_thread(launch.prepare, edit(current(layout)), layout)
            return
        except BlockingIOError:
            if loop.time() >= deadline_s:
                raise BusyError("an argosy command is changing the cluster") from None
            await asyncio.sleep(LOCK_POLL_S)
