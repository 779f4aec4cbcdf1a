"""The pure part of network policies, against a dumb model of who may talk to whom; and the kernel's own reading."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.objects import selectors
from argosy.objects.types import JsonObject
from node_agent.network_policy.model import Block, pod_of, policy_of, slim
from node_agent.network_policy.table import Held, frame
from node_agent.network_policy.world import Chain, Direction, Wanted, World, merge

NODE = "n1"
LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
SELECTORS = st.one_of(
    LABELS.map(lambda labels: {"matchLabels": labels} if labels else {}),
    st.sampled_from("ab").map(lambda key: {"matchExpressions": [{"key": key, "operator": "DoesNotExist"}]}),
)
BLOCKS = st.sampled_from(
    [
        {"cidr": "0.0.0.0/0"},
        {"cidr": "10.0.0.0/29", "except": ["10.0.0.2/31", "10.0.0.3/32"]},
        {"cidr": "10.0.0.4/30"},
        {"cidr": "fd00::/64"},
    ]
)
PEERS = st.one_of(
    st.fixed_dictionaries({"podSelector": SELECTORS}),
    st.fixed_dictionaries({"namespaceSelector": SELECTORS}),
    st.fixed_dictionaries({"namespaceSelector": SELECTORS, "podSelector": SELECTORS}),
    st.fixed_dictionaries({"ipBlock": BLOCKS}),
)
PORTS = st.sampled_from(
    [
        {"protocol": "TCP", "port": 80},
        {"protocol": "TCP", "port": 79, "endPort": 81},
        {"protocol": "UDP"},
        {"protocol": "TCP", "port": "http"},
        {"protocol": "SCTP", "port": 80},
    ]
)
PACKETS = [("TCP", 80), ("TCP", 81), ("TCP", 8080), ("UDP", 80), ("SCTP", 80)]


def _rules(peers: str) -> st.SearchStrategy[list[JsonObject]]:
    rule: Any = st.fixed_dictionaries(
        {}, optional={peers: st.lists(PEERS, max_size=2), "ports": st.lists(PORTS, max_size=2)}
    )
    return st.lists(rule, max_size=2)


POLICIES = st.fixed_dictionaries(
    {
        "podSelector": SELECTORS,
        "policyTypes": st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
        "ingress": _rules("from"),
        "egress": _rules("to"),
    }
)
PODS = st.fixed_dictionaries(
    {
        "namespace": st.sampled_from("st"),
        "labels": LABELS,
        "http": st.sampled_from([0, 80, 8080]),
        "node": st.sampled_from([NODE, "n2"]),
        "host": st.sampled_from([False, False, False, True]),
        "phase": st.sampled_from(["Running", "Running", "Running", "Failed"]),
    }
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("pod"), st.integers(1, 6), st.none() | PODS),
        st.tuples(st.just("namespace"), st.sampled_from("st"), LABELS),
        st.tuples(st.just("policy"), st.tuples(st.sampled_from("st"), st.integers(0, 2)), st.none() | POLICIES),
    ),
    max_size=14,
)


def pod(number: int, facts: JsonObject) -> JsonObject:
    ports = [{"name": "http", "containerPort": facts["http"]}] if facts["http"] else []
    return {
        "metadata": {"name": f"p{number}", "namespace": facts["namespace"], "labels": facts["labels"]},
        "spec": {"nodeName": facts["node"], "hostNetwork": facts["host"], "containers": [{"ports": ports}]},
        "status": {"phase": facts["phase"], "podIPs": [{"ip": f"10.0.0.{number}"}, {"ip": f"fd00::{number}"}]},
    }


def policy(space: str, number: int, spec: JsonObject) -> JsonObject:
    return {"metadata": {"name": f"{number}", "namespace": space}, "spec": spec}


class Model:
    """The definition, word for word and slow: every question is asked of the objects themselves."""

    def __init__(self, pods: dict, namespaces: dict, policies: dict) -> None:
        self.pods, self.namespaces, self.policies = pods, namespaces, policies

    def matches(self, selector: JsonObject, labels: dict) -> bool:
        return selectors.from_object(selector).matches(labels)

    def is_peer(self, peer: JsonObject, space: str, number: int, address: str) -> bool:
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            inside = [ipaddress.ip_address(address) in ipaddress.ip_network(text) for text in block.get("except", ())]
            return ipaddress.ip_address(address) in ipaddress.ip_network(block["cidr"]) and not any(inside)
        facts = self.pods.get(number)
        if facts is None or facts["host"] or facts["phase"] == "Failed":
            return False
        if "namespaceSelector" in peer:
            labels = self.namespaces.get(facts["namespace"])
            if labels is None or not self.matches(peer["namespaceSelector"], labels):
                return False
        elif facts["namespace"] != space:
            return False
        return self.matches(peer.get("podSelector", {}), facts["labels"])

    def port_fits(self, port: JsonObject, packet: tuple[str, int], target: int) -> bool:
        if port["protocol"] != packet[0]:
            return False
        wanted = port.get("port")
        if wanted is None:
            return True
        if wanted == "http":
            facts = self.pods.get(target)
            return (
                facts is not None and not facts["host"] and facts["phase"] != "Failed" and facts["http"] == packet[1]
            )
        return wanted <= packet[1] <= port.get("endPort", wanted)

    def one_way(self, own: int, other: int, direction: Direction, packet: tuple[str, int], family: int) -> bool:
        facts = self.pods[own]
        kind, rules, peers = ("Ingress", "ingress", "from") if direction == "to" else ("Egress", "egress", "to")
        address = f"10.0.0.{other}" if family == 4 else f"fd00::{other}"
        isolated = False
        for (space, _), spec in self.policies.items():
            if space != facts["namespace"] or kind not in spec["policyTypes"]:
                continue
            if not self.matches(spec["podSelector"], facts["labels"]):
                continue
            isolated = True
            for rule in spec[rules]:
                peer_fits = not rule.get(peers) or any(self.is_peer(p, space, other, address) for p in rule[peers])
                target = own if direction == "to" else other
                fits = not rule.get("ports") or any(self.port_fits(p, packet, target) for p in rule["ports"])
                if peer_fits and fits:
                    return True
        return not isolated


def passes(wanted: Wanted, chain: Chain, other: str, target: str, packet: tuple[str, int]) -> bool:
    """As the kernel goes through the rules of a chain."""
    for match in chain:
        if isinstance(match.peer, Block):
            networks = [ipaddress.ip_network(text) for text in match.peer.excepted]
            found = ipaddress.ip_address(other)
            if found not in ipaddress.ip_network(match.peer.cidr) or any(found in item for item in networks):
                continue
        elif match.peer is not None and (other, 0) not in wanted.sets[match.peer]:
            continue
        if match.protocol and match.protocol != packet[0]:
            continue
        if match.ports and not any(first <= packet[1] <= last for first, last in match.ports):
            continue
        if match.named is not None and (target, packet[1]) not in wanted.sets[match.named]:
            continue
        return True
    return False


@settings(max_examples=150, deadline=None)
@given(CHANGES)
def test_the_rules_are_what_the_policies_say_after_any_changes(changes: list) -> None:
    world, held = World(NODE), Held()
    pods: dict = {}
    namespaces: dict = {}
    policies: dict = {}
    for what, key, value in changes:
        if what == "pod":
            old = pods.pop(key, None)
            if old is not None and (value is None or value["namespace"] != old["namespace"]):
                world.set_pod(f"{old['namespace']}/p{key}", None)
            if value is not None:
                pods[key] = value
                world.set_pod(f"{value['namespace']}/p{key}", pod_of(slim(pod(key, value))))
        elif what == "namespace":
            namespaces[key] = value
            world.set_namespace(key, value)
        else:
            policies.pop(key, None)
            if value is not None:
                policies[key] = value
            world.set_policy(f"{key[0]}/{key[1]}", policy_of(policy(*key, value)) if value is not None else None)
        held.change(world.wanted())
    wanted, model = world.wanted(), Model(pods, namespaces, policies)
    for own, facts in pods.items():
        for family in (4, 6):
            for direction in ("from", "to"):
                _compare(wanted, model, own, facts, family, direction)  # type: ignore[arg-type]


def _compare(wanted: Wanted, model: Model, own: int, facts: JsonObject, family: int, direction: Direction) -> None:
    text = "10.0.0." if family == 4 else "fd00::"
    chain = wanted.verdicts[direction].get(f"{text}{own}")
    if facts["node"] != NODE or facts["host"] or facts["phase"] == "Failed":
        assert chain is None, "only this node's own pods are filtered"
        return
    for other in range(1, 8):
        target = f"{text}{own if direction == 'to' else other}"
        for packet in PACKETS:
            allowed = chain is None or passes(wanted, chain, f"{text}{other}", target, packet)
            assert allowed == model.one_way(own, other, direction, packet, family), (own, other, direction, packet)


DENY: JsonObject = {"podSelector": {"matchLabels": {"a": "x"}}, "policyTypes": ["Ingress"]}
FACTS: JsonObject = {
    "namespace": "s", "labels": {"a": "x"}, "http": 80, "node": NODE, "host": False, "phase": "Running",
}  # fmt: skip


def test_an_address_waits_while_a_selected_pod_has_none() -> None:
    world = World(NODE)
    world.set_policy("s/0", policy_of(policy("s", 0, DENY)))
    starting = pod(1, FACTS)
    starting["status"] = {"phase": "Pending"}
    world.set_pod("s/p1", pod_of(starting))
    assert world.wanted().hold
    world.set_pod("s/p1", pod_of(pod(1, FACTS)))
    wanted = world.wanted()
    assert not wanted.hold
    assert wanted.verdicts["to"]["10.0.0.1"] == ()
    other = pod(2, {**FACTS, "labels": {}})
    other["status"] = {"phase": "Pending"}
    world.set_pod("s/p2", pod_of(other))
    assert not world.wanted().hold, "who is not selected does not make others wait"


def test_pods_with_the_same_rules_share_a_chain_and_a_change_is_small() -> None:
    world, held = World(NODE), Held()
    world.set_policy("s/0", policy_of(policy("s", 0, DENY)))
    for number in range(1, 6):
        world.set_pod(f"s/p{number}", pod_of(pod(number, FACTS)))
    assert len([line for line in held.change(world.wanted()) if line.startswith("add chain")]) == 1
    world.set_pod("s/p6", pod_of(pod(6, FACTS)))
    lines = held.change(world.wanted())
    assert all(line.startswith("add element") for line in lines) and "10.0.0.5" not in "".join(lines)
    assert held.change(world.wanted()) == []
    assert frame()[:2] == ["add table inet argosy-policy", "delete table inet argosy-policy"]


def test_ranges_of_ports_do_not_overlap() -> None:
    assert merge([(80, 90), (85, 85), (91, 95), (100, 100)]) == ((80, 95), (100, 100))
