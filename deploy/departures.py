"""Nodes that leave their cluster for good: stopped, cleared away, their Node object deleted, then forgotten.

The configuration says that a node leaves until all that is done; so whoever is supervisor then goes on with it, and
an API server that does not answer delays it, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable
from typing import Final

from argosy import logs
from argosy.objects.status import ApiError
from deploy import amend, bring_up, cgroups, disks, netns
from deploy.cluster import ClusterConfig, ConfigError
from deploy.layout import Layout

log = logs.get("deploy.departures")

RETRY_S: Final = 1.0


class Departures:
    """A supervisor's leaving nodes; one task for each. `close` ends them, undone ones stay marked as leaving."""

    def __init__(self, layout: Layout, reload: Callable[[], Awaitable[None]], clear: Callable[[str], None]) -> None:
        """`reload` makes a changed configuration true, which stops nodes that leave; `clear` takes away what a
        stopped node had of the machine, its network and what may still run in its cgroup."""
        self._layout = layout
        self._reload = reload
        self._clear = clear
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def attend(self, config: ClusterConfig) -> None:
        """Bring about the end of every node that leaves; those that are seen to already are passed over."""
        for item in config.nodes:
            if item.leaving and item.name not in self._tasks:
                task = asyncio.get_running_loop().create_task(self._depart(item.name))
                self._tasks[item.name] = task
                task.add_done_callback(lambda _, name=item.name: self._tasks.pop(name, None))  # type: ignore[misc]

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _depart(self, name: str) -> None:
        """Tries until it is done."""
        while True:
            try:
                await self._reload()
                await asyncio.to_thread(self._remove_traces, name)
                await self._delete_object(name)
                await amend.amend(self._layout, lambda config: config.without_node(name))
                await self._reload()
            except (ApiError, ConfigError, amend.BusyError, netns.CommandError, OSError) as error:
                log.warning("a node is not removed yet", node=name, error=error)
                await asyncio.sleep(RETRY_S)
            else:
                log.info("a node is removed", node=name)
                return

    async def _delete_object(self, name: str) -> None:
        api = bring_up.client(self._layout, amend.current(self._layout))
        try:
            await bring_up.delete_node(api, name)
        finally:
            await api.close()

    def _remove_traces(self, name: str) -> None:
        """Raises CommandError, OSError while something of the node is still in use."""
        # Again, for a node whose end the supervisor before this one did not live to see.
        self._clear(name)
        disks.release(disks.of_node(self._layout, name))
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._layout.node(name))
        for suffix in (".ctl", ".hold"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._layout.controls(name) + suffix)
        group = self._layout.node_cgroup(name)
        if not cgroups.remove(group):
            raise BlockingIOError(f"processes in control group {group} have not ended yet")
