"""Others' servers behind the API server: admission webhooks and an aggregated API, good and bad ones; and quotas."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy import pki
from argosy.host import real_host
from argosy.testing import Cluster
from deploy import netns

NAMESPACE = "hooks"
HOST, WEBHOOK_PORT, AGGREGATED_PORT = "10.77.0.1", 8443, 8444
API = "10.77.2.1:6444"
FLAVOUR = {
    "apiVersion": "flavours.example.org/v1",
    "kind": "Flavour",
    "metadata": {"name": "sweet"},
    "taste": "honey",
}


class Reference:
    """The reference server in the LAN's namespace, behind the Services `webhook` and `aggregated`."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._namespace = f"/run/netns/argosy-{cluster.name}-lan"
        self._process: subprocess.Popen[bytes] | None = None
        own = pki.Authority.create("reference-ca", real_host())
        hosts = [f"{name}.{NAMESPACE}.svc" for name in ("webhook", "aggregated")]
        own.issue("reference", hosts=hosts, server=True).write(str(folder / "server"))
        authority = pki.Authority(pki.Identity.read(str(cluster.state / "pki" / "ca")), real_host())
        authority.issue("reference-server").write(str(folder / "client"))
        (folder / "ca.crt").write_bytes(authority.certificate)
        self.bundle = base64.b64encode(own.certificate).decode()
        self.stranger = base64.b64encode(pki.Authority.create("stranger", real_host()).certificate).decode()

    def start(self) -> None:
        script = str(Path(__file__).with_name("reference_server.py"))
        addresses = [f"{HOST}:{port}" for port in (WEBHOOK_PORT, AGGREGATED_PORT)]
        line = ["nsenter", f"--net={self._namespace}", sys.executable, script, str(self._folder), API, *addresses]
        with (self._folder / "log").open("ab") as log:
            root = Path(__file__).resolve().parents[2]
            self._process = subprocess.Popen(line, stdout=log, stderr=log, cwd=root, env={"PYTHONPATH": str(root)})
        for port in (WEBHOOK_PORT, AGGREGATED_PORT):
            self._cluster.eventually(
                lambda port=port: netns.accepts(self._namespace, HOST, port), what=f"port {port}"
            )

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hook(self, name: str, path: str, bundle: str = "", **rest: object) -> dict:
        service = {"namespace": NAMESPACE, "name": "webhook", "path": path}
        rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
        return {
            "name": name,
            "clientConfig": {"service": service, "caBundle": bundle or self.bundle},
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **rest,
        }


def objects() -> list[dict]:
    """Two Services whose Endpoints are set by hand, and what the reference server may do."""
    made: list[dict] = []
    for name, port in (("webhook", WEBHOOK_PORT), ("aggregated", AGGREGATED_PORT)):
        metadata = {"name": name, "namespace": NAMESPACE}
        made += [
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 443}]}},
            {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": metadata,
                "subsets": [{"addresses": [{"ip": HOST}], "ports": [{"port": port}]}],
            },
        ]
    group = "rbac.authorization.k8s.io"
    subjects = [{"apiGroup": group, "kind": "User", "name": "reference-server"}]
    delegator = {"apiGroup": group, "kind": "ClusterRole", "name": "system:auth-delegator"}
    reader = {"apiGroup": group, "kind": "Role", "name": "extension-apiserver-authentication-reader"}
    binding = {"apiVersion": f"{group}/v1", "subjects": subjects}
    return [
        *made,
        {**binding, "kind": "ClusterRoleBinding", "metadata": {"name": "reference"}, "roleRef": delegator},
        {
            **binding,
            "kind": "RoleBinding",
            "metadata": {"name": "reference", "namespace": "kube-system"},
            "roleRef": reader,
        },
    ]


