"""The kubelet's `/stats/summary` and `/metrics/resource`, from container statistics and the node's cgroup: pure.

Read by the metrics API; only what it and `kubectl top` need (source: k8s.io/kubelet `pkg/apis/stats/v1alpha1`).
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy.host import rfc3339
from argosy.objects.types import JsonObject
from node_agent.cgroups import NodeUsage
from node_agent.runtime.runtime import ContainerStats


def summary(node_name: str, stats: Sequence[ContainerStats], node: NodeUsage, now: float) -> JsonObject:
    """`cpu.usageCoreNanoSeconds` counts up; whoever wants a rate takes two."""
    pods: dict[str, JsonObject] = {}
    for item in stats:
        pod = pods.setdefault(
            item.pod_uid,
            {
                "podRef": {"name": item.pod_name, "namespace": item.pod_namespace, "uid": item.pod_uid},
                "containers": [],
            },
        )
        pod["containers"].append(
            {
                "name": item.name,
                "cpu": {"time": rfc3339(item.at), "usageCoreNanoSeconds": item.cpu_nanoseconds},
                "memory": {
                    "time": rfc3339(item.at),
                    "workingSetBytes": item.working_set_bytes,
                    "rssBytes": item.rss_bytes,
                },
                "rootfs": {"time": rfc3339(item.at), "usedBytes": item.writable_bytes},
            }
        )
    return {
        "node": {
            "nodeName": node_name,
            "cpu": {"time": rfc3339(now), "usageCoreNanoSeconds": node.cpu_nanoseconds},
            "memory": {"time": rfc3339(now), "workingSetBytes": node.working_set_bytes},
        },
        "pods": list(pods.values()),
    }


def resource_metrics(stats: Sequence[ContainerStats], node: NodeUsage, now: float) -> str:
    """The kubelet's `/metrics/resource`, in Prometheus' text form: what a metrics server reads.

    Names, labels and units are upstream's (pkg/kubelet/metrics/collectors/resource_metrics.go); time stamps are
    milliseconds.
    """
    containers_cpu, containers_memory = [], []
    pods: dict[tuple[str, str], tuple[float, int, float]] = {}
    for item in stats:
        labels = f'container="{item.name}",namespace="{item.pod_namespace}",pod="{item.pod_name}"'
        seconds, at = item.cpu_nanoseconds / 1e9, round(item.at * 1000)
        containers_cpu.append(f"container_cpu_usage_seconds_total{{{labels}}} {seconds} {at}")
        containers_memory.append(f"container_memory_working_set_bytes{{{labels}}} {item.working_set_bytes} {at}")
        cpu, memory, seen = pods.get((item.pod_namespace, item.pod_name), (0.0, 0, 0.0))
        pods[item.pod_namespace, item.pod_name] = (cpu + seconds, memory + item.working_set_bytes, max(seen, item.at))
    pods_cpu, pods_memory = [], []
    for (namespace, name), (cpu, memory, seen) in pods.items():
        labels, at = f'namespace="{namespace}",pod="{name}"', round(seen * 1000)
        pods_cpu.append(f"pod_cpu_usage_seconds_total{{{labels}}} {cpu} {at}")
        pods_memory.append(f"pod_memory_working_set_bytes{{{labels}}} {memory} {at}")
    now_ms = round(now * 1000)
    families = (
        ("container_cpu_usage_seconds_total", "counter", "CPU time of the container, core-seconds", containers_cpu),
        ("container_memory_working_set_bytes", "gauge", "Working set of the container, bytes", containers_memory),
        (
            *("node_cpu_usage_seconds_total", "counter", "CPU time of the node, core-seconds"),
            [f"node_cpu_usage_seconds_total {node.cpu_nanoseconds / 1e9} {now_ms}"],
        ),
        (
            *("node_memory_working_set_bytes", "gauge", "Working set of the node, bytes"),
            [f"node_memory_working_set_bytes {node.working_set_bytes} {now_ms}"],
        ),
        ("pod_cpu_usage_seconds_total", "counter", "CPU time of the pod, core-seconds", pods_cpu),
        ("pod_memory_working_set_bytes", "gauge", "Working set of the pod, bytes", pods_memory),
        (
            "resource_scrape_error",
            "gauge",
            "1 if the container statistics could not be had",
            ["resource_scrape_error 0"],
        ),
    )
    lines: list[str] = []
    for name, kind, about, samples in families:
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *samples]
    return "\n".join(lines) + "\n"
