"""Routes from the control plane to every node's pods, kept from the Node objects: `spec.podCIDRs` by the node's own
address.

Runs in the supervisor. Nodes set routes to each other by themselves; these are for the control plane and the uplink:
on a LAN in its namespace, which is their default route, otherwise in the machine's own network.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from argosy import logs
from argosy.objects.types import JsonObject
from deploy.layout import Layout
from deploy.netns import CommandError
from deploy.network import Network

if TYPE_CHECKING:
    from argosy.client import Client

RETRY_S: Final = 1.0
SOCKET_POLL_S: Final = 0.1

log = logs.get("deploy.routes")


def wanted(nodes: list[JsonObject]) -> dict[str, str]:
    """IPv4 pod CIDR → node address."""
    result = {}
    for node in nodes:
        addresses = node.get("status", {}).get("addresses") or []
        ip = next((item["address"] for item in addresses if item["type"] == "InternalIP"), "")
        for cidr in node.get("spec", {}).get("podCIDRs") or []:
            if ip and ":" not in cidr:
                result[cidr] = ip
    return result


class Routes:
    """Keeps a network's routes as long as it runs."""

    def __init__(self, layout: Layout, network: Network, apiservers: int) -> None:
        self._layout = layout
        self._sockets = layout.api_sockets(apiservers)
        self._network = network
        self._set: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while not self._has_api():  # noqa: ASYNC110  # another process makes the file
            await asyncio.sleep(SOCKET_POLL_S)
        from argosy.client import Client
        from argosy.objects.status import ApiError
        from argosy.rpc import GrpcNetwork, Tls

        pki = self._layout.pki
        tls = Tls.load(f"{pki}/ca.crt", f"{pki}/admin.crt", f"{pki}/admin.key", "localhost")
        client = Client(GrpcNetwork(), [f"unix:{path}" for path in self._sockets], tls)
        try:
            while True:
                try:
                    await self._follow(client)
                except (ApiError, CommandError, OSError) as error:
                    log.debug("nodes are not to be seen", error=error)
                await asyncio.sleep(RETRY_S)
        finally:
            await client.close()

    def _has_api(self) -> bool:
        """The client, 20 MB of memory, is not loaded before there is somebody to talk to."""
        return any(os.path.exists(path) for path in self._sockets)

    async def _follow(self, client: Client) -> None:
        """List, then watch until the watch ends."""
        resource = client.resource("", "v1", "nodes")
        listed = await resource.list()
        nodes = {item["metadata"]["name"]: item for item in listed.items}
        await self._apply(nodes)
        async for event in resource.watch(resource_version=listed.resource_version):
            name = event.object.get("metadata", {}).get("name")
            if not name:
                continue
            if event.type.name == "DELETED":
                nodes.pop(name, None)
            elif event.type.name in ("ADDED", "MODIFIED"):
                nodes[name] = event.object
            await self._apply(nodes)

    async def _apply(self, nodes: dict[str, JsonObject]) -> None:
        routes = wanted(list(nodes.values()))
        if routes == self._set:
            return
        gone = [cidr for cidr in self._set if cidr not in routes]
        await asyncio.to_thread(self._network.remove_pod_routes, gone)
        await asyncio.to_thread(self._network.set_pod_routes, routes)
        self._set = routes
        log.info("routes to pods", routes=len(routes))
