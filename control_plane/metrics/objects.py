"""NodeMetrics and PodMetrics of metrics.k8s.io/v1beta1. Pure."""

from __future__ import annotations

from argosy.host import rfc3339
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.metrics.window import Usage

API_VERSION = "metrics.k8s.io/v1beta1"


def node_metrics(node: JsonObject, usage: Usage) -> JsonObject:
    metadata = {"name": meta.name(node), **_common(node, usage)}
    return {
        "kind": "NodeMetrics",
        "apiVersion": API_VERSION,
        "metadata": metadata,
        **_times(usage),
        "usage": quantities(usage),
    }


def pod_metrics(pod: JsonObject, containers: dict[str, Usage]) -> JsonObject:
    """`containers` is not empty. The pod's time is that of its oldest container measurement."""
    oldest = min(containers.values(), key=lambda usage: usage.at_s)
    metadata = {"name": meta.name(pod), "namespace": meta.namespace(pod), **_common(pod, oldest)}
    return {
        "kind": "PodMetrics",
        "apiVersion": API_VERSION,
        "metadata": metadata,
        **_times(oldest),
        "containers": [{"name": name, "usage": quantities(usage)} for name, usage in sorted(containers.items())],
    }


def quantities(usage: Usage) -> JsonObject:
    """CPU in billionths of a core and memory in KiB, as metrics-server writes them."""
    return {"cpu": f"{round(usage.cpu_cores * 1e9)}n", "memory": f"{usage.memory_bytes >> 10}Ki"}


def _common(obj: JsonObject, usage: Usage) -> JsonObject:
    labels = meta.labels(obj)
    return {"creationTimestamp": rfc3339(usage.at_s), **({"labels": labels} if labels else {})}


def _times(usage: Usage) -> JsonObject:
    return {"timestamp": rfc3339(usage.at_s), "window": f"{usage.window_s:.3f}s"}
