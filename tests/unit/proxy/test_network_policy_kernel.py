"""The table of network policies in a real kernel: every kind of rule is taken, changed and removed again."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import pytest

from argosy.objects.types import JsonObject
from node_agent.network_policy.model import pod_of, policy_of
from node_agent.network_policy.table import PolicyTable
from node_agent.network_policy.world import World

pytestmark = pytest.mark.root

NAMESPACE = "argosy-policy-test"


@pytest.fixture
def prefix() -> Iterator[list[str]]:
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        yield ["ip", "netns", "exec", NAMESPACE]
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


def pod(name: str, *addresses: str) -> JsonObject:
    ports = [{"name": "http", "containerPort": 8080}]
    return {
        "metadata": {"name": name, "namespace": "s"},
        "spec": {"nodeName": "n1", "containers": [{"ports": ports}]},
        "status": {"podIPs": [{"ip": address} for address in addresses]},
    }


PORTS = [
    {"port": 80, "endPort": 90},
    {"port": 85},
    {"port": "http"},
    {"protocol": "UDP"},
    {"protocol": "SCTP", "port": 4},
]
PEERS = [
    {"podSelector": {}},
    {"namespaceSelector": {}},
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.1.0.0/16"]}},
    {"ipBlock": {"cidr": "fd00::/8"}},
]
SPEC = {
    "podSelector": {},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [{"from": PEERS, "ports": PORTS}],
    "egress": [{"to": PEERS, "ports": PORTS}, {"ports": [{"port": "http"}]}],
}


def test_every_kind_of_rule_is_taken_changed_and_removed(prefix: list[str]) -> None:
    def ruleset() -> str:
        return subprocess.run([*prefix, "nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout

    async def play() -> None:
        world, table = World("n1"), PolicyTable(prefix)
        world.set_namespace("s", {})
        world.set_policy("s/x", policy_of({"metadata": {"name": "x", "namespace": "s"}, "spec": SPEC}))
        world.set_pod("s/a", pod_of(pod("a", "10.244.0.2", "fd00::2")))
        await table.apply(world.wanted())
        assert "tcp dport { 80-90, 8080 }" in ruleset() and "10.244.0.2 . 8080" in ruleset()
        assert "!= @known-4 drop" not in ruleset()
        world.set_pod("s/b", pod_of(pod("b")))
        await table.apply(world.wanted())
        assert ruleset().count("!= @known-4 drop") == 2, "addresses that nobody knows wait for b's"
        world.set_pod("s/b", pod_of(pod("b", "10.244.0.3")))
        await table.apply(world.wanted())
        assert "10.244.0.3 : jump to-" in ruleset() and "!= @known-4 drop" not in ruleset()
        world.set_policy("s/x", None)
        await table.apply(world.wanted())
        assert "jump to-" not in ruleset() and "set peer-" not in ruleset() and await table.intact()
        await table.remove()
        assert ruleset() == "" and not await table.intact()

    asyncio.run(play())
