"""Routes to the pods of other nodes: one per pod range, by way of its node (host-gw), kept by netlink.

pyroute2 runs in one worker thread of its own: its event loop does not work inside uvloop.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from argosy import logs
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.node_status import pod_cidrs

log = logs.get("node_agent.routes")

PROTOCOL = 184
"""Marks the routes that are ours among others' (rtm_protocol; unassigned in iproute2's table)."""


def wanted_routes(nodes: Sequence[JsonObject], own_name: str) -> dict[str, str]:
    """Pod range to the address of its node, for every other node; pure."""
    result: dict[str, str] = {}
    for node in nodes:
        if meta.name(node) == own_name:
            continue
        addresses = [
            str(item.get("address", ""))
            for item in meta.status(node).get("addresses") or []
            if item.get("type") == "InternalIP"
        ]
        for cidr in pod_cidrs(node):
            try:
                network = ipaddress.ip_network(cidr)
                gateway = next(a for a in addresses if ipaddress.ip_address(a).version == network.version)
            except (ValueError, StopIteration):
                log.warning("node gives no route to its pods", node=meta.name(node), cidr=cidr)
                continue
            result[str(network)] = gateway
    return result


def apply_routes(wanted: Mapping[str, str]) -> None:
    """Make our routes in the present network namespace be exactly these. Raises OSError."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as netlink:
        present: dict[str, str] = {}
        for route in netlink.get_routes(proto=PROTOCOL):
            target, gateway = route.get_attr("RTA_DST"), route.get_attr("RTA_GATEWAY")
            if target is not None:
                present[f"{target}/{route['dst_len']}"] = str(gateway)
        failures: list[str] = []
        for cidr, gateway in wanted.items():
            if present.get(cidr) == gateway:
                continue
            try:
                netlink.route("replace", dst=cidr, gateway=gateway, proto=PROTOCOL)
                log.info("route added", cidr=cidr, gateway=gateway)
            except NetlinkError as error:
                failures.append(f"{cidr} via {gateway}: {error}")
        for cidr, gateway in present.items():
            if cidr not in wanted:
                try:
                    netlink.route("del", dst=cidr, gateway=gateway, proto=PROTOCOL)
                    log.info("route removed", cidr=cidr)
                except NetlinkError as error:
                    failures.append(f"{cidr}: {error}")
    if failures:
        raise OSError("; ".join(failures))


class Router:
    """Applies routes when they change."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._applied: dict[str, str] | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def route(self, nodes: Sequence[JsonObject]) -> None:
        """Raises OSError."""
        wanted = wanted_routes(nodes, self._own_name)
        if wanted == self._applied:
            return
        if not wanted and self._applied is None:
            self._applied = {}
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="netlink")
        await asyncio.get_running_loop().run_in_executor(self._thread, apply_routes, wanted)
        self._applied = wanted

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
