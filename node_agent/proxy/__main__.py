"""`python -m node_agent.proxy`: the service proxy of one node, in that node's network namespace."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import uvloop

from argosy import logs
from argosy.config import parse
from argosy.host import real_host
from argosy.objects.load_balancer import FENCE_S
from argosy.process import client_of, until_signalled
from node_agent.network_policy.enforcer import Enforcer
from node_agent.network_policy.table import PolicyTable
from node_agent.proxy.balancer import Addresses
from node_agent.proxy.command import CommandError
from node_agent.proxy.iptables import BothFamilies, Iptables
from node_agent.proxy.model import Family, family_of
from node_agent.proxy.nftables import Nftables
from node_agent.proxy.proxy import Config, Proxy

SYSCTLS: Final = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/route_localnet": "1",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "0",
}
"""Of this network namespace. NodePorts on 127.0.0.1 need route_localnet; rules.py has the rule that goes with it."""


Mode = Iptables | Nftables


def modes(config: Config) -> tuple[list[Mode], list[Mode]]:
    """(what applies the rules, what may have left rules behind). Raises SystemExit for a mode that there is not."""
    families: list[Family] = ["IPv4"]
    if "IPv6" in {family_of(text) for text in (*config.cluster_cidr, config.node_ip)}:
        families.append("IPv6")
    iptables: list[Mode] = [Iptables(family) for family in families]
    nftables: list[Mode] = [Nftables(family) for family in families]
    if config.proxy_mode == "iptables":
        return iptables, nftables
    if config.proxy_mode == "nftables":
        return nftables, iptables
    sys.exit(f"--proxy-mode={config.proxy_mode} is not supported: iptables or nftables")


async def clear(others: list[Mode]) -> None:
    """Rules of the other mode, from before a change of modes, would answer too."""
    for mode in others:
        try:
            await mode.remove()
        except CommandError as error:
            logs.get("node_agent.proxy").warning("rules of the other mode may have stayed", error=error)


def set_sysctls() -> None:
    log = logs.get("node_agent.proxy")
    for name, value in SYSCTLS.items():
        path = Path("/proc/sys") / name
        try:
            if path.read_text().strip() != value:
                path.write_text(value)
        except OSError as error:
            log.warning("sysctl stays as it is", name=name, error=error)


async def both(proxy: Proxy, enforcer: Enforcer) -> None:
    """Services and network policies, in one process: they share the node's network namespace and the API client."""
    async with asyncio.TaskGroup() as group:
        group.create_task(proxy.run())
        group.create_task(enforcer.run())


async def main(config: Config) -> None:
    used, others = modes(config)
    await clear(others)
    if config.load_balancer_lease_s <= FENCE_S:
        sys.exit(f"--load-balancer-lease-s={config.load_balancer_lease_s} must be more than {FENCE_S}")
    async with client_of(config, "kube-proxy") as client:
        proxy = Proxy(config, real_host(), client, BothFamilies(used), addresses=Addresses(config.node_ip))
        enforcer = Enforcer(config.node_name, real_host(), client, PolicyTable())
        await until_signalled(both(proxy, enforcer))


if __name__ == "__main__":
    flags = parse(Config, "node_agent.proxy", "Service proxy of a node.")
    logs.setup(flags.log_level, flags.log_file)
    set_sysctls()
    uvloop.run(main(flags))
