"""Metrics and the horizontal autoscaler on a real cluster: kubectl top, CPU, and numbers out of a real Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.testing import Cluster

SPACE = "autoscaling"
IMAGE = "prometheus:e2e"
BUSY = "trap exit TERM; while [ ! -e /tmp/idle ]; do :; done; while :; do sleep 1; done"
RULES = """
groups:
- name: test
  interval: 1s
  rules:
  - {record: queue_length, expr: vector(35), labels: {namespace: autoscaling, queue: mail}}
  - {record: nonsense, expr: vector(0) / 0, labels: {namespace: autoscaling}}
  - {record: hits, expr: vector(30), labels: {namespace: autoscaling, service: prometheus}}
"""
CONFIG = """
global: {evaluation_interval: 1s}
rule_files: [/etc/prometheus/rules.yaml]
"""
ADAPTER = """
rules:
- seriesQuery: 'hits{service!=""}'
  resources: {overrides: {namespace: {resource: namespace}, service: {resource: service}}}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
externalRules:
- seriesQuery: '{__name__=~"queue_length|nonsense"}'
  resources: {overrides: {namespace: {resource: namespace}}}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
"""


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", SPACE)
    yield cluster
    cluster.kubectl("delete", "namespace", SPACE, "--wait=false")


def deployment(name: str, *command: str, replicas: int = 1) -> dict:
    container = {
        "name": "main",
        "image": "busybox:1.35",
        "command": list(command),
        "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "100m"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }


def autoscaler(name: str, *metrics: dict, most: int = 3) -> dict:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": most,
            "metrics": list(metrics),
        },
    }


def replicas(cluster: Cluster, name: str) -> int:
    return int(cluster.get("deployment", name, "-n", SPACE)["spec"]["replicas"])


def condition(cluster: Cluster, name: str, kind: str) -> dict:
    found = cluster.get("hpa", name, "-n", SPACE)["status"].get("conditions", [])
    return next((item for item in found if item["type"] == kind), {})


def test_pods_and_nodes_have_usage_and_cpu_moves_the_number_of_pods(space: Cluster) -> None:
    cpu = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
    }
    space.apply(deployment("busy", "sh", "-c", BUSY), autoscaler("busy", cpu))
    space.eventually(lambda: replicas(space, "busy"), equals=3, what="busy pods become more")

    def measured_nodes() -> set[str]:
        return {line.split()[0] for line in space.kubectl("top", "nodes", "--no-headers").splitlines()}

    space.eventually(measured_nodes, equals={"node-1", "node-2", "node-3"})
    space.kubectl("wait", "deployment/busy", "--for=condition=Available", "-n", SPACE, "--timeout=60s")

    def all_measured() -> bool:
        lines = space.kubectl("top", "pods", "-n", SPACE, "-l", "app=busy", "--no-headers").splitlines()
        # Each takes what its limit lets it, a tenth of a core.
        return len(lines) == 3 and all(40 <= int(line.split()[1].removesuffix("m")) <= 130 for line in lines)

    space.eventually(all_measured, what="kubectl top shows the limit in force")
    events = [item for item in space.get("events", "-n", SPACE)["items"] if item["reason"] == "SuccessfulRescale"]
    assert "cpu resource utilization (percentage of request) above target" in events[0]["message"]
    for pod in space.get("pods", "-n", SPACE, "-l", "app=busy")["items"]:
        space.kubectl("exec", "-n", SPACE, pod["metadata"]["name"], "--", "touch", "/tmp/idle")
    space.eventually(lambda: replicas(space, "busy"), equals=1, what="idle pods become fewer")


@pytest.fixture(scope="module")
def prometheus(space: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Debian's Prometheus in a pod on node-1, and the adapter's rules for it."""
    archive = tmp_path_factory.mktemp("prometheus") / "image.tar"
    left_out = [part for path in ("/usr/bin/promtool", "/usr/share/*") for part in ("--without", path)]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "argosy.cli",
            "image",
            "from-packages",
            IMAGE,
            "prometheus",
            "--output",
            str(archive),
            *left_out,
        ],
        check=True,
        timeout=300,
    )
    space.argosy("image load", str(archive), "--node", "node-1")
    Path(archive).unlink()
    arguments = ["--config.file=/etc/prometheus/config.yaml", "--storage.tsdb.path=/tmp/data"]
    container = {
        "name": "prometheus",
        "image": IMAGE,
        "command": ["/usr/bin/prometheus", *arguments],
        "ports": [{"containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/prometheus"}],
    }
    space.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prometheus", "namespace": SPACE},
            "data": {"config.yaml": CONFIG, "rules.yaml": RULES},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "prometheus", "namespace": SPACE, "labels": {"app": "prometheus"}},
            "spec": {
                "nodeName": "node-1",
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
                "volumes": [{"name": "config", "configMap": {"name": "prometheus"}}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "prometheus", "namespace": SPACE},
            "spec": {"selector": {"app": "prometheus"}, "ports": [{"port": 80, "targetPort": 9090}]},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "metrics-adapter", "namespace": "kube-system"},
            "data": {"config.yaml": ADAPTER, "prometheus-url": f"http://prometheus.{SPACE}.svc"},
        },
    )
    space.wait("pod/prometheus", "condition=Ready", "-n", SPACE)


