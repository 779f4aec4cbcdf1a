"""rules.py against a dumb model: which endpoints can a packet reach, by walking the chains as the kernel would."""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.proxy import conntrack, model, restore, rules
from node_agent.proxy.model import NodeFacts

NODE = NodeFacts("here", ("10.244.0.0/16",), pod_cidrs=("10.244.3.0/24",))
NODE_IP = "172.31.0.10"
VIP, EXTERNAL, BALANCER = "10.96.0.80", "192.0.2.7", "192.0.2.9"
POD, OUTSIDE = "10.244.3.3", "198.51.100.1"
FAR_POD = "10.244.9.9"
"""On another node: its packets come here unmasked."""


@dataclass(frozen=True)
class Packet:
    source: str
    destination: str
    port: int
    protocol: str = "tcp"
    from_node: bool = False


@dataclass(frozen=True)
class Verdict:
    """What may happen to a new connection."""

    kind: str
    """dnat, reject, drop or untouched."""
    target: str = ""
    masqueraded: bool = False


class Kernel:
    """The chains of a full sync, walked with every outcome of the random matches."""

    def __init__(self, pieces: list[rules.Fragment]) -> None:
        self.tables = parse(restore.full(rules.frame("IPv4"), pieces, ""))

    def verdicts(self, packet: Packet) -> set[Verdict]:
        nat = "OUTPUT" if packet.from_node else "PREROUTING"
        result: set[Verdict] = set()
        for target, marked in self._walk("nat", nat, packet, False):
            if target:
                result.add(Verdict("dnat", target, marked))
            elif packet.from_node:
                result.add(self._filtered("OUTPUT", packet))
            elif packet.destination == NODE_IP:
                result.add(self._filtered("INPUT", packet))
            else:
                result.add(self._filtered("FORWARD", packet))
        return result

    def _filtered(self, hook: str, packet: Packet) -> Verdict:
        for target, _ in self._walk("filter", hook, packet, False):
            if target:
                return Verdict(target.lower())
        return Verdict("untouched")

    def _walk(self, table: str, chain: str, packet: Packet, marked: bool) -> list[tuple[str, bool]]:
        """All ends: (DNAT target, REJECT or DROP; empty when it fell through, mark set)."""
        ends: list[tuple[str, bool]] = []
        going = [marked]
        for rule in self.tables[table].get(chain, []):
            following: list[bool] = []
            for mark in going:
                sure, words = matches(rule, packet)
                if sure is False:
                    following.append(mark)
                    continue
                if sure is None:
                    following.append(mark)
                target = words["-j"]
                if target == "MARK":
                    following.append(True)
                elif target == "DNAT":
                    ends.append((words["--to-destination"], mark))
                elif target in ("REJECT", "DROP"):
                    ends.append((target, mark))
                elif target in ("ACCEPT", "RETURN", "MASQUERADE"):
                    raise AssertionError(f"not expected for a new packet: {rule}")
                else:
                    for end, after in self._walk(table, target, packet, mark):
                        if end:
                            ends.append((end, after))
                        else:
                            following.append(after)
            going = list(dict.fromkeys(following))
        return ends + [("", mark) for mark in going]


def parse(text: str) -> dict[str, dict[str, list[str]]]:
    tables: dict[str, dict[str, list[str]]] = {}
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], {})
        elif line.startswith(":"):
            table.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            chain, rule = line[3:].split(" ", 1)
            assert chain in table, f"undeclared chain in {line}"
            table[chain].append(rule)
        elif line.startswith("-I "):
            chain, rule = line[3:].split(" ", 1)
            table.setdefault(chain, []).insert(0, rule)
        else:
            assert line == "COMMIT", line
    for chains in tables.values():
        for name, lines in chains.items():
            for rule in lines:
                match = re.search(r"-j (KUBE-\S+)", rule)
                assert match is None or match.group(1) in chains, f"{name} jumps to a chain that is not there: {rule}"
    return tables


