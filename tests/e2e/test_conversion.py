"""A custom resource in two versions, converted by a webhook that a pod serves."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy import pki
from argosy.host import real_host
from argosy.testing import Cluster
from tests.e2e import web

GROUP = "conversion.example.com"
PORT = 8443
MARK = "stored-as-two-fields"
KNOWN = {"v1": {"hostPort": {"type": "string"}}, "v2": {"host": {"type": "string"}, "port": {"type": "integer"}}}


def definition(space: str, bundle: bytes, stored: str) -> dict:
    def version(name: str) -> dict:
        spec = {"type": "object", "properties": KNOWN[name]}
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
        columns = [
            {"name": key, "type": kind["type"], "jsonPath": f".spec.{key}"} for key, kind in KNOWN[name].items()
        ]
        served = {"name": name, "served": True, "storage": name == stored, "schema": schema}
        return {**served, "additionalPrinterColumns": columns}

    service = {"namespace": space, "name": "converter", "path": "/convert"}
    client = {"service": service, "caBundle": base64.b64encode(bundle).decode()}
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": client}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"endpoints.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "endpoints", "kind": "Endpoint"},
            "versions": [version("v1"), version("v2")],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    }


def converter(space: str) -> list[dict]:
    """Runs by the Python that runs the tests, which the nodes see as this machine does."""
    about = {"name": "converter", "namespace": space}
    folders = {"/usr": "/usr", "/lib": "/usr/lib", "/lib64": "/usr/lib64"}
    if not sys.base_prefix.startswith("/usr/"):
        folders[sys.base_prefix] = sys.base_prefix
    mounts = [{"name": f"at{at}", "mountPath": path, "readOnly": True} for at, path in enumerate(folders)]
    volumes: list[dict] = [
        {"name": f"at{at}", "hostPath": {"path": path}} for at, path in enumerate(folders.values())
    ]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    container = {
        "name": "converter",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": [f"{sys.base_prefix}/bin/{version}", "-I", "/code/conversion_webhook.py", "/tls", str(PORT)],
        "volumeMounts": [*mounts, {"name": "code", "mountPath": "/code"}, {"name": "tls", "mountPath": "/tls"}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    sources = [{"name": "code", "configMap": {"name": "code"}}, {"name": "tls", "secret": {"secretName": "tls"}}]
    pod = {"containers": [container], "volumes": [*volumes, *sources], "terminationGracePeriodSeconds": 0}
    template = {"metadata": {"labels": {"app": "converter"}}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "converter"}}, "template": template}
    ports = [{"port": 443, "targetPort": PORT}]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"selector": {"app": "converter"}, "ports": ports},
        },
    ]


@pytest.fixture
def space(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """A namespace with the webhook Ready, and the definition, stored as v1."""
    with web.namespace(cluster, "conversion") as name:
        own = pki.Authority.create("converter-ca", real_host())
        own.issue("converter", hosts=[f"converter.{name}.svc"], server=True).write(str(tmp_path / "server"))
        pair = (f"--cert={tmp_path}/server.crt", f"--key={tmp_path}/server.key")
        cluster.kubectl("create", "secret", "tls", "tls", "-n", name, *pair)
        code = Path(__file__).with_name("conversion_webhook.py")
        cluster.kubectl("create", "configmap", "code", "-n", name, f"--from-file={code}")
        cluster.apply(*converter(name), definition(name, own.certificate, "v1"))
        try:
            cluster.wait("deployment/converter", "condition=Available", "-n", name, timeout_s=60)
            cluster.wait(f"crd/endpoints.{GROUP}", "condition=Established", timeout_s=30)
            yield name
        finally:
            cluster.kubectl("delete", "crd", f"endpoints.{GROUP}", "--ignore-not-found")


def test_two_versions_of_objects_and_of_the_store(cluster: Cluster, space: str) -> None:
    def endpoint(version: str, name: str, **spec: object) -> str:
        head = {"apiVersion": f"{GROUP}/{version}", "kind": "Endpoint"}
        return json.dumps({**head, "metadata": {"name": name, "namespace": space}, "spec": spec})

    def specs(version: str) -> dict[str, dict]:
        found = cluster.get(f"endpoints.{version}.{GROUP}", "-n", space)["items"]
        assert {item["apiVersion"] for item in found} <= {f"{GROUP}/{version}"}
        return {item["metadata"]["name"]: item["spec"] for item in found}

    def in_store(text: str) -> bool:
        files = (cluster.state / "stores").rglob("*")
        return any(text.encode() in path.read_bytes() for path in files if path.is_file())

    first = endpoint("v1", "first", hostPort=f"{MARK}:80")
    cluster.eventually(
        lambda: cluster.kubectl_result("create", "-f", "-", stdin=first).returncode,
        equals=0,
        what="the API to be served",
    )
    cluster.kubectl("create", "-f", "-", stdin=endpoint("v2", "second", host="b", port=443))
    assert specs("v1") == {"first": {"hostPort": f"{MARK}:80"}, "second": {"hostPort": "b:443"}}
    assert specs("v2") == {"first": {"host": MARK, "port": 80}, "second": {"host": "b", "port": 443}}
    table = cluster.kubectl("get", f"endpoints.v2.{GROUP}", "-n", space)
    assert [line.split() for line in table.splitlines()] == [
        ["NAME", "HOST", "PORT"], ["first", MARK, "80"], ["second", "b", "443"],
    ]  # fmt: skip
    assert in_store(f'"hostPort":"{MARK}:80"') and not in_store(f'"host":"{MARK}"')

    versions = [{"op": "replace", "path": f"/spec/versions/{at}/storage", "value": at == 1} for at in range(2)]
    cluster.kubectl("patch", "crd", f"endpoints.{GROUP}", "--type=json", "-p", json.dumps(versions))

    tries = iter(range(10_000))

    def write(version: str) -> None:
        change = {"metadata": {"annotations": {"try": str(next(tries))}}}
        target = (f"endpoints.{version}.{GROUP}", "first", "-n", space)
        cluster.kubectl("patch", *target, "--type=merge", "-p", json.dumps(change))

    def rewritten() -> bool:
        """Objects keep the form that they were stored in until they are written again."""
        write("v1")
        assert in_store(f'"host":"{MARK}"')
        return True

    cluster.eventually(rewritten)
    assert cluster.get("crd", f"endpoints.{GROUP}")["status"]["storedVersions"] == ["v1", "v2"]
    assert specs("v1") == {"first": {"hostPort": f"{MARK}:80"}, "second": {"hostPort": "b:443"}}
    assert specs("v2")["first"] == {"host": MARK, "port": 80}

    cluster.kubectl("scale", "deployment/converter", "-n", space, "--replicas=0")

    def refused() -> bool:
        """A new state, as the API server keeps what it has once converted."""
        write("v2")
        done = cluster.kubectl_result("get", f"endpoints.v1.{GROUP}", "first", "-n", space)
        assert f"conversion webhook for {GROUP}/v2, Kind=Endpoint failed" in done.stderr, done.stdout + done.stderr
        return True

    cluster.eventually(refused)
    assert cluster.get(f"endpoints.v2.{GROUP}", "first", "-n", space)["spec"] == {"host": MARK, "port": 80}
