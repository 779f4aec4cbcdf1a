"""Secrets in a real store's files, sealed by keys that are rotated; and a volume that outlives its node's crash."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.testing import Cluster
from tests.e2e.test_store import etcdctl

SECRETS = "/registry/secrets/"
MARK = "e2e-plain-marker-"


def key(name: str) -> dict:
    return {"name": name, "secret": base64.b64encode(name.encode().ljust(32, b"!")).decode()}


def configuration(*keys: str) -> str:
    providers: list[dict] = [{"aesgcm": {"keys": [key(name) for name in keys]}}] if keys else []
    rule = {"resources": ["secrets"], "providers": [*providers, {"identity": {}}]}
    return json.dumps(
        {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [rule]}
    )


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encryption") / "encryption.yaml"
    path.write_text(configuration("one"))
    return path


@pytest.fixture(scope="module")
def sealed(cluster_kubectl: str, config_file: Path) -> Iterator[Cluster]:
    flags = [
        *("--flag", f"apiserver:--encryption-provider-config={config_file}"),
        *("--flag", "apiserver:--encryption-provider-config-automatic-reload"),
    ]
    running = Cluster.start(nodes=1, stores=1, flags=flags, kubectl=cluster_kubectl)
    try:
        yield running
    finally:
        running.stop()


def store_holds(cluster: Cluster, text: bytes) -> bool:
    """Whether any file of any store member has these bytes."""
    return any(text in path.read_bytes() for path in (cluster.state / "stores").rglob("*") if path.is_file())


def sealed_by(cluster: Cluster) -> dict[str, str]:
    """The key that each Secret is sealed by as the store has it now, by `NAMESPACE/NAME`."""
    found = json.loads(etcdctl(cluster, "get", "--prefix", SECRETS, "-w", "json", members=1))
    by = {}
    for item in found["kvs"]:
        head = base64.b64decode(item["value"])[:64].decode("latin-1")
        assert head.startswith("k8s:enc:aesgcm:v1:"), head
        by[base64.b64decode(item["key"]).decode().removeprefix(SECRETS)] = head.split(":")[4]
    return by


def secrets(cluster: Cluster) -> dict[str, dict]:
    """What every Secret holds, by `NAMESPACE/NAME`."""
    items = cluster.get("secrets", "-A")["items"]
    return {f"{each['metadata']['namespace']}/{each['metadata']['name']}": each["data"] for each in items}


def restart(cluster: Cluster, name: str) -> None:
    before = cluster.kill(name)

    def again() -> bool:
        process = cluster.processes()[name]
        return process.healthy and process.pid != before

    cluster.eventually(again, what=f"{name} runs again")
    cluster.eventually(lambda: cluster.kubectl_result("get", "--raw", "/readyz").returncode, equals=0)


def test_no_secret_is_in_the_stores_files(sealed: Cluster, config_file: Path) -> None:
    secret, plain = MARK + "secret", MARK + "config"
    sealed.kubectl("create", "secret", "generic", "s", f"--from-literal=password={secret}")
    sealed.kubectl("create", "configmap", "c", f"--from-literal=text={plain}")
    assert store_holds(sealed, plain.encode()), "what is not sealed is there to be read"
    assert store_holds(sealed, b"k8s:enc:aesgcm:v1:one:")
    assert not store_holds(sealed, secret.encode())
    assert not store_holds(sealed, base64.b64encode(secret.encode()))

    sealed.kubectl("create", "secret", "generic", "t", "-n", "kube-system", f"--from-literal=password={secret}")
    before, keys = secrets(sealed), sealed_by(sealed)
    assert {"default/s", "kube-system/t"} <= before.keys() == keys.keys()
    assert set(keys.values()) == {"one"}

    config_file.write_text(configuration("two", "one"))

    def rewritten() -> set[str]:
        """As docs/storage.md says; the first rounds may come before the server has seen the file."""
        everything = sealed.kubectl("get", "secrets", "-A", "-o", "json")
        sealed.kubectl("replace", "-f", "-", stdin=everything)
        return set(sealed_by(sealed).values())

    sealed.eventually(rewritten, equals={"two"}, what="every stored Secret is sealed by the new key")
    assert secrets(sealed) == before

    config_file.write_text(configuration("two"))
    restart(sealed, "apiserver-1")  # so that it has neither the old key nor anything that it read with it
    assert secrets(sealed) == before
    assert base64.b64decode(before["default/s"]["password"]).decode() == secret
    assert set(sealed_by(sealed).values()) == {"two"}
    for text in (secret.encode(), base64.b64encode(secret.encode())):
        assert not store_holds(sealed, text)


def test_a_volume_outlives_its_nodes_crash(sealed: Cluster) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}},
    }
    container = {
        "name": "c",
        "image": "busybox:1.35",
        "command": ["sh", "-c", "date +%s%N >> /data/file; sleep 3600"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    sealed.apply(
        claim,
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": spec},
    )
    sealed.wait("pod/p", "condition=Ready")
    (before,) = sealed.eventually(lambda: sealed.kubectl("exec", "p", "--", "cat", "/data/file")).split()
    sealed.kill("node-1")

    def lines() -> list[str]:
        done = sealed.kubectl_result("exec", "p", "--", "cat", "/data/file")
        found = done.stdout.split()
        return found if done.returncode == 0 and len(found) == 2 else []

    assert sealed.eventually(lines, timeout_s=60, what="the container runs again, on its data")[0] == before