def matches(rule: str, packet: Packet) -> tuple[bool | None, dict[str, str]]:
    """True, False, or None for "perhaps" (random and recent)."""
    words = shlex.split(rule)
    values: dict[str, str] = {}
    answer: bool | None = True
    negated = False
    position = 0
    while position < len(words):
        word, value = words[position], words[position + 1] if position + 1 < len(words) else ""
        if word == "!":
            negated = True
            position += 1
            continue
        hit: bool | None = True
        if word in ("-s", "-d"):
            address = packet.source if word == "-s" else packet.destination
            hit = ipaddress.ip_address(address) in ipaddress.ip_network(value)
        elif word == "-p":
            hit = value == packet.protocol
        elif word == "--dport":
            hit = int(value) == packet.port
        elif word == "--dst-type":
            hit = packet.destination == NODE_IP or packet.destination.startswith("127.")
        elif word == "--src-type":
            hit = packet.from_node
        elif word == "--ctstate":
            hit = "NEW" in value.split(",")
        elif word == "--mark":
            hit = False
        elif word == "--rcheck":
            hit, position = None, position - 1
        elif word == "--probability":
            hit = None
        elif word in ("--reap", "--set", "--random-fully"):
            position -= 1
        if negated:
            hit, negated = (None if hit is None else not hit), False
        if hit is False:
            answer = False
        elif hit is None and answer is True:
            answer = None
        values[word] = value
        position += 2
    return answer, values


endpoint = st.fixed_dictionaries(
    {
        "last": st.integers(1, 6),
        "local": st.booleans(),
        "ready": st.sampled_from([True, True, False, None]),
        "serving": st.sampled_from([True, False, None]),
        "terminating": st.booleans(),
    }
)
services = st.fixed_dictionaries(
    {
        "internal": st.sampled_from(["Cluster", "Local"]),
        "external": st.sampled_from(["Cluster", "Local"]),
        "node_port": st.booleans(),
        "external_ip": st.booleans(),
        "balancer": st.booleans(),
        "ranges": st.booleans(),
        "affinity": st.booleans(),
        "protocol": st.sampled_from(["TCP", "UDP", "SCTP"]),
    }
)


def build(shape: dict[str, Any], found: list[dict[str, Any]], name: str = "web") -> tuple[model.ServicePort, ...]:
    service: dict[str, Any] = {
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "clusterIP": VIP,
            "ports": [{"name": "p", "port": 80, "protocol": shape["protocol"]}],
            "internalTrafficPolicy": shape["internal"],
            "externalTrafficPolicy": shape["external"],
            "externalIPs": [EXTERNAL] if shape["external_ip"] else [],
            "loadBalancerSourceRanges": ["198.51.100.0/24"] if shape["ranges"] else [],
            "sessionAffinity": "ClientIP" if shape["affinity"] else "None",
        },
    }
    if shape["node_port"]:
        service["spec"]["ports"][0]["nodePort"] = 30080
    if shape["balancer"]:
        service["status"] = {"loadBalancer": {"ingress": [{"ip": BALANCER}]}}
    piece = {
        "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "p", "port": 8080, "protocol": shape["protocol"]}],
        "endpoints": [
            {
                "addresses": [f"10.244.1.{item['last']}"],
                "nodeName": "here" if item["local"] else "there",
                "conditions": {
                    key: item[key] for key in ("ready", "serving", "terminating") if item[key] is not None
                },
            }
            for item in found
        ],
    }
    return model.service_ports(service, [piece], NODE, "IPv4")


def model_choice(found: list[dict[str, Any]], *, local: bool) -> set[str]:
    """Which endpoints a packet may go to, said as simply as can be."""
    mine = [item for item in found if item["local"] or not local]
    ready = {item["last"] for item in mine if item["ready"] is not False}
    if not ready:
        ready = {item["last"] for item in mine if item["terminating"] and item["serving"] is True}
    return {f"10.244.1.{last}:8080" for last in ready}


