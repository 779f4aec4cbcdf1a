"""A real node's pod network: CNI configuration, routes, and address leases that a crash left behind."""

from __future__ import annotations

from collections.abc import Sequence

from argosy import logs
from argosy.objects.types import JsonObject
from node_agent.config import Config
from node_agent.network import cni
from node_agent.network.routes import Router

log = logs.get("node_agent.network")


class CniNetwork:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._router = Router(config.node_name)

    def configure(self, pod_cidrs: Sequence[str]) -> None:
        try:
            content = cni.conflist(pod_cidrs, self._config.cni_data_dir, self._config.pod_mtu)
        except ValueError as error:
            raise OSError(f"pod CIDR: {error}") from None
        cni.write(self._config.cni_conf_dir, content)

    async def route(self, nodes: Sequence[JsonObject]) -> None:
        await self._router.route(nodes)

    def release(self, sandbox_ids: Sequence[str]) -> None:
        for address in cni.release(self._config.cni_data_dir, sandbox_ids):
            log.info("address freed that no pod holds", address=address)

    async def close(self) -> None:
        self._router.close()
