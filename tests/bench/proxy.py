"""The service rules of 1,000 services with 10 endpoints each, in a namespace of their own: whole, and one change."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator

from node_agent.proxy import model
from node_agent.proxy.iptables import Iptables
from node_agent.proxy.model import NodeFacts, ServicePort
from node_agent.proxy.nftables import Nftables
from tests.bench.bench import Bench, median, need
from tests.bench.table import Table

SERVICES = 1000
ENDPOINTS = 10
CHANGES = 10
KUBE_PROXY = {"iptables": (6.3, 0.1), "nftables": (0.38, 0.26)}
"""Seconds for all and for one change, as ARCHITECTURE.md has them."""
NODE = NodeFacts("node-1", ("10.244.0.0/16",))


def measure(bench: Bench) -> Iterator[Table]:
    bench.need_root()
    need("ip", "nft", "iptables")
    table = Table(
        f"proxy: {SERVICES:,} services with {ENDPOINTS} endpoints each, seconds",
        ("mode", "all at once", "kube-proxy", "one change (median)", "kube-proxy, one"),
    )
    for mode in ("iptables", "nftables"):
        whole_s, change_s = asyncio.run(_measure(mode, f"{bench.name}-{mode[:3]}"))
        known = KUBE_PROXY[mode]
        table.add(mode, whole_s, known[0], change_s, known[1])
    table.notes.append("kube-proxy: measured once on a machine of this size; not beside ours")
    yield table


async def _measure(mode: str, namespace: str) -> tuple[float, float]:
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        prefix = ["nsenter", f"--net=/run/netns/{namespace}"]
        applier = (Nftables if mode == "nftables" else Iptables)(prefix=prefix)
        begun = time.monotonic()
        await applier.sync_all({f"bench/s-{number}": _ports(number, ENDPOINTS) for number in range(SERVICES)}, NODE)
        whole_s = time.monotonic() - begun
        changes = []
        for number in range(CHANGES):
            begun = time.monotonic()
            await applier.sync({f"bench/s-{number}": _ports(number, ENDPOINTS - 1)}, NODE)
            changes.append(time.monotonic() - begun)
        return whole_s, median(changes)
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=True)


def _ports(number: int, endpoints: int) -> tuple[ServicePort, ...]:
    vip = f"10.96.{1 + number // 250}.{1 + number % 250}"
    service = {
        "metadata": {"namespace": "bench", "name": f"s-{number}"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": vip,
            "clusterIPs": [vip],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }
    piece = {
        "metadata": {"namespace": "bench", "labels": {"kubernetes.io/service-name": f"s-{number}"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": [f"10.{100 + number // 250}.{number % 250}.{at + 1}"], "nodeName": "node-1"}
            for at in range(endpoints)
        ],
    }
    return model.service_ports(service, [piece], NODE, "IPv4")