@settings(max_examples=300, deadline=None)
@given(services, st.lists(endpoint, max_size=5, unique_by=lambda item: item["last"]))
def test_packets_reach_exactly_the_endpoints_that_they_may(
    shape: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    ports = build(shape, found)
    kernel = Kernel([rules.fragment(ports, NODE)])
    protocol = shape["protocol"].lower()
    anywhere = model_choice(found, local=False)
    here = model_choice(found, local=True)
    destinations = [(VIP, 80, True)]
    if shape["node_port"]:
        destinations.append((NODE_IP, 30080, False))
    if shape["external_ip"]:
        destinations.append((EXTERNAL, 80, False))
    if shape["balancer"]:
        destinations.append((BALANCER, 80, False))
    for destination, number, internal in destinations:
        for source, from_node in ((POD, False), (FAR_POD, False), (OUTSIDE, False), (NODE_IP, True)):
            packet = Packet(source, destination, number, protocol, from_node)
            got = kernel.verdicts(packet)
            if destination == BALANCER and shape["ranges"] and source != OUTSIDE:
                assert "dnat" not in {item.kind for item in got}, (packet, got)
                assert from_node or {item.kind for item in got} <= {"drop", "reject"}, (packet, got)
                continue
            if internal:
                wanted = here if shape["internal"] == "Local" else anywhere
            elif shape["external"] == "Local" and not (source == POD or from_node):
                wanted = here
            else:
                wanted = anywhere
            fallback = "drop" if anywhere else "reject"
            if wanted:
                assert {item.target for item in got} == wanted, (packet, got)
                assert {item.kind for item in got} == {"dnat"}, (packet, got)
            elif from_node and not internal:
                assert "dnat" not in {item.kind for item in got}, (packet, got)
            else:
                assert {item.kind for item in got} == {fallback}, (packet, got)
            if wanted and internal:
                assert {item.masqueraded for item in got} == {source not in (POD, FAR_POD)}, (packet, got)


def test_hairpin_is_masqueraded() -> None:
    shape = example()
    kernel = Kernel([rules.fragment(build(shape, [ready(1), ready(2)]), NODE)])
    got = kernel.verdicts(Packet("10.244.1.1", VIP, 80))
    assert got == {Verdict("dnat", "10.244.1.1:8080", True), Verdict("dnat", "10.244.1.2:8080", False)}


def example(**changes: Any) -> dict[str, Any]:
    return {
        "internal": "Cluster",
        "external": "Cluster",
        "node_port": False,
        "external_ip": False,
        "balancer": False,
        "ranges": False,
        "affinity": False,
        "protocol": "TCP",
        **changes,
    }


def ready(last: int, local: bool = True) -> dict[str, Any]:
    return {"last": last, "local": local, "ready": True, "serving": True, "terminating": False}


def apply(tables: dict[str, dict[str, list[str]]], text: str) -> None:
    """What `iptables-restore --noflush` does, refusing what the kernel would refuse."""
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if line.startswith("*"):
            table = tables.setdefault(line[1:], {})
        elif line.startswith(":"):
            table[word[1:]] = []
        elif word == "-X":
            assert not table[rest], f"chain {rest} is not empty"
            users = [name for name, lines in table.items() if any(f"-j {rest}" in rule for rule in lines)]
            assert not users, f"chain {rest} is used by {users}"
            del table[rest]
        elif word in ("-A", "-I", "-D"):
            chain, rule = rest.split(" ", 1)
            if word == "-A":
                table[chain].append(rule)
            elif word == "-I":
                table[chain].insert(0, rule)
            else:
                table[chain].remove(rule)
        else:
            assert line == "COMMIT", line


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            services,
            st.lists(endpoint, max_size=4, unique_by=lambda item: item["last"]),
        ),
        max_size=8,
    )
)
def test_changes_one_by_one_end_where_a_full_sync_ends(steps: list[tuple[str, Any, Any]]) -> None:
    frame = rules.frame("IPv4")
    state: dict[str, rules.Fragment] = {}
    tables: dict[str, dict[str, list[str]]] = {"nat": {}, "filter": {}}
    for table in tables.values():
        table.update({name: [] for name in ("PREROUTING", "OUTPUT", "POSTROUTING", "INPUT", "FORWARD")})
    apply(tables, restore.full(frame, [], ""))
    for name, shape, found in steps:
        new = rules.fragment(build(shape, found, name), NODE)
        apply(tables, restore.change([(state.get(name), new)]))
        state[name] = new
    again: dict[str, dict[str, list[str]]] = {"nat": {}, "filter": {}}
    for table in again.values():
        table.update({name: [] for name in ("PREROUTING", "OUTPUT", "POSTROUTING", "INPUT", "FORWARD")})
    apply(again, restore.full(frame, state.values(), ""))
    for name in tables:
        assert {chain: sorted(lines) for chain, lines in tables[name].items()} == {
            chain: sorted(lines) for chain, lines in again[name].items()
        }
    for chain in (("nat", "KUBE-SERVICES"),):
        assert tables[chain[0]][chain[1]][-1].endswith("-j KUBE-NODEPORTS"), "NodePorts come last"


