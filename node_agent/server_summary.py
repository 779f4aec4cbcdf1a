"""The kubelet's `/stats/summary`, from the runtime's container statistics: pure.

Read by the metrics API; only what it and `kubectl top` need (source: k8s.io/kubelet `pkg/apis/stats/v1alpha1`).
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy.host import rfc3339
from argosy.objects.types import JsonObject
from node_agent.runtime.runtime import ContainerStats


def summary(node_name: str, stats: Sequence[ContainerStats], now: float) -> JsonObject:
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
    total_cpu = sum(item.cpu_nanoseconds for item in stats)
    total_memory = sum(item.working_set_bytes for item in stats)
    return {
        "node": {
            "nodeName": node_name,
            "cpu": {"time": rfc3339(now), "usageCoreNanoSeconds": total_cpu},
            "memory": {"time": rfc3339(now), "workingSetBytes": total_memory},
        },
        "pods": list(pods.values()),
    }