@pytest.fixture(scope="module")
def reference(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.apply(*objects())
    running = Reference(cluster, tmp_path_factory.mktemp("reference"))
    running.start()
    yield running
    running.stop()
    cluster.kubectl("delete", "clusterrolebinding", "reference", "--ignore-not-found")
    cluster.kubectl("delete", "rolebinding", "reference", "-n", "kube-system", "--ignore-not-found")
    cluster.kubectl("delete", "namespace", NAMESPACE)


@pytest.fixture
def configure(cluster: Cluster) -> Iterator[object]:
    """`configure("Mutating", hook…)` writes a configuration, which goes with the test."""
    made: list[str] = []

    def write(kind: str, *hooks: dict) -> None:
        plural = f"{kind.lower()}webhookconfiguration"
        name = f"e2e-{len(made)}"
        cluster.apply(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": f"{kind}WebhookConfiguration",
                "metadata": {"name": name},
                "webhooks": list(hooks),
            }
        )
        made.append(f"{plural}/{name}")

    yield write
    for target in made:
        cluster.kubectl("delete", target)


def create(cluster: Cluster, name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return cluster.kubectl_result("create", "configmap", name, "-n", NAMESPACE, *flags)


def test_webhooks_change_and_refuse(cluster: Cluster, reference: Reference, configure) -> None:
    configure("Mutating", reference.hook("label.example.org", "/label"))
    made = cluster.eventually(
        lambda: (
            (done := create(cluster, "one", "--dry-run=server")).returncode == 0
            and "labelled by a webhook" in done.stderr
            and done
        ),
        what="the mutating webhook to be asked",
    )
    assert made.stdout.startswith("configmap/one created")
    create(cluster, "one")
    assert cluster.get("configmap", "one", "-n", NAMESPACE)["metadata"]["labels"] == {"hooked": "yes"}
    condition = [{"name": "named", "expression": "request.name.startsWith('bad')"}]
    configure("Validating", reference.hook("deny.example.org", "/deny", matchConditions=condition))
    refused = cluster.eventually(
        lambda: (done := create(cluster, "bad", "--dry-run=server")).returncode != 0 and done, what="the refusal"
    )
    assert 'admission webhook "deny.example.org" denied the request: not today' in refused.stderr
    assert create(cluster, "good").returncode == 0


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/slow", '/slow?timeout=1s": context deadline exceeded'),
        ("/giant", "the answer is larger than 8388608 bytes"),
        ("/garbage", "the answer is not HTTP"),
        ("/label", "tls: failed to verify certificate: x509:"),
    ],
)
def test_bad_webhooks_hurt_nobody(cluster: Cluster, reference: Reference, configure, path: str, said: str) -> None:
    bundle = reference.stranger if path == "/label" else ""
    hook = reference.hook("fail.example.org", path, bundle, timeoutSeconds=1 if path == "/slow" else 5)
    configure("Validating", {**hook, "failurePolicy": "Ignore"}, {**hook, "name": "closed.example.org"})
    refused = cluster.eventually(
        lambda: (done := create(cluster, "never", "--dry-run=server")).returncode != 0 and done, what="the failure"
    )
    assert 'failed calling webhook "closed.example.org": failed to call webhook' in refused.stderr
    assert said in refused.stderr
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
    assert "Active" in cluster.kubectl("get", "namespace", NAMESPACE)


@pytest.fixture
def flavours(cluster: Cluster, reference: Reference) -> Iterator[None]:
    """The aggregated API, and that kubectl knows it."""
    cluster.apply(
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1.flavours.example.org"},
            "spec": {
                "group": "flavours.example.org",
                "version": "v1",
                "service": {"namespace": NAMESPACE, "name": "aggregated"},
                "caBundle": reference.bundle,
                "groupPriorityMinimum": 1500,
                "versionPriority": 15,
            },
        }
    )
    try:
        cluster.wait("apiservice/v1.flavours.example.org", "condition=Available", timeout_s=45)
        cluster.eventually(
            lambda: "flavours" in cluster.kubectl("api-resources", "--cached=false"), what="discovery of flavours"
        )
        yield
    finally:
        cluster.kubectl("delete", "apiservice", "v1.flavours.example.org")


