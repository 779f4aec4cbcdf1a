"""Objects that make a process of the control plane known to the cluster: a Service without pods, its endpoints, and
the API that is served behind it. Pure.

The processes run beside the API servers; no pod serves them, so the Services have no selector.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

from argosy.objects.types import JsonObject

Resource = tuple[str, str, str, JsonObject]
"""(group, version, plural, object)"""
NAMESPACE: Final = "kube-system"
METRICS_SERVICE: Final = "metrics-server"
METRICS_PORT: Final = 4443
WEBHOOK_PORT: Final = 8944
"""Of the vertical autoscaler's admission webhook."""
METRICS_APIS: Final = (
    ("metrics.k8s.io", "v1beta1", 100),
    ("custom.metrics.k8s.io", "v1beta2", 200),
    ("custom.metrics.k8s.io", "v1beta1", 100),
    ("external.metrics.k8s.io", "v1beta1", 100),
)
"""(group, version, versionPriority)"""


def ingress_class() -> Resource:
    """The class whose Ingresses `control_plane.ingress` serves; what asks for no class gets it."""
    metadata = {"name": "nginx", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
    obj = {"kind": "IngressClass", "metadata": metadata, "spec": {"controller": "argosy.dev/ingress-nginx"}}
    return "networking.k8s.io", "v1", "ingressclasses", {"apiVersion": "networking.k8s.io/v1", **obj}


def service(name: str, addresses: Sequence[str], port: int, target_port: int) -> list[Resource]:
    """A Service and where it is served: `addresses` are those of the control plane's groups."""
    ports = [{"name": "https", "port": target_port, "protocol": "TCP"}]
    labels = {"k8s-app": name}
    return [
        (
            *("", "v1", "services"),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
                "spec": {"ports": [{"name": "https", "port": port, "protocol": "TCP", "targetPort": target_port}]},
            },
        ),
        (
            *("discovery.k8s.io", "v1", "endpointslices"),
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-argosy",
                    "namespace": NAMESPACE,
                    "labels": {
                        "kubernetes.io/service-name": name,
                        "endpointslice.kubernetes.io/managed-by": "argosy",
                    },
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
                "ports": ports,
            },
        ),
    ]


def metrics(addresses: Sequence[str], authority: str) -> list[Resource]:
    """The metrics server's Service and APIs; `authority` is the PEM text of who signed its certificate."""
    bundle = base64.b64encode(authority.encode()).decode()
    found = service(METRICS_SERVICE, addresses, 443, METRICS_PORT)
    for group, version, priority in METRICS_APIS:
        api: JsonObject = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}", "labels": {"k8s-app": METRICS_SERVICE}},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": priority,
                "service": {"name": METRICS_SERVICE, "namespace": NAMESPACE, "port": 443},
                "caBundle": bundle,
            },
        }
        found.append(("apiregistration.k8s.io", "v1", "apiservices", api))
    return found
