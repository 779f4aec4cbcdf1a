"""The rules in a real kernel: connections from the node, from pods and from outside go where the Service says."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from node_agent.proxy import model
from node_agent.proxy.conntrack import Conntrack, deletions
from node_agent.proxy.iptables import Iptables
from node_agent.proxy.model import NodeFacts, ServicePort
from node_agent.proxy.nftables import Nftables
from tests.unit.proxy.conftest import inside


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


pytestmark = pytest.mark.root

VIP = "10.96.0.80"
NODE_IP = "172.31.0.10"
CLIENT_IP = "172.31.0.20"
PODS = ("10.244.1.11", "10.244.1.12", "10.244.1.13")
NODE = NodeFacts("node-1", ("10.244.0.0/16",))


def ports(
    endpoints: Sequence[str], *, node_name: str = "node-1", target: int = 8080, status: Any = None, **spec: Any
) -> tuple[ServicePort, ...]:
    service = {
        "metadata": {"namespace": "production", "name": "web"},
        "spec": {
            "clusterIP": VIP,
            "clusterIPs": [VIP],
            "ports": [
                {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"},
                {"name": "udp", "port": 80, "nodePort": 30080, "protocol": "UDP"},
            ],
            **spec,
        },
        "status": status or {},
    }
    piece = {
        "metadata": {"namespace": "production", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": target}, {"name": "udp", "port": target, "protocol": "UDP"}],
        "endpoints": [{"addresses": [ip], "nodeName": node_name} for ip in endpoints],
    }
    return model.service_ports(service, [piece], NODE, "IPv4")


class Kernel:
    """The applier under test, in the node's namespace."""

    def __init__(self, lan: Any, mode: str) -> None:
        self.applier: Iptables | Nftables = (Nftables if mode == "nftables" else Iptables)(prefix=lan.enter)

    def all(self, found: tuple[ServicePort, ...]) -> None:
        asyncio.run(self.applier.sync_all({"production/web": found}, NODE))

    def change(self, found: tuple[ServicePort, ...]) -> None:
        asyncio.run(self.applier.sync({"production/web": found}, NODE))


@pytest.fixture(params=["iptables", "nftables"])
def kernel(lan: Any, request: pytest.FixtureRequest) -> Kernel:
    return Kernel(lan, request.param)


@pytest.fixture
def pods(lan: Any) -> dict[str, str]:
    result = {}
    for address in PODS:
        result[address] = lan.pod(address)
        lan.serve(result[address], address, 8080)
    return result


