"""The controller manager: all controllers over shared informers, while this replica is the leader.

`control_plane.controllers.__main__` and the simulator run it. A fresh set of controllers and caches is made for each
term: nothing that an old term believed outlives it.
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy.client import Client
from argosy.controller import run_controllers
from argosy.election import LeaderElector, LeaseConfig
from argosy.host import Host
from control_plane.controllers.all import ALL
from control_plane.controllers.base import Context, Controller
from control_plane.controllers.config import Config

LEASE_NAME = "kube-controller-manager"


class ControllerManager:
    def __init__(self, config: Config, host: Host, client: Client) -> None:
        """Raises ValueError for a configuration that cannot work."""
        config.validate()
        self._config = config
        self._host = host
        self._client = client
        self._selected = select(config.controllers)
        self.elector: LeaderElector | None = None
        self.controllers: list[Controller] = []
        """Those of the present term."""

    async def run(self) -> None:
        """Until cancelled."""
        config = self._config
        if not config.leader_elect:
            await self._lead()
            return
        identity = config.identity or f"controllers_{self._host.rng.uuid()}"
        lease = LeaseConfig(
            LEASE_NAME,
            identity,
            lease_s=config.leader_elect_lease_duration,
            renew_s=config.leader_elect_renew_deadline,
            retry_s=config.leader_elect_retry_period,
        )
        self.elector = LeaderElector(self._client, self._host, lease)
        await self.elector.run(self._lead)

    async def _lead(self) -> None:
        try:
            await run_controllers(Context(self._config, self._host, self._client), self._selected, self._began)
        finally:
            self.controllers = []

    def _began(self, controllers: list[Controller]) -> None:
        self.controllers = controllers


def select(names: Sequence[str]) -> list[type[Controller]]:
    """The controllers of `--controllers`: names, `*` for all, `-NAME` to leave one out. Raises ValueError."""
    known = {kind.name: kind for kind in ALL}
    for name in names:
        if name != "*" and name.removeprefix("-") not in known:
            raise ValueError(f"--controllers: there is no controller {name.removeprefix('-')}")
    return [kind for name, kind in known.items() if (name in names or "*" in names) and f"-{name}" not in names]