@pytest.mark.usefixtures("prometheus")
def test_numbers_out_of_prometheus_move_it_and_nonsense_does_not(space: Cluster) -> None:
    custom = "/apis/custom.metrics.k8s.io/v1beta2"
    external = "/apis/external.metrics.k8s.io/v1beta1"

    def value() -> str:
        found = json.loads(space.kubectl("get", "--raw", f"{external}/namespaces/{SPACE}/queue_length"))
        return str(found["items"][0]["value"])

    space.eventually(value, equals="35", what="the external metric is served")

    def listed() -> bool:
        names = {item["name"] for item in json.loads(space.kubectl("get", "--raw", custom))["resources"]}
        assert "services/hits" in names
        return True

    space.eventually(listed)
    queue = {"name": "queue_length", "selector": {"matchLabels": {"queue": "mail"}}}
    by_queue = {
        "type": "External",
        "external": {"metric": queue, "target": {"type": "AverageValue", "averageValue": "12"}},
    }
    service = {"apiVersion": "v1", "kind": "Service", "name": "prometheus"}
    by_hits = {
        "type": "Object",
        "object": {
            "describedObject": service,
            "metric": {"name": "hits"},
            "target": {"type": "Value", "value": "15"},
        },
    }
    by_nonsense = {
        "type": "External",
        "external": {"metric": {"name": "nonsense"}, "target": {"type": "Value", "value": "1"}},
    }
    sleep = ("sh", "-c", "trap exit TERM; while :; do sleep 1; done")
    for name, metric in (("queue", by_queue), ("hits", by_hits), ("nonsense", by_nonsense)):
        space.apply(deployment(name, *sleep), autoscaler(name, metric, most=5))
    space.eventually(lambda: replicas(space, "queue"), equals=3, what="35 in the queue, 12 for each")
    space.eventually(lambda: replicas(space, "hits") >= 2, what="30 hits, 15 wanted")

    def refused() -> bool:
        said = condition(space, "nonsense", "ScalingActive")
        assert (said["status"], said["reason"]) == ("False", "FailedGetExternalMetric"), said
        assert "nan" in said["message"].lower(), said
        return True

    space.eventually(refused)
    assert replicas(space, "nonsense") == 1
    space.kubectl("delete", "pod", "prometheus", "-n", SPACE)
    gone = space.eventually(
        lambda: (found := condition(space, "queue", "ScalingActive"))["status"] == "False" and found,
        what="it says that Prometheus is away",
    )
    assert gone["reason"] == "FailedGetExternalMetric"
    assert replicas(space, "queue") == 3, "it holds while its metrics are away"


