"""What a person types: the everyday verbs, from every kubectl that this machine has and from Debian's 1.20."""

from __future__ import annotations

import json
import subprocess

import pytest

from argosy.testing import Cluster
from tests.e2e import clients


def _all() -> tuple[str, ...]:
    return (clients.debian(), *clients.installed())


@pytest.fixture(params=range(len(_all())), ids=lambda index: _all()[index].rsplit("/", 1)[-1] + f"-{index}")
def kubectl(request: pytest.FixtureRequest, cluster: Cluster):
    binary = _all()[request.param]
    # The one of the test before may still be going.
    namespace = f"k{request.param}-{request.function.__name__.removeprefix('test_').replace('_', '-')}"
    cluster.kubectl("create", "namespace", namespace, binary=binary)

    def run(*arguments: str, stdin: str | None = None) -> str:
        return cluster.kubectl("-n", namespace, *arguments, stdin=stdin, binary=binary)

    run.result = lambda *arguments, stdin=None: cluster.kubectl_result(  # type: ignore[attr-defined]
        "-n", namespace, *arguments, stdin=stdin, binary=binary
    )
    run.binary = binary  # type: ignore[attr-defined]
    yield run
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "shell",
                        "image": "busybox:1.35",
                        "command": ["sh", "-c", "echo started; trap 'exit 0' TERM; while :; do sleep 0.2; done"],
                    }
                ],
            },
        },
    },
}


def test_everyday_life(cluster: Cluster, kubectl) -> None:
    manifest = json.dumps(DEPLOYMENT)
    assert "created" in kubectl("apply", "-f", "-", stdin=manifest)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=manifest)
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")

    pod = kubectl("get", "pods", "-l", "app=web", "-o", "name").strip().removeprefix("pod/")
    table = kubectl("get", "pods", "-o", "wide")
    assert table.split()[:4] == ["NAME", "READY", "STATUS", "RESTARTS"]
    assert "1/1" in table and "Running" in table
    assert "web" in kubectl("get", "deployments")
    assert kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase}") == "Running"
    assert f"name: {pod}" in kubectl("get", "pod", pod, "-o", "yaml")
    assert pod in kubectl("get", "pods", "-A")
    assert "web" in kubectl("get", "all")

    def told() -> bool:
        """Events and what a container prints come when they come."""
        described = kubectl("describe", "pod", pod)
        assert "Node:" in described and "Container started" in described
        assert "ScalingReplicaSet" in kubectl("describe", "deployment", "web")
        assert "Scheduled" in kubectl("get", "events")
        assert kubectl("logs", pod).strip() == "started"
        return True

    cluster.eventually(told)
    assert kubectl("logs", "deployment/web", "--tail=1").strip() == "started"
    assert kubectl("exec", pod, "--", "echo", "hello").strip() == "hello"
    assert kubectl("exec", "-i", pod, "--", "cat", stdin="through\n") == "through\n"
    failed = kubectl.result("exec", pod, "--", "sh", "-c", "exit 7")
    assert failed.returncode == 7

    kubectl("scale", "deployment/web", "--replicas=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"

    kubectl("label", "deployment", "web", "tier=front")
    kubectl("annotate", "deployment", "web", "note=kept")
    assert kubectl("get", "deployments", "-l", "tier=front", "-o", "name").strip() == "deployment.apps/web"
    kubectl("set", "env", "deployment/web", "A=B")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert "REVISION" in kubectl("rollout", "history", "deployment/web")
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")

    kubectl("create", "configmap", "settings", "--from-literal=a=1")
    kubectl("patch", "configmap", "settings", "-p", '{"data":{"b":"2"}}')
    kubectl("patch", "configmap", "settings", "--type=json", "-p", '[{"op":"remove","path":"/data/a"}]')
    assert json.loads(kubectl("get", "configmap", "settings", "-o", "json"))["data"] == {"b": "2"}
    kubectl("create", "secret", "generic", "word", "--from-literal=a=1")
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reader", "--verb=get", "--resource=pods")
    kubectl("expose", "deployment", "web", "--port=80")

    kubectl("delete", "deployment", "web")
    missing = kubectl.result("get", "deployment", "web")
    assert missing.returncode == 1
    assert 'deployments.apps "web" not found' in missing.stderr


def test_discovery(kubectl) -> None:
    assert "deployments" in kubectl("api-resources")
    assert "apps/v1" in kubectl("api-versions")
    assert "rollingUpdate" in kubectl("explain", "deployment.spec.strategy")
    assert "yes" in kubectl("auth", "can-i", "create", "pods")


def test_edit(kubectl, tmp_path) -> None:
    kubectl("create", "configmap", "edited", "--from-literal=a=before")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/before/after/ "$1"\n')
    editor.chmod(0o755)
    import os

    os.environ["KUBE_EDITOR"] = str(editor)
    try:
        kubectl("edit", "configmap", "edited")
    finally:
        del os.environ["KUBE_EDITOR"]
    assert kubectl("get", "configmap", "edited", "-o", "jsonpath={.data.a}") == "after"


def test_watch_shows_changes(cluster: Cluster) -> None:
    watching = subprocess.Popen(
        [cluster.kubectl_binary, "--kubeconfig", str(cluster.kubeconfig), "get", "configmaps", "-w", "-o", "name"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        watching.stdout.readline()
        cluster.kubectl("create", "configmap", "seen", "--from-literal=a=b")
        for line in watching.stdout:
            if line.strip() == "configmap/seen":
                break
        else:
            raise AssertionError("the watch ended without the change")
    finally:
        watching.kill()
        watching.wait()
        cluster.kubectl("delete", "configmap", "seen")


def test_cordon_and_drain(cluster: Cluster) -> None:
    manifest = json.loads(json.dumps(DEPLOYMENT))
    manifest["metadata"]["name"] = "drained"
    manifest["spec"]["replicas"] = 3
    cluster.apply(manifest)
    cluster.kubectl("rollout", "status", "deployment/drained", "--timeout=60s")
    try:
        cluster.kubectl(
            "drain", "node-3", "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s"
        )

        def left() -> list[str]:
            found = cluster.get("pods", "-A", "--field-selector", "spec.nodeName=node-3")["items"]
            return [f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in found]

        cluster.eventually(left, equals=[])
        assert "SchedulingDisabled" in cluster.kubectl("get", "node", "node-3")
        cluster.kubectl("rollout", "status", "deployment/drained", "--timeout=60s")
    finally:
        cluster.kubectl("uncordon", "node-3")
        cluster.kubectl("delete", "deployment", "drained")
