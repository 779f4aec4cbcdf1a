"""Certificates of nodes, aggregated roles and disruption budgets, on the real API server."""

import base64
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from argosy import pki
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.controllers import disruption, signing
from tests.unit.controllers.cluster import Cluster, run
from tests.unit.controllers.world import deployment, pod, template

CSRS = "certificatesigningrequests.certificates.k8s.io"
CLIENT_USAGES = ["digital signature", "client auth"]
SERVER_USAGES = ["digital signature", "server auth"]


def csr(name: str, common_name: str, organization: str = "system:nodes", hosts: tuple[str, ...] = ()) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    )
    if hosts:
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def request(name: str, signer: str, pem: bytes, usages: list[str], **spec: Any) -> JsonObject:
    body = {"request": base64.b64encode(pem).decode(), "signerName": signer, "usages": usages, **spec}
    metadata = {"name": name}
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": metadata,
        "spec": body,
    }


async def issued(cluster: Cluster, name: str) -> x509.Certificate | None:
    found = await cluster.get(CSRS, name)
    text = None if found is None else meta.status(found).get("certificate")
    return x509.load_pem_x509_certificate(base64.b64decode(text)) if text else None


def authority(cluster: Cluster, directory: Path) -> JsonObject:
    made = pki.Authority.create("test-ca", cluster.host)
    made.identity.write(str(directory / "ca"))
    return {
        "cluster_signing_certificate": str(directory / "ca.crt"),
        "cluster_signing_key": str(directory / "ca.key"),
    }


def test_a_nodes_client_certificate_is_approved_and_signed(tmp_path: Path) -> None:
    """The requestor is an administrator here, who may create `nodeclient` requests."""

    async def body(cluster: Cluster) -> None:
        cluster.controllers("certificatesigningrequest-controller", **authority(cluster, tmp_path))
        pem = csr("a", "system:node:a")
        await cluster.create(
            CSRS, request("good", signing.CLIENT_KUBELET, pem, CLIENT_USAGES, expirationSeconds=3600)
        )
        wrong = csr("a", "system:node:a", organization="system:masters")
        await cluster.create(CSRS, request("greedy", signing.CLIENT_KUBELET, wrong, CLIENT_USAGES))
        await cluster.settle()
        found = await cluster.get(CSRS, "good")
        assert found is not None
        approved = conditions.get(found, "Approved")
        assert approved is not None and approved["reason"] == "AutoApproved"
        certificate = await issued(cluster, "good")
        assert certificate is not None
        assert certificate.subject.rfc4514_string() == "CN=system:node:a,O=system:nodes"
        lifetime = certificate.not_valid_after_utc.timestamp() - cluster.host.clock.now()
        assert 3590 - 5 <= lifetime <= 3600
        ca = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
        certificate.verify_directly_issued_by(ca)
        greedy = await cluster.get(CSRS, "greedy")
        assert greedy is not None and not meta.status(greedy).get("conditions")
        await cluster.settle(3700)
        assert await cluster.get(CSRS, "good") is None
        assert await cluster.get(CSRS, "greedy") is not None
        await cluster.settle(24 * 3600)
        assert await cluster.get(CSRS, "greedy") is None

    run(body)


