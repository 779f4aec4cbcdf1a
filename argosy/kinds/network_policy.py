"""NetworkPolicy: who may talk to the pods that it selects, and to whom they may talk.

Rules: upstream `pkg/apis/networking/validation/validation.go`, ValidateNetworkPolicySpec and ValidateIPBlock, and
`pkg/apis/networking/v1/defaults.go`. The node agents enforce it (node_agent/network_policy).
"""

from __future__ import annotations

import ipaddress

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.kinds.label_rules import validate_selector
from argosy.objects import meta, names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

PROTOCOLS = ("SCTP", "TCP", "UDP")
TYPES = ("Egress", "Ingress")
DIRECTIONS = (("ingress", "from"), ("egress", "to"))


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    for direction, _ in DIRECTIONS:
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                if port.get("protocol") is None:
                    port["protocol"] = "TCP"
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _port(item: JsonObject, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    protocol, port, end = item.get("protocol"), item.get("port"), item.get("endPort")
    if protocol is not None and protocol not in PROTOCOLS:
        errors.append(not_supported(f"{where}.protocol", protocol, PROTOCOLS))
    if port is None:
        if end is not None:
            errors.append(invalid_value(f"{where}.endPort", end, "may not be specified when `port` is not specified"))
    elif isinstance(port, int):
        errors += [invalid_value(f"{where}.port", port, text) for text in names.check_port(port)]
        if end is not None:
            if end < port:
                errors.append(invalid_value(f"{where}.endPort", end, "must be greater than or equal to `port`"))
            errors += [invalid_value(f"{where}.endPort", end, text) for text in names.check_port(end)]
    else:
        if end is not None:
            errors.append(invalid_value(f"{where}.endPort", end, "may not be specified when `port` is non-numeric"))
        errors += [invalid_value(f"{where}.port", port, text) for text in names.check_port_name(str(port))]
    return errors


def _block(block: JsonObject, where: str) -> list[FieldError]:
    cidr = block.get("cidr")
    if not cidr:
        return [required(f"{where}.cidr")]
    bad = names.check_cidr(cidr)
    if bad:
        return [invalid_value(f"{where}.cidr", cidr, text) for text in bad]
    whole = ipaddress.ip_network(cidr, strict=False)
    errors: list[FieldError] = []
    for index, text in enumerate(block.get("except") or ()):
        at = f"{where}.except[{index}]"
        bad = names.check_cidr(text)
        if bad:
            errors += [invalid_value(at, text, message) for message in bad]
            continue
        part = ipaddress.ip_network(text, strict=False)
        inside = part.version == whole.version and part.network_address in whole
        if not inside or part.prefixlen <= whole.prefixlen:
            errors.append(invalid_value(at, text, "must be a strict subset of `cidr`"))
    return errors


def _peer(peer: JsonObject, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("podSelector", "namespaceSelector"):
        errors += validate_selector(peer.get(field), f"{where}.{field}")
    block = peer.get("ipBlock")
    if block is not None:
        errors += _block(block, f"{where}.ipBlock")
    given = sum(peer.get(field) is not None for field in ("podSelector", "namespaceSelector", "ipBlock"))
    if not given:
        errors.append(required(where, "must specify a peer"))
    elif given > 1 and block is not None:
        errors.append(forbidden_field(where, "may not specify both ipBlock and another peer"))
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec = meta.spec(obj)
    errors = validate_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in DIRECTIONS:
        for index, rule in enumerate(spec.get(direction) or ()):
            where = f"spec.{direction}[{index}]"
            for place, port in enumerate(rule.get("ports") or ()):
                errors += _port(port, f"{where}.ports[{place}]")
            for place, peer in enumerate(rule.get(peers) or ()):
                errors += _peer(peer, f"{where}.{peers}[{place}]")
    types = spec.get("policyTypes") or []
    if len(types) > len(TYPES):
        return [*errors, invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes")]
    for index, kind in enumerate(types):
        if kind not in TYPES:
            errors.append(not_supported(f"spec.policyTypes[{index}]", kind, TYPES))
    return errors


NETWORK_POLICY = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    singular="networkpolicy",
    namespaced=True,
    short_names=("netpol",),
    default=default,
    validate=validate,
    has_generation=True,
    columns=(
        columns.computed(
            "Pod-Selector",
            lambda obj: columns.label_selector(meta.spec(obj).get("podSelector")),
            description="The pods that it is for.",
        ),
        AGE_COLUMN,
    ),
)
