"""What network policies say, as values: pods, peers, ports and rules, read from API objects; pure.

Semantics: `k8s.io/api/networking/v1`, types.go. Pods of the host's network and pods that are over are neither
selected nor peers. Called by world.py, which turns it into the rules of a node.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from argosy.objects import meta, names, selectors
from argosy.objects.selectors import Selector
from argosy.objects.types import JsonObject

OVER: Final = ("Succeeded", "Failed")
PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
LAST_PORT: Final = 65535


@dataclass(frozen=True)
class NamedPort:
    """A container port with a name; also what a policy asks for (`number` 0)."""

    protocol: str
    name: str
    number: int = 0


@dataclass(frozen=True)
class Pod:
    key: str
    namespace: str
    labels: Mapping[str, str]
    node: str
    addresses: tuple[str, ...]
    ports: tuple[NamedPort, ...]


@dataclass(frozen=True)
class Peer:
    """Pods by label, of one namespace or, with `namespaces`, of those by label."""

    namespace: str
    pods: Selector
    namespaces: Selector | None = None


@dataclass(frozen=True)
class Block:
    cidr: str
    excepted: tuple[str, ...] = ()

    @property
    def family(self) -> int:
        return ipaddress.ip_network(self.cidr).version


@dataclass(frozen=True)
class Ports:
    """One port of a rule: a range of numbers, or a name."""

    protocol: str
    first: int = 0
    last: int = LAST_PORT
    name: str = ""


@dataclass(frozen=True)
class Rule:
    """Allows what matches one of the peers and one of the ports; None is any."""

    peers: tuple[Peer | Block, ...] | None
    ports: tuple[Ports, ...] | None


@dataclass(frozen=True)
class Policy:
    """Per direction its rules; None where it says nothing about the direction."""

    key: str
    namespace: str
    selector: Selector
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None


def slim(pod: JsonObject) -> JsonObject:
    """What is kept of a pod of which a node holds thousands."""
    found = meta.metadata(pod)
    kept = ("name", "namespace", "uid", "resourceVersion", "labels")
    spec, status = meta.spec(pod), meta.status(pod)
    sidecars = [item for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"]
    containers = [
        {"ports": item["ports"]} for item in (*(spec.get("containers") or ()), *sidecars) if item.get("ports")
    ]
    return {
        "metadata": {name: found[name] for name in kept if name in found},
        "spec": {
            "nodeName": spec.get("nodeName", ""),
            "hostNetwork": bool(spec.get("hostNetwork")),
            "containers": [{"ports": item["ports"]} for item in containers if item.get("ports")],
        },
        "status": {name: status[name] for name in ("phase", "podIP", "podIPs") if name in status},
    }


def pod_of(obj: JsonObject) -> Pod | None:
    """None for a pod that policies do not know: of the host's network, over, or not on a node yet."""
    spec, status = meta.spec(obj), meta.status(obj)
    if spec.get("hostNetwork") or status.get("phase") in OVER or not spec.get("nodeName"):
        return None
    addresses = [str(item.get("ip") or "") for item in status.get("podIPs") or ()] or [str(status.get("podIP") or "")]
    ports = [
        NamedPort(str(port.get("protocol") or "TCP"), str(port["name"]), int(port.get("containerPort") or 0))
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("name")
    ]
    return Pod(
        meta.key(obj),
        meta.namespace(obj),
        dict(meta.labels(obj)),
        str(spec["nodeName"]),
        tuple(text for text in addresses if not names.check_ip(text)),
        tuple(ports),
    )


def policy_of(obj: JsonObject) -> Policy:
    """Raises SelectorError or ValueError for one that the API server would not have let in."""
    spec, space = meta.spec(obj), meta.namespace(obj)
    types = spec.get("policyTypes") or ["Ingress"]
    return Policy(
        meta.key(obj),
        space,
        selectors.from_object(spec.get("podSelector") or {}),
        _rules(spec.get("ingress"), "from", space) if "Ingress" in types else None,
        _rules(spec.get("egress"), "to", space) if "Egress" in types else None,
    )


def _rules(rules: list[JsonObject] | None, peers: str, space: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            tuple(_peer(peer, space) for peer in rule[peers]) if rule.get(peers) else None,
            tuple(_ports(port) for port in rule["ports"]) if rule.get("ports") else None,
        )
        for rule in rules or ()
    )


def _peer(peer: JsonObject, space: str) -> Peer | Block:
    block = peer.get("ipBlock")
    if block is not None:
        whole = ipaddress.ip_network(block["cidr"], strict=False)
        return Block(str(whole), _collapsed(block.get("except") or (), whole.version))
    pods = selectors.from_object(peer.get("podSelector") or {})
    if peer.get("namespaceSelector") is None:
        return Peer(space, pods)
    return Peer("", pods, selectors.from_object(peer["namespaceSelector"]))


def _ports(port: JsonObject) -> Ports:
    protocol, number = str(port.get("protocol") or "TCP"), port.get("port")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol}")
    if number is None:
        return Ports(protocol)
    if isinstance(number, int):
        return Ports(protocol, number, int(port.get("endPort") or number))
    return Ports(protocol, name=str(number))


def _collapsed(texts: Iterable[str], version: int) -> tuple[str, ...]:
    """Without overlaps: nftables refuses sets that have some."""
    networks = [ipaddress.ip_network(text, strict=False) for text in texts]
    if version == 4:
        found = ipaddress.collapse_addresses(item for item in networks if isinstance(item, ipaddress.IPv4Network))
        return tuple(str(item) for item in found)
    others = ipaddress.collapse_addresses(item for item in networks if isinstance(item, ipaddress.IPv6Network))
    return tuple(str(item) for item in others)
