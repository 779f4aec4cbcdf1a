"""NetworkPolicy: defaults, upstream's messages, and its columns."""

from typing import Any

import pytest

from argosy.kinds.network_policy import NETWORK_POLICY
from argosy.objects.types import JsonObject


def made(**spec: Any) -> JsonObject:
    obj: JsonObject = {"metadata": {"name": "x", "namespace": "default"}, "spec": {"podSelector": {}, **spec}}
    NETWORK_POLICY.default(obj)
    return obj


def test_directions_and_protocols_are_filled_in() -> None:
    assert made()["spec"]["policyTypes"] == ["Ingress"]
    spec = made(egress=[{"ports": [{"port": 53}]}])["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"][0]["ports"] == [{"port": 53, "protocol": "TCP"}]
    assert made(policyTypes=["Egress"])["spec"]["policyTypes"] == ["Egress"]


INGRESS_PORT = "spec.ingress[0].ports[0]"
PEER = "spec.egress[0].to[0]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"policyTypes": ["Both"]}, 'spec.policyTypes[0]: Unsupported value: "Both"'),
        ({"policyTypes": ["Ingress"] * 3}, "may not specify more than two policyTypes"),
        ({"ingress": [{"ports": [{"port": 0}]}]}, f"{INGRESS_PORT}.port: Invalid value: 0: must be between 1 and"),
        ({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}, f'{INGRESS_PORT}.protocol: Unsupported value: "ICMP"'),
        ({"ingress": [{"ports": [{"port": 9, "endPort": 8}]}]}, "must be greater than or equal to `port`"),
        ({"ingress": [{"ports": [{"endPort": 8}]}]}, "may not be specified when `port` is not specified"),
        ({"ingress": [{"ports": [{"port": "a", "endPort": 8}]}]}, "may not be specified when `port` is non-numeric"),
        ({"egress": [{"to": [{}]}]}, f"{PEER}: Required value: must specify a peer"),
        (
            {"egress": [{"to": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
            f"{PEER}: Forbidden: may not specify both ipBlock and another peer",
        ),
        ({"egress": [{"to": [{"ipBlock": {"cidr": ""}}]}]}, f"{PEER}.ipBlock.cidr: Required value"),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]},
            f'{PEER}.ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`',
        ),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}, "not a valid selector operator"),
    ],
)
def test_what_upstream_refuses_is_refused(spec: JsonObject, expected: str) -> None:
    assert expected in "\n".join(str(error) for error in NETWORK_POLICY.validate(made(**spec)))


def test_a_full_policy_is_accepted_and_shown() -> None:
    rule = {
        "ports": [{"port": 80, "endPort": 90}, {"port": "http"}],
        "from": [{"podSelector": {}, "namespaceSelector": {}}],
    }
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    obj = made(podSelector={"matchLabels": {"app": "db"}}, ingress=[rule], egress=[{"to": [block]}])
    assert NETWORK_POLICY.validate(obj) == []
    assert {column.name: column.value(obj, 0.0) for column in NETWORK_POLICY.table}["Pod-Selector"] == "app=db"
