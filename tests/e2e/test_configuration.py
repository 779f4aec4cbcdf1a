"""ConfigMaps and Secrets in containers: as environment, as files that follow changes, and immutable ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from argosy.testing import Cluster

SPACE = "configuration-e2e"


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[str]:
    cluster.kubectl("create", "namespace", SPACE)
    yield SPACE
    cluster.kubectl("delete", "namespace", SPACE, "--timeout=60s")


def read(cluster: Cluster, command: str) -> str:
    return cluster.kubectl("exec", "reader", "-n", SPACE, "--", "sh", "-c", command)


def test_files_follow_and_environment_stays(cluster: Cluster, space: str) -> None:
    cluster.kubectl("create", "configmap", "config", "-n", space, "--from-literal=colour=red", "--from-literal=a=b")
    cluster.kubectl("create", "secret", "generic", "secret", "-n", space, "--from-literal=password=first")
    volumes = [
        {"name": "config", "configMap": {"name": "config"}},
        {"name": "secret", "secret": {"secretName": "secret", "defaultMode": 0o400}},
        {"name": "later", "configMap": {"name": "later", "optional": True}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "config", "items": [{"key": "colour", "path": "deep/c", "mode": 0o440}]}},
                    {"secret": {"name": "secret"}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                ]
            },
        },
    ]
    container = {
        "name": "c",
        "image": "busybox:1.35",
        "command": ["sleep", "3600"],
        "env": [
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "config", "key": "colour"}}},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "password"}}},
        ],
        "envFrom": [{"prefix": "ALL_", "configMapRef": {"name": "config"}}],
        "volumeMounts": [{"name": item["name"], "mountPath": f"/v/{item['name']}"} for item in volumes],
    }
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "reader", "namespace": space},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes},
        }
    )
    cluster.wait("pod/reader", "condition=Ready", "-n", space)
    assert read(cluster, "echo $COLOUR $PASSWORD $ALL_a") == "red first b\n"
    assert read(cluster, "cat /v/config/colour /v/secret/password /v/all/deep/c /v/all/name") == "redfirstredreader"
    assert read(cluster, "stat -L -c %a /v/secret/password /v/all/deep/c") == "400\n440\n"
    assert read(cluster, "ls /v/later") == ""

    cluster.kubectl("patch", "configmap", "config", "-n", space, "-p", '{"data":{"colour":"blue"}}')
    cluster.kubectl("patch", "secret", "secret", "-n", space, "-p", '{"stringData":{"password":"second"}}')
    cluster.kubectl("create", "configmap", "later", "-n", space, "--from-literal=key=there")
    expected = "bluesecondbluethere"
    command = "cat /v/config/colour /v/secret/password /v/all/deep/c /v/later/key 2>/dev/null || true"
    cluster.eventually(lambda: read(cluster, command), equals=expected, timeout_s=30)
    assert read(cluster, "echo $COLOUR $PASSWORD") == "red first\n"


def test_immutable_ones_do_not_change(cluster: Cluster, space: str) -> None:
    for kind, more in (("ConfigMap", {"data": {"a": "b"}}), ("Secret", {"stringData": {"a": "b"}})):
        metadata = {"name": "fixed", "namespace": space}
        cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "immutable": True, **more})
        for patch in ('{"data":{"a":"Yw=="}}', '{"immutable":false}'):
            refused = cluster.kubectl_result("patch", kind, "fixed", "-n", space, "-p", patch)
            assert refused.returncode == 1
            assert "field is immutable when `immutable` is set" in refused.stderr
        cluster.kubectl("label", kind, "fixed", "-n", space, "may=change")
        cluster.kubectl("delete", kind, "fixed", "-n", space)


def test_secrets_are_for_those_who_may_read_them(cluster: Cluster, space: str) -> None:
    cluster.kubectl("create", "secret", "generic", "closed", "-n", space, "--from-literal=password=x")
    cluster.kubectl("create", "rolebinding", "viewer", "-n", space, "--clusterrole=view", "--user=jane")
    for name, allowed in (("configmaps", "yes"), ("secrets", "no")):
        asked = ("auth", "can-i", "get", name, "-n", space, "--as=jane")
        cluster.eventually(lambda asked=asked: cluster.kubectl_result(*asked).stdout.strip(), equals=allowed)
    refused = cluster.kubectl_result("get", "secret", "closed", "-n", space, "--as=jane")
    assert 'User "jane" cannot get resource "secrets"' in refused.stderr