def test_pods_are_made_anew_with_what_they_need(space: Cluster) -> None:
    made = deployment("thin", "sh", "-c", BUSY, replicas=2)
    made["spec"]["template"]["spec"]["containers"][0]["resources"] = {
        "requests": {"cpu": "10m", "memory": "10Mi"},
        "limits": {"cpu": "100m"},
    }
    vertical = {
        "apiVersion": "autoscaling.k8s.io/v1",
        "kind": "VerticalPodAutoscaler",
        "metadata": {"name": "thin", "namespace": SPACE},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "thin"},
            "updatePolicy": {"updateMode": "Recreate"},
            "resourcePolicy": {
                "containerPolicies": [
                    {"containerName": "*", "maxAllowed": {"memory": "64Mi"}, "controlledValues": "RequestsOnly"}
                ]
            },
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "thin", "namespace": SPACE},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "thin"}}},
    }
    space.apply(made, vertical, budget)

    def grown() -> bool:
        pods = space.get("pods", "-n", SPACE, "-l", "app=thin")["items"]
        requests = [pod["spec"]["containers"][0]["resources"]["requests"] for pod in pods]
        return len(pods) == 2 and all(item["cpu"] != "10m" and item["memory"] == str(64 << 20) for item in requests)

    space.eventually(grown, timeout_s=90, what="both pods have what was recommended")
    (line,) = space.kubectl("get", "vpa", "thin", "-n", SPACE, "--no-headers").splitlines()
    assert line.split()[1] == "Recreate" and line.split()[4] == "True"
    pods = space.get("pods", "-n", SPACE, "-l", "app=thin")["items"]
    assert all("Pod resources updated by thin" in pod["metadata"]["annotations"]["vpaUpdates"] for pod in pods)
    assert all(pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "100m"} for pod in pods)


def test_a_queue_in_redis_starts_and_stops_its_workers(space: Cluster) -> None:
    """From zero with the first items, up with the queue, and back to zero when it is empty."""
    space.argosy(
        "image from-packages", "redis:e2e", "redis-server",
        *("--command", "redis-server --bind 0.0.0.0 --protected-mode no --dir /tmp", "--expose", "6379", "--load"),
        timeout_s=300.0,
    )  # fmt: skip
    ping = {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 1}
    main = {"name": "redis", "image": "redis:e2e", "readinessProbe": ping}
    trigger = {
        "type": "redis",
        "metadata": {"address": f"queue.{SPACE}.svc:6379", "listName": "jobs", "listLength": "2"},
    }
    space.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "redis", "namespace": SPACE, "labels": {"app": "redis"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [main]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "queue", "namespace": SPACE},
            "spec": {"selector": {"app": "redis"}, "ports": [{"port": 6379}]},
        },
        deployment("worker", "sh", "-c", "trap exit TERM; while :; do sleep 1; done", replicas=0),
        {
            "apiVersion": "scaling.argosy.io/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "worker", "namespace": SPACE},
            "spec": {
                "scaleTargetRef": {"name": "worker"},
                "pollingInterval": 1,
                "cooldownPeriod": 3,
                "maxReplicaCount": 3,
                "triggers": [trigger],
            },
        },
    )
    space.wait("pod/redis", "condition=Ready", "-n", SPACE)
    space.wait("scaledobject/worker", "condition=Ready", "-n", SPACE)
    assert replicas(space, "worker") == 0
    redis = ("exec", "-n", SPACE, "redis", "--", "redis-cli")
    space.kubectl(*redis, "rpush", "jobs", "a", "b", "c")
    space.eventually(lambda: replicas(space, "worker"), equals=2, what="three items, two for each worker")
    space.wait("deployment/worker", "condition=Available", "-n", SPACE)
    space.kubectl(*redis, "rpush", "jobs", *"defghij")
    space.eventually(lambda: replicas(space, "worker"), equals=3, what="as many as are allowed")
    space.kubectl(*redis, "del", "jobs")
    space.eventually(lambda: replicas(space, "worker"), equals=0, what="nothing to do, no workers")

    def told() -> bool:
        reasons = {item["reason"] for item in space.get("events", "-n", SPACE)["items"]}
        assert {"ScaleTargetActivated", "ScaleTargetDeactivated"} <= reasons
        return True

    space.eventually(told)
