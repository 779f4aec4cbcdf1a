"""What the runtime says of one pod: its sandboxes and containers, newest first; made afresh for every pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node_agent.runtime.runtime import ContainerStatus, Sandbox, State


@dataclass(frozen=True)
class Observed:
    sandboxes: Sequence[Sandbox] = ()
    containers: Sequence[ContainerStatus] = ()
    """Of all sandboxes."""
    sandbox_of: Mapping[str, str] = field(default_factory=dict)
    """Container id to sandbox id."""

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ready_sandbox(self) -> Sandbox | None:
        """The newest, when it lives and it is the only one that does."""
        if not self.sandboxes or not self.sandboxes[0].ready:
            return None
        return self.sandboxes[0]

    @property
    def ips(self) -> Sequence[str]:
        ready = self.ready_sandbox
        return ready.ips if ready else ()

    def history(self, name: str) -> list[ContainerStatus]:
        """Every container of that name, newest first."""
        return [container for container in self.containers if container.name == name]

    def latest(self, name: str) -> ContainerStatus | None:
        return next((container for container in self.containers if container.name == name), None)

    def active(self, name: str) -> ContainerStatus | None:
        """The newest of that name in the ready sandbox."""
        sandbox = self.ready_sandbox
        if sandbox is None:
            return None
        for container in self.containers:
            if container.name == name and self.sandbox_of.get(container.id) == sandbox.id:
                return container
        return None

    def running(self) -> list[ContainerStatus]:
        return [container for container in self.containers if container.state in (State.RUNNING, State.UNKNOWN)]


def observed(
    sandboxes: Sequence[Sandbox], containers: Sequence[ContainerStatus], sandbox_of: Mapping[str, str]
) -> Observed:
    """Sorts newest first."""
    return Observed(
        tuple(sorted(sandboxes, key=lambda item: (item.created_at, item.attempt), reverse=True)),
        tuple(sorted(containers, key=lambda item: (item.created_at, item.attempt), reverse=True)),
        dict(sandbox_of),
    )
