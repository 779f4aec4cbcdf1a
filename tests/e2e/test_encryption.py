"""Secrets in a real store's files, sealed by keys that are rotated; and a volume that outlives its node's crash."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.testing import Cluster

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


def test_no_secret_is_in_the_stores_files(sealed: Cluster, config_file: Path) -> None:
    secret, plain = MARK + "secret", MARK + "config"
    sealed.kubectl("create", "secret", "generic", "s", f"--from-literal=password={secret}")
    sealed.kubectl("create", "configmap", "c", f"--from-literal=text={plain}")
    assert store_holds(sealed, plain.encode()), "what is not sealed is there to be read"
    assert store_holds(sealed, b"k8s:enc:aesgcm:v1:one:")
    assert not store_holds(sealed, secret.encode())
    assert not store_holds(sealed, base64.b64encode(secret.encode()))

    config_file.write_text(configuration("two", "one"))

    def rewritten() -> bool:
        """As docs/storage.md says; the first rounds may come before the server has seen the file."""
        everything = sealed.kubectl("get", "secrets", "-A", "-o", "json")
        sealed.kubectl("replace", "-f", "-", stdin=everything)
        return store_holds(sealed, b"k8s:enc:aesgcm:v1:two:")

    sealed.eventually(rewritten, timeout_s=30)
    found = sealed.get("secret", "s")["data"]["password"]
    assert base64.b64decode(found).decode() == secret
    assert not store_holds(sealed, base64.b64encode(secret.encode()))


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
