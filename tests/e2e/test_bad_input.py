"""What a careless or hostile client sends: each gets the Status that Kubernetes gives, and the server lives."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from urllib.parse import urlsplit

import pytest
import yaml

from argosy.testing import Cluster


class Raw:
    """HTTP with the administrator's certificate, or without."""

    def __init__(self, cluster: Cluster, tmp: str) -> None:
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        (entry,) = config["clusters"]
        (user,) = config["users"]
        self.server = urlsplit(entry["cluster"]["server"])
        authority = base64.b64decode(entry["cluster"]["certificate-authority-data"]).decode()
        paths = {}
        for name in ("client-certificate-data", "client-key-data"):
            paths[name] = f"{tmp}/{name}"
            with open(paths[name], "wb") as file:
                file.write(base64.b64decode(user["user"][name]))
        self.anonymous = ssl.create_default_context(cadata=authority)
        self.admin = ssl.create_default_context(cadata=authority)
        self.admin.load_cert_chain(paths["client-certificate-data"], paths["client-key-data"])

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
        token: str = "",
    ) -> tuple[int, dict]:
        context = self.anonymous if token else self.admin
        connection = http.client.HTTPSConnection(self.server.hostname, self.server.port, context=context, timeout=20)
        headers = {"Content-Type": content_type, **({"Authorization": f"Bearer {token}"} if token else {})}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text.startswith(b"{") else {"text": text.decode()}


@pytest.fixture(scope="module")
def raw(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(cluster, str(tmp_path_factory.mktemp("raw")))


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def pod(**container: object) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "busybox", **container}]},
    }


def config_map(name: str = "m", **rest: object) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **rest}


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason", "message"),
    [
        ("POST", PODS + "?fieldValidation=Strict", pod(imag="x"), 400, "BadRequest", '"spec.containers[0].imag"'),
        ("POST", PODS, pod(command="ls"), 400, "BadRequest", "cannot unmarshal string into Go struct field"),
        ("POST", PODS, {**pod(), "metadata": {"name": "Bad_Name"}}, 422, "Invalid", "metadata.name"),
        ("POST", PODS, pod(resources={"limits": {"cpu": "much"}}), 400, "BadRequest", "quantities must match"),
        ("POST", "/api/v1/namespaces/nowhere/pods", pod(), 404, "NotFound", 'namespaces "nowhere" not found'),
        ("POST", CONFIGMAPS, config_map("kube-root-ca.crt"), 409, "AlreadyExists", "already exists"),
        ("POST", CONFIGMAPS, config_map(data={"a": "x" * (4 << 20)}), 413, "RequestEntityTooLarge", "limit is 3"),
        ("POST", CONFIGMAPS, b'{"apiVersion": "v1",', 400, "BadRequest", ""),
        ("POST", "/apis/apps/v1/namespaces/default/widgets", {}, 404, "NotFound", ""),
        ("POST", DEPLOYMENTS, config_map(), 400, "BadRequest", ""),
        ("GET", PODS + "?labelSelector=a%20b%20c%3D%3D", b"", 400, "BadRequest", ""),
        ("GET", PODS + "?fieldSelector=spec.colour%3Dred", b"", 400, "BadRequest", "field label not supported"),
        ("GET", PODS + "?resourceVersion=new", b"", 400, "BadRequest", ""),
        ("GET", PODS + "/missing", b"", 404, "NotFound", 'pods "missing" not found'),
    ],
)  # fmt: skip  # a table reads best in lines
def test_refused_as_kubernetes_refuses(
    raw: Raw, method: str, path: str, body: object, code: int, reason: str, message: str
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = raw.request(method, path, data)
    assert status == code, answer
    assert answer.get("kind") == "Status" or "text" in answer
    if "kind" in answer:
        assert (answer["status"], answer["reason"], answer["code"]) == ("Failure", reason, code)
        assert message in answer["message"]


def test_malformed_yaml_and_protobuf(raw: Raw) -> None:
    assert raw.request("POST", CONFIGMAPS, b"a: [", content_type="application/yaml")[0] == 400
    protobuf = "application/vnd.kubernetes.protobuf"
    for body in (b"k8s\0\xff\xff\xff", b"nonsense", b""):
        assert raw.request("POST", CONFIGMAPS, body, content_type=protobuf)[0] == 400
    assert raw.request("POST", CONFIGMAPS, b"x", content_type="text/csv")[0] == 415


def test_stale_write_conflicts(raw: Raw) -> None:
    _, created = raw.request("POST", CONFIGMAPS, json.dumps(config_map("stale")).encode())
    try:
        created["data"] = {"a": "1"}
        assert raw.request("PUT", CONFIGMAPS + "/stale", json.dumps(created).encode())[0] == 200
        status, answer = raw.request("PUT", CONFIGMAPS + "/stale", json.dumps(created).encode())
        assert (status, answer["reason"]) == (409, "Conflict")
    finally:
        raw.request("DELETE", CONFIGMAPS + "/stale")


def test_forged_token(raw: Raw) -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    claims = base64.urlsafe_b64encode(b'{"sub":"system:serviceaccount:kube-system:default"}').decode().rstrip("=")
    for token in ("nonsense", f"{header}.{claims}.", f"{header}.{claims}.AAAA"):
        status, answer = raw.request("GET", PODS, token=token)
        assert (status, answer["reason"]) == (401, "Unauthorized")


def test_the_server_lives(cluster: Cluster) -> None:
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