def test_what_people_approve_is_still_checked(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("certificatesigningrequest-controller", **authority(cluster, tmp_path))
        for name, usages in (("person", ["client auth"]), ("broken", ["client auth", "cert sign"])):
            pem = csr(name, name, organization="")
            made = await cluster.create(CSRS, request(name, signing.CLIENT, pem, usages))
            await cluster.settle(1)
            assert await issued(cluster, name) is None
            yes = {"type": "Approved", "status": "True", "reason": "ByHand", "message": "m"}
            await cluster.resource(CSRS).update({**made, "status": {"conditions": [yes]}}, subresource="approval")
        await cluster.settle()
        assert await issued(cluster, "person") is not None
        broken = await cluster.get(CSRS, "broken")
        assert broken is not None and "certificate" not in broken["status"]
        failed = conditions.get(broken, "Failed")
        assert failed is not None and failed["reason"] == "SignerValidationFailure"

    run(body)


NODE = {
    "metadata": {"name": "a"},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.77.3.1"}, {"type": "Hostname", "address": "a"}]},
}


@pytest.mark.parametrize(
    ("username", "hosts", "node", "own"),
    [
        ("system:node:a", ("a", "10.77.3.1"), NODE, True),
        ("system:node:a", ("a", "10.77.3.2"), NODE, False),
        ("system:node:a", ("kubernetes.default",), NODE, False),
        ("system:node:b", ("a",), NODE, False),
        ("system:node:a", ("a",), {"metadata": {"name": "b"}}, False),
        ("system:node:a", ("a",), None, False),
    ],
)
def test_a_serving_certificate_is_for_the_nodes_own_names(
    username: str, hosts: tuple[str, ...], node: JsonObject | None, own: bool
) -> None:
    made = request(
        "r", signing.SERVING_KUBELET, csr("r", "system:node:a", hosts=hosts), SERVER_USAGES, username=username
    )
    parsed = signing.parse(made)
    signing.check(parsed, signing.SERVING_KUBELET)
    assert signing.is_own_serving_request(parsed, node) is own


def test_requests_that_are_none() -> None:
    for text in ("", "!!", base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----").decode()):
        with pytest.raises(signing.RequestError):
            signing.parse({"spec": {"request": text}})
    bare = signing.parse(request("r", signing.SERVING_KUBELET, csr("r", "system:node:a"), SERVER_USAGES))
    with pytest.raises(signing.RequestError, match="subjectAltName is required"):
        signing.check(bare, signing.SERVING_KUBELET)


def cluster_role(name: str, verbs: list[str], **labels: str) -> JsonObject:
    rules = [{"apiGroups": ["example.com"], "resources": ["things"], "verbs": verbs}]
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}


def test_aggregated_roles_follow_their_parts() -> None:
    async def body(cluster: Cluster) -> None:
        roles = "clusterroles.rbac.authorization.k8s.io"
        cluster.controllers("clusterrole-aggregation-controller")
        whole = cluster_role("whole", [])
        whole["rules"] = []
        whole["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {"to-whole": "yes"}}]}
        await cluster.create(roles, whole)
        await cluster.create(roles, cluster_role("b", ["get"], **{"to-whole": "yes"}))
        await cluster.create(roles, cluster_role("a", ["list"], **{"to-whole": "yes"}))
        await cluster.create(roles, cluster_role("c", ["delete"]))
        await cluster.settle()

        async def verbs() -> list[str]:
            found = await cluster.get(roles, "whole")
            assert found is not None
            return [verb for rule in found.get("rules") or [] for verb in rule["verbs"]]

        assert await verbs() == ["list", "get"]
        await cluster.patch(roles, "a", {"metadata": {"labels": {"to-whole": None}}})
        await cluster.settle()
        assert await verbs() == ["get"]
        await cluster.delete(roles, "b")
        await cluster.settle()
        assert await verbs() == []
        admin = await cluster.get(roles, "admin")
        assert admin is not None and len(admin["rules"]) > 10

    run(body)


BUDGETS = "poddisruptionbudgets.policy"


def budget(**spec: Any) -> JsonObject:
    metadata = {"name": "web", "namespace": "default"}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
        "spec": {"selector": selector, **spec},
    }  # fmt: skip


def test_a_budget_says_how_many_may_go_and_evictions_spend_it() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.controllers("deployment-controller", "replicaset-controller", "disruption-controller")
        cluster.kubelet("a")
        await cluster.settle(1)
        await cluster.create("deployments.apps", deployment(replicas=4))
        await cluster.create(BUDGETS, budget(maxUnavailable="25%"))
        await cluster.settle(10)

        async def numbers() -> tuple[int, int, int, int]:
            found = await cluster.get(BUDGETS, "default/web")
            assert found is not None
            fields = ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
            return tuple(found["status"].get(field, 0) for field in fields)  # type: ignore[return-value]

        assert await numbers() == (4, 3, 4, 1)
        victim = (await cluster.list("pods"))[0]
        eviction = {
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": meta.name(victim), "namespace": "default"},
        }  # fmt: skip
        await cluster.resource("pods").create(eviction, name=meta.name(victim), subresource="eviction")
        await cluster.settle(0.5)
        assert (await numbers())[3] == 0
        await cluster.settle(10)
        assert await numbers() == (4, 3, 4, 1)
        await cluster.patch("deployments.apps", "default/web", {"spec": {"replicas": 8}})
        await cluster.settle(10)
        assert await numbers() == (8, 6, 8, 2)
        await cluster.patch("deployments.apps", "default/web", {"spec": {"template": template("broken:1")}})
        await cluster.settle(20)
        assert await numbers() == (8, 6, 8, 2)

    run(body)


def test_what_a_budget_requires() -> None:
    pods = [pod(f"p{number}") for number in range(5)]
    assert disruption.requirement({"minAvailable": 2}, pods, {}) == (5, 2)
    assert disruption.requirement({"minAvailable": "50%"}, pods, {"u": 5}) == (5, 3)
    assert disruption.requirement({"maxUnavailable": "50%"}, pods, {"u": 3, "v": 2}) == (5, 2)
    assert disruption.requirement({"maxUnavailable": 9}, pods, {"u": 5}) == (5, 0)
    assert disruption.requirement({"maxUnavailable": 1}, pods, {}) == (0, 0)