def test_one_change_writes_only_itself() -> None:
    before = rules.fragment(build(example(), [ready(1), ready(2)]), NODE)
    after = rules.fragment(build(example(), [ready(1), ready(3)]), NODE)
    text = restore.change([(before, after)])
    assert text.count("\n:") == 3, "the service's chain, one endpoint's new, one's old"
    assert "KUBE-SERVICES" not in text
    assert restore.change([(after, after)]) == ""


def test_names_are_the_ones_of_kube_proxy() -> None:
    """KUBE-SVC-NPX46M4PTMTKRN6Y is what every cluster calls default/kubernetes:https."""
    port = model.ServicePort("default/kubernetes:https", "IPv4", "tcp", "10.96.0.1", 443)
    assert rules.service_hash(port) == "NPX46M4PTMTKRN6Y"


def test_headless_external_name_and_other_proxies_are_left_alone() -> None:
    for change in (
        {"spec": {"clusterIP": "None", "ports": [{"port": 80}]}},
        {"spec": {"type": "ExternalName", "externalName": "example.org", "clusterIP": VIP}},
        {"metadata": {"name": "x", "namespace": "d", "labels": {"service.kubernetes.io/service-proxy-name": "z"}}},
    ):
        service: dict[str, Any] = {
            "metadata": {"name": "x", "namespace": "d"},
            "spec": {"clusterIP": VIP, "ports": [{"port": 80}]},
            **change,
        }
        assert model.service_ports(service, [], NODE, "IPv4") == ()


def test_udp_cleanup_names_gone_endpoints_and_fresh_services() -> None:
    shape = example(protocol="UDP", node_port=True)
    two, one, none = build(shape, [ready(1), ready(2)]), build(shape, [ready(1)]), build(shape, [])
    base = ("-D", "-f", "ipv4", "-p", "udp")
    assert conntrack.deletions(two, one) == [
        (*base, "--orig-dst", VIP, "--dport", "80", "--dst-nat", "10.244.1.2", "--reply-port-src", "8080"),
        (*base, "--dport", "30080", "--dst-nat", "10.244.1.2", "--reply-port-src", "8080"),
    ]
    assert conntrack.deletions(none, one) == [
        (*base, "--orig-dst", VIP, "--dport", "80"),
        (*base, "--dport", "30080"),
    ]
    assert conntrack.deletions(one, one) == []
    tcp = build(example(), [ready(1)])
    assert conntrack.deletions(tcp, ()) == []


def test_tcp_cleanup_names_addresses_from_outside_that_are_new() -> None:
    plain, external = build(example(node_port=True), [ready(1)]), build(example(external_ip=True), [])
    assert conntrack.deletions((), plain) == [], "nobody routes a cluster IP here"
    assert conntrack.deletions(plain, external) == conntrack.deletions((), external)
    assert [entry[5:] for entry in conntrack.deletions((), external)] == [
        ("--orig-dst", EXTERNAL, "--reply-src", EXTERNAL, "--dport", "80", "--state", "SYN_SENT")
    ]
    assert conntrack.deletions(external, build(example(external_ip=True), [ready(1)])) == []


def test_hints_keep_traffic_near_only_when_complete() -> None:
    node = replace(NODE, zone="z1")
    near = model.Candidate(model.Endpoint("10.0.0.1", 80), True, False, zones=("z1",))
    far = model.Candidate(model.Endpoint("10.0.0.2", 80), True, False, zones=("z2",))
    bare = model.Candidate(model.Endpoint("10.0.0.3", 80), True, False)
    assert model.usable([near, far], node) == (near.endpoint,)
    assert len(model.usable([near, far, bare], node)) == 3
    assert model.usable([far], node) == (far.endpoint,)