def test_service_is_reached_from_everywhere(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    kernel.all(ports(PODS))
    answers = Counter(lan.ask(lan.node, VIP, 80)[0] for _ in range(60))
    assert set(answers) == set(PODS), "spread over all endpoints"
    seen = {lan.ask(pods[PODS[0]], VIP, 80) for _ in range(40)}
    assert {who for who, _ in seen} == set(PODS)
    assert (PODS[1], PODS[0]) in seen, "a pod is seen by its own address"
    assert (PODS[0], "10.244.1.1") in seen, "a pod that reaches itself is masqueraded"
    assert lan.ask(lan.client, NODE_IP, 30080)[1] == "10.244.1.1"
    assert lan.ask(lan.node, "127.0.0.1", 30080)[0] in PODS
    assert lan.ask(lan.node, NODE_IP, 30080)[0] in PODS


def test_neighbours_do_not_reach_localhost_through_route_localnet(lan: Any, kernel: Kernel) -> None:
    """The client may send to 127.0.0.99 by way of the node; only our rule keeps it out."""
    lan.run("ip", "addr", "add", "127.0.0.99/8", "dev", "lo")
    lan.serve(lan.node, "127.0.0.99", 7000)
    ip("-n", lan.client, "route", "del", "local", "127.0.0.0/8", "table", "local")
    ip("-n", lan.client, "route", "del", "local", "127.0.0.1", "table", "local")
    ip("-n", lan.client, "addr", "del", "127.0.0.1/8", "dev", "lo")
    ip("-n", lan.client, "route", "add", "127.0.0.99/32", "via", NODE_IP)
    assert lan.ask(lan.client, "127.0.0.99", 7000)[0] == "127.0.0.99", "reachable before the rules"
    kernel.all(())
    with pytest.raises(TimeoutError):
        lan.ask(lan.client, "127.0.0.99", 7000)
    assert lan.ask(lan.node, "127.0.0.99", 7000)[0] == "127.0.0.99"


def test_udp_flows_move_on_when_their_endpoint_goes(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    before, after = ports(PODS[:1]), ports(PODS[1:2])
    kernel.all(before)
    sock = lan.datagram(lan.node, 5555)

    def ask() -> str:
        sock.sendto(b"who", (VIP, 80))
        return str(sock.recv(200).decode().split(" ")[0])

    assert ask() == PODS[0]
    kernel.change(after)
    assert ask() == PODS[0], "the kernel remembers the flow: what the cleanup is for"
    asyncio.run(Conntrack(lan.enter).forget(deletions(before, after)))
    assert ask() == PODS[1]


ROUTED_IP = "198.51.100.7"
"""The client routes it to the node, and the node what is not its own to the client."""


def test_an_address_routed_to_the_node_leads_to_pods_or_is_refused(
    lan: Any, kernel: Kernel, pods: dict[str, str]
) -> None:
    kernel.all(ports((), externalIPs=[ROUTED_IP]))
    for namespace in (lan.node, lan.client, pods[PODS[0]]):
        with pytest.raises(ConnectionRefusedError):
            lan.ask(namespace, ROUTED_IP, 80)
    kernel.change(ports(PODS[:1], externalIPs=[ROUTED_IP]))
    assert lan.ask(lan.client, ROUTED_IP, 80) == (PODS[0], "10.244.1.1"), "masqueraded"
    assert lan.ask(lan.node, ROUTED_IP, 80)[0] == PODS[0]
    assert lan.ask(pods[PODS[0]], ROUTED_IP, 80)[0] == PODS[0], "a pod to itself"
    kernel.change(ports(PODS[:1], externalIPs=[ROUTED_IP], externalTrafficPolicy="Local"))
    assert lan.ask(lan.client, ROUTED_IP, 80) == (PODS[0], CLIENT_IP), "seen by its own address"
    kernel.change(ports(PODS[:1], node_name="node-2", externalIPs=[ROUTED_IP], externalTrafficPolicy="Local"))
    with pytest.raises(TimeoutError):
        lan.ask(lan.client, ROUTED_IP, 80)
    assert lan.ask(lan.node, ROUTED_IP, 80)[0] == PODS[0], "what is of this node may go to others"


def test_a_connection_that_began_before_its_address_had_rules_arrives(
    lan: Any, kernel: Kernel, pods: dict[str, str]
) -> None:
    kernel.all(())
    answers: list[str] = []

    def connect() -> None:
        with socket.create_connection((ROUTED_IP, 80), timeout=20) as connection:
            answers.append(connection.recv(200).decode())

    client = threading.Thread(target=lambda: inside(lan.client, connect))
    client.start()
    while ROUTED_IP not in lan.run("conntrack", "-L", "-p", "tcp"):
        time.sleep(0.01)
    new = ports(PODS[:1], externalIPs=[ROUTED_IP])
    kernel.change(new)
    asyncio.run(Conntrack(lan.enter).forget(deletions((), new)))
    client.join()
    assert [answer.split(" ")[0] for answer in answers] == [PODS[0]]


def test_without_endpoints_it_is_refused_until_there_is_one(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    kernel.all(ports(()))
    for namespace, address, port in (
        (lan.node, VIP, 80),
        (pods[PODS[0]], VIP, 80),
        (lan.client, NODE_IP, 30080),
    ):
        with pytest.raises(ConnectionRefusedError):
            lan.ask(namespace, address, port)
    kernel.change(ports(PODS[:1]))
    assert lan.ask(lan.node, VIP, 80)[0] == PODS[0]
    kernel.change(ports(PODS[1:]))
    assert {lan.ask(lan.node, VIP, 80)[0] for _ in range(20)} == set(PODS[1:])
    kernel.change(())
    left = lan.run("iptables-nft-save") + lan.run("nft", "list", "ruleset")
    assert VIP not in left and "KUBE-SEP" not in left and PODS[0] not in left


def test_session_affinity_keeps_a_client_with_its_endpoint(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    kernel.all(ports(PODS, sessionAffinity="ClientIP"))
    for namespace in (lan.node, pods[PODS[2]], lan.client):
        address, port = (NODE_IP, 30080) if namespace == lan.client else (VIP, 80)
        assert len({lan.ask(namespace, address, port)[0] for _ in range(12)}) == 1


def test_external_policy_local_keeps_the_client_address(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    kernel.all(ports(PODS, externalTrafficPolicy="Local"))
    assert lan.ask(lan.client, NODE_IP, 30080)[1] == CLIENT_IP


def test_full_sync_repairs_and_cleans(lan: Any, pods: dict[str, str]) -> None:
    kernel = Kernel(lan, "iptables")
    kernel.all(ports(PODS))
    assert asyncio.run(kernel.applier.intact())
    first = lan.run("iptables-nft-save")
    lan.run("iptables-nft", "-t", "nat", "-N", "KUBE-SVC-STALE")
    lan.run("iptables-nft", "-t", "nat", "-N", "CNI-NOT-OURS")
    lan.run("iptables-nft", "-t", "nat", "-F", "PREROUTING")
    assert not asyncio.run(kernel.applier.intact())
    kernel.all(ports(PODS))
    assert asyncio.run(kernel.applier.intact())
    again = lan.run("iptables-nft-save")
    assert "CNI-NOT-OURS" in again and "KUBE-SVC-STALE" not in again
    lan.run("iptables-nft", "-t", "nat", "-X", "CNI-NOT-OURS")

    def rules(text: str) -> list[str]:
        return sorted(line for line in text.splitlines() if line.startswith("-A"))

    assert rules(lan.run("iptables-nft-save")) == rules(first), "no jump twice"
    asyncio.run(kernel.applier.remove())
    assert "KUBE" not in lan.run("iptables-nft-save")


def test_source_ranges_guard_a_load_balancer_address(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    lan.run("ip", "addr", "add", "192.0.2.9/32", "dev", "lo")
    balancer = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["198.51.100.0/24"]}
    for ranges, allowed in ((["198.51.100.0/24"], False), (["172.31.0.0/24"], True)):
        balancer["loadBalancerSourceRanges"] = ranges
        kernel.all(ports(PODS, status={"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}, **balancer))
        if allowed:
            assert lan.ask(lan.client, "192.0.2.9", 80)[0] in PODS
        else:
            with pytest.raises(TimeoutError):
                lan.ask(lan.client, "192.0.2.9", 80)


def test_local_policy_without_local_endpoints(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    """From outside nothing answers; the node itself and pods are served by the others."""
    kernel.all(ports(PODS, node_name="node-2", externalTrafficPolicy="Local"))
    with pytest.raises(TimeoutError):
        lan.ask(lan.client, NODE_IP, 30080)
    assert lan.ask(lan.node, NODE_IP, 30080)[0] in PODS
    assert lan.ask(pods[PODS[0]], NODE_IP, 30080)[0] in PODS
    kernel.all(ports(PODS, node_name="node-2", internalTrafficPolicy="Local"))
    with pytest.raises(TimeoutError):
        lan.ask(lan.node, VIP, 80)


def test_nftables_table_is_repaired_and_removed(lan: Any, pods: dict[str, str]) -> None:
    kernel = Kernel(lan, "nftables")
    kernel.all(ports(PODS))
    assert asyncio.run(kernel.applier.intact())
    lan.run("nft", "flush", "ruleset")
    assert not asyncio.run(kernel.applier.intact())
    kernel.all(ports(PODS))
    assert lan.ask(lan.node, VIP, 80)[0] in PODS
    asyncio.run(kernel.applier.remove())
    assert "kube-proxy" not in lan.run("nft", "list", "ruleset")


def test_affinity_ends_after_its_time_also_when_that_changes(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    def affinity(seconds: int) -> tuple[ServicePort, ...]:
        config = {"clientIP": {"timeoutSeconds": seconds}}
        return ports(PODS, sessionAffinity="ClientIP", sessionAffinityConfig=config)

    kernel.all(affinity(10_800))
    assert len({lan.ask(lan.node, VIP, 80)[0] for _ in range(6)}) == 1
    kernel.change(affinity(1))
    answers: set[str] = set()
    deadline = time.monotonic() + 30
    while len(answers) < 2 and time.monotonic() < deadline:
        answers.add(lan.ask(lan.node, VIP, 80)[0])
        time.sleep(1.5)  # the kernel's own time: nothing tells when an entry is over
    assert len(answers) > 1, "a client that comes back after the time-out is free again"


def test_external_addresses_lead_to_endpoints_and_follow_the_policy(
    lan: Any, kernel: Kernel, pods: dict[str, str]
) -> None:
    external = "192.0.2.77"
    lan.run("ip", "addr", "add", f"{external}/32", "dev", "lo")
    kernel.all(ports(PODS, externalIPs=[external]))
    assert lan.ask(lan.client, external, 80)[1] == "10.244.1.1", "masqueraded"
    kernel.change(ports(PODS, externalIPs=[external], externalTrafficPolicy="Local"))
    assert lan.ask(lan.client, external, 80)[1] == CLIENT_IP
    kernel.change(ports((), externalIPs=[external]))
    with pytest.raises(ConnectionRefusedError):
        lan.ask(lan.client, external, 80)


def test_udp_flows_of_a_node_port_move_on_also_when_only_the_port_changes(
    lan: Any, kernel: Kernel, pods: dict[str, str]
) -> None:
    lan.serve(pods[PODS[0]], PODS[0], 9090)
    kernel.all(ports(PODS[:1]))
    sock = lan.datagram(lan.client, 5556)

    def flows() -> str:
        sock.sendto(b"who", (NODE_IP, 30080))
        assert sock.recv(200).decode().split(" ")[0] in PODS
        return str(lan.run("conntrack", "-L", "-p", "udp", "--dport", "30080"))

    before = ports(PODS[:1])
    assert f"src={PODS[0]}" in flows()
    for after, ip_of, number in ((ports(PODS[:1], target=9090), PODS[0], 9090), (ports(PODS[1:2]), PODS[1], 8080)):
        kernel.change(after)
        asyncio.run(Conntrack(lan.enter).forget(deletions(before, after)))
        found = flows()
        assert f"src={ip_of}" in found and f"sport={number} " in found
        before = after


def test_local_policies_are_apart(lan: Any, kernel: Kernel, pods: dict[str, str]) -> None:
    """internalTrafficPolicy is for the cluster address only, externalTrafficPolicy for all others."""
    kernel.all(ports(PODS, node_name="node-2", internalTrafficPolicy="Local"))
    with pytest.raises(TimeoutError):
        lan.ask(lan.node, VIP, 80)
    assert lan.ask(lan.client, NODE_IP, 30080)[0] in PODS
    kernel.change(ports(PODS, internalTrafficPolicy="Local", externalTrafficPolicy="Local"))
    assert lan.ask(lan.node, VIP, 80)[0] in PODS
    assert lan.ask(lan.client, NODE_IP, 30080)[1] == CLIENT_IP
