"""Pods of a small web server for tests of the network, and a namespace that holds them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from argosy.testing import Cluster, run

SERVE = "mkdir -p /www && hostname >/www/index.html && cp /www/index.html /www/a && exec httpd -f -p 8080 -h /www"


@contextlib.contextmanager
def namespace(cluster: Cluster, name: str) -> Iterator[str]:
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def deployment(space: str, name: str = "web", replicas: int = 2) -> dict:
    container = {
        "name": "web",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", SERVE],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "2"]}}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 4},
            },
        },
    }


def service(space: str, name: str = "web", **spec: object) -> dict:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": space},
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }


def on_lan(cluster: Cluster, *command: str, member: str = "lan") -> str:
    """What a command prints in a namespace of the cluster's LAN."""
    return run(["nsenter", f"--net=/run/netns/argosy-{cluster.name}-{member}", *command]).stdout
