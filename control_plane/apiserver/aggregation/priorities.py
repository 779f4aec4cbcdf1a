"""How groups and versions stand to each other in discovery; clients prefer the higher.

Numbers: upstream's (pkg/controlplane/apiserver/aggregator.go, cmd/kube-apiserver/app/aggregator.go).
"""

from __future__ import annotations

from typing import Final

ITSELF: Final = "apiregistration.k8s.io"
"""Always first, and never an APIService of its own."""

GROUPS: Final = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "admissionregistration.k8s.io": 16700,
    "apiextensions.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "resource.k8s.io": 15900,
}
VERSIONS: Final = {("", "v1"): 1, ("autoscaling", "v2"): 30}
VERSION: Final = 15
CUSTOM: Final = (1000, 100)
"""(group, version) of custom resources (pkg/controlplane/controller/crdregistration)."""


def of(group: str, version: str) -> tuple[int, int]:
    """(group, version) priority of what this server serves itself."""
    if group not in GROUPS:
        return CUSTOM
    return GROUPS[group], VERSIONS.get((group, version), VERSION)
