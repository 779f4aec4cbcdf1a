"""The autoscalers: their controllers over shared informers, while this replica is the leader."""

from __future__ import annotations

from argosy.client import Client
from argosy.controller import Context, Controller, run_controllers
from argosy.election import LeaderElector, LeaseConfig
from argosy.host import Host
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.events.controller import ScaledObjectController
from control_plane.autoscaler.events.definitions import SCALED_OBJECT
from control_plane.autoscaler.installing import install_kinds
from control_plane.autoscaler.pods.controller import HorizontalPodAutoscalerController
from control_plane.autoscaler.vertical import definitions as vertical
from control_plane.autoscaler.vertical.admitter import Admitter
from control_plane.autoscaler.vertical.recommender import Recommender
from control_plane.autoscaler.vertical.updater import Updater

LEASE_NAME = "argosy-autoscaler"

HORIZONTAL: tuple[type[Controller[Config]], ...] = (HorizontalPodAutoscalerController,)
VERTICAL: tuple[type[Controller[Config]], ...] = (Recommender, Updater, Admitter)


class AutoscalerManager:
    def __init__(self, config: Config, host: Host, client: Client) -> None:
        """Raises ValueError for a configuration that cannot work."""
        config.validate()
        self._config = config
        self._host = host
        self._client = client

    async def run(self) -> None:
        """Until cancelled."""
        config = self._config
        lease = LeaseConfig(
            LEASE_NAME,
            config.identity or f"autoscaler_{self._host.rng.uuid()}",
            lease_s=config.leader_elect_lease_duration,
            renew_s=config.leader_elect_renew_deadline,
            retry_s=config.leader_elect_retry_period,
        )
        await LeaderElector(self._client, self._host, lease).run(self._lead)

    async def _lead(self) -> None:
        kinds = list(HORIZONTAL)
        if self._config.vertical_pod_autoscaling:
            await install_kinds(self._client, vertical.ALL)
            kinds += VERTICAL
        if self._config.event_driven_scaling:
            await install_kinds(self._client, (SCALED_OBJECT,))
            kinds.append(ScaledObjectController)
        if self._config.node_provider:
            # Only then: it brings the scheduler's rules and numpy along.
            from control_plane.autoscaler.nodes.controller import NodeAutoscaler

            kinds.append(NodeAutoscaler)
        await run_controllers(Context(self._config, self._host, self._client), kinds)
