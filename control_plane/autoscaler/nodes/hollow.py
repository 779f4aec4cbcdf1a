"""A provider without machines, for tests and the simulator: nodes come after a while, or as it is told not to.

    provider = HollowProvider(machines, clock, [Group("small", 0, 5, 0, template)])
    provider.faults.never_comes = True

`machines` starts and stops what a node is: a hollow agent, or just a Node object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from argosy.objects.types import JsonObject
from control_plane.autoscaler.nodes.provider import ErrorClass, Group, Instance, ProviderError, State


class Machines(Protocol):
    async def start(self, name: str, template: JsonObject) -> None:
        """Bring up a node of that name; returns when it has registered."""

    async def stop(self, name: str) -> None:
        """Take it away, its Node object too."""


@dataclass
class Faults:
    """Set by tests; each holds until it is taken back."""

    away: bool = False
    """Every call fails, as if nobody listened."""
    refuses: str = ""
    """What asks for more nodes is refused with this."""
    cannot_make: ErrorClass | None = None
    """Instances that are asked for fail."""
    never_comes: bool = False
    """Instances are said to be made, and no node registers."""
    says_target: int | None = None
    """A lie about every group's target."""
    keeps: bool = False
    """Deletions are refused."""


class HollowProvider:
    """A `NodeProvider`."""

    def __init__(self, machines: Machines, groups: Iterable[Group], start_s: float = 30.0) -> None:
        self.faults = Faults()
        self.start_s = start_s
        self.listed = {group.name: group for group in groups}
        self.calls: list[str] = []
        """What changed something, in order."""
        self._machines = machines
        self._instances: dict[str, dict[str, Instance]] = {name: {} for name in self.listed}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._count = 0

    async def refresh(self) -> None:
        self._reach()

    async def groups(self) -> Sequence[Group]:
        self._reach()
        lie = self.faults.says_target
        return [group if lie is None else replace(group, target_size=lie) for group in self.listed.values()]

    async def instances(self, group: str) -> Sequence[Instance]:
        self._reach()
        return list(self._instances[group].values())

    async def increase(self, group: str, count: int) -> None:
        self._reach()
        if self.faults.refuses:
            raise ProviderError(self.faults.refuses, "RESOURCE_EXHAUSTED")
        self.calls.append(f"increase {group} {count}")
        self._change_target(group, count)
        for _ in range(count):
            self._count += 1
            name = f"{group}-{self._count}"
            made = Instance(name, State.CREATING)
            error = self.faults.cannot_make
            if error is not None:
                made = replace(made, error_class=error, error_code=error.value, error_message="there is nothing left")
            elif not self.faults.never_comes:
                self._tasks[name] = asyncio.get_running_loop().create_task(self._come(group, name))
            self._instances[group][name] = made

    async def delete_nodes(self, group: str, names: Sequence[str]) -> None:
        self._reach()
        if self.faults.keeps:
            raise ProviderError("deletion is not allowed")
        for name in names:
            if name not in self._instances[group]:
                raise ProviderError(f"{name} is not of group {group}", "NOT_FOUND")
        self.calls.append(f"delete {group} {','.join(names)}")
        self._change_target(group, -len(names))
        for name in names:
            task = self._tasks.pop(name, None)
            if task is not None:
                task.cancel()
            del self._instances[group][name]
            await self._machines.stop(name)

    async def decrease_target(self, group: str, count: int) -> None:
        self._reach()
        self.calls.append(f"decrease {group} {count}")
        self._change_target(group, -count)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _reach(self) -> None:
        if self.faults.away:
            raise ProviderError("nobody listens", "UNAVAILABLE", busy=True)

    def _change_target(self, name: str, by: int) -> None:
        group = self.listed[name]
        self.listed[name] = replace(group, target_size=group.target_size + by)

    async def _come(self, group: str, name: str) -> None:
        await asyncio.sleep(self.start_s)
        await self._machines.start(name, self.listed[group].template)
        self._instances[group][name] = Instance(name, State.RUNNING)