def test_an_aggregated_api_is_like_any_other(cluster: Cluster, reference: Reference, flavours: None) -> None:
    listed = cluster.kubectl("get", "apiservices")
    assert "hooks/aggregated" in listed and "v1.apps" in listed
    cluster.kubectl("create", "--validate=false", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(FLAVOUR))
    assert [line.split() for line in cluster.kubectl("get", "fl", "-n", NAMESPACE).splitlines()] == [
        ["NAME", "TASTE"], ["sweet", "honey"],
    ]  # fmt: skip
    path = f"/apis/flavours.example.org/v1/namespaces/{NAMESPACE}/flavours"
    assert json.loads(cluster.kubectl("get", "--raw", f"{path}/sweet"))["taste"] == "honey"
    who = json.loads(cluster.kubectl("get", "--raw", f"{path}/whoami"))
    assert who["user"] == "kubernetes-admin" and "system:masters" in who["groups"]
    denied = cluster.kubectl_result("get", "flavours", "-n", NAMESPACE, "--as=nobody")
    assert 'User "nobody" cannot list resource "flavours"' in denied.stderr
    watched = cluster.kubectl("get", "--raw", f"{path}?watch=true&timeoutSeconds=1")
    assert json.loads(watched.splitlines()[0])["object"]["metadata"]["name"] == "sweet"

    reference.stop()
    gone = cluster.kubectl_result("get", "--raw", path)
    assert gone.returncode != 0
    cluster.wait("apiservice/v1.flavours.example.org", "condition=Available=False", timeout_s=45)
    assert "False (FailedDiscoveryCheck)" in cluster.kubectl("get", "apiservice", "v1.flavours.example.org")
    assert "ServiceUnavailable" in cluster.kubectl_result("get", "--raw", path).stderr
    assert "deployments" in cluster.kubectl_result("api-resources", "--cached=false").stdout
    reference.start()
    cluster.wait("apiservice/v1.flavours.example.org", "condition=Available", timeout_s=45)
    assert json.loads(cluster.kubectl("get", "--raw", path))["kind"] == "FlavourList"


def test_aggregated_objects_own_and_are_owned(cluster: Cluster, reference: Reference, flavours: None) -> None:
    """As any other: what is owned goes after its owner, whichever of the two another server keeps."""

    def owned_by(obj: dict) -> dict:
        fields = {name: obj["metadata"][name] for name in ("name", "uid")}
        return {"ownerReferences": [{"apiVersion": obj["apiVersion"], "kind": obj["kind"], **fields}]}

    def create(obj: dict) -> dict:
        text = cluster.kubectl("create", "--validate=false", "-n", NAMESPACE, "-o", "json", "-f", "-",
                               stdin=json.dumps(obj))  # fmt: skip
        return json.loads(text)

    def config(name: str, **metadata: object) -> dict:
        return create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}})

    def flavour(name: str, **metadata: object) -> dict:
        return create({**FLAVOUR, "metadata": {"name": name, **metadata}})

    def left(*names: str) -> bool:
        found = cluster.kubectl("get", "flavours,configmaps", "-n", NAMESPACE, "-o", "name").split()
        kept = {name.rpartition("/")[2] for name in found} & {"top", "middle", "leaf", "bystander"}
        assert kept == set(names), found
        return True

    top = flavour("top")
    middle = config("middle", **owned_by(top))
    flavour("leaf", **owned_by(middle))
    flavour("bystander")
    left("top", "middle", "leaf", "bystander")
    cluster.kubectl("delete", "flavour", "top", "-n", NAMESPACE, "--wait=false")
    cluster.eventually(lambda: left("bystander"), what="the garbage collector")


def test_a_quota_is_kept_and_given_back(cluster: Cluster, reference: Reference) -> None:
    cluster.kubectl("create", "quota", "few", "--hard=secrets=1,count/configmaps=50", "-n", NAMESPACE)
    cluster.wait("resourcequota/few", "jsonpath={.status.used.secrets}=0", "-n", NAMESPACE, timeout_s=20)
    cluster.kubectl("create", "secret", "generic", "one", "-n", NAMESPACE)
    over = cluster.kubectl_result("create", "secret", "generic", "two", "-n", NAMESPACE)
    assert "exceeded quota: few, requested: secrets=1, used: secrets=1, limited: secrets=1" in over.stderr
    cluster.kubectl("delete", "secret", "one", "-n", NAMESPACE)
    cluster.wait("resourcequota/few", "jsonpath={.status.used.secrets}=0", "-n", NAMESPACE, timeout_s=20)
    cluster.kubectl("create", "secret", "generic", "two", "-n", NAMESPACE)
    assert "secrets: 1/1" in cluster.kubectl("get", "quota", "few", "-n", NAMESPACE)
