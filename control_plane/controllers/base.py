"""The controller manager's controllers: the generic ones with its configuration, and the resources they name."""

from __future__ import annotations

from argosy import controller
from argosy.controller import (
    CONTROLLER_INDEX,
    LABEL_INDEX,
    NODE_INDEX,
    ORPHAN_INDEX,
    Loop,
    ResourceName,
    by_controller,
    by_labels,
    by_node,
    by_orphanhood,
)
from control_plane.controllers.config import Config

__all__ = (
    "CONTROLLER_INDEX",
    "LABEL_INDEX",
    "NODE_INDEX",
    "ORPHAN_INDEX",
    "Context",
    "Controller",
    "Loop",
    "ResourceName",
    "by_controller",
    "by_labels",
    "by_node",
    "by_orphanhood",
)

PODS = ResourceName("", "v1", "pods")
NODES = ResourceName("", "v1", "nodes")
SERVICES = ResourceName("", "v1", "services")
ENDPOINTS = ResourceName("", "v1", "endpoints")
NAMESPACES = ResourceName("", "v1", "namespaces")
SERVICE_ACCOUNTS = ResourceName("", "v1", "serviceaccounts")
REPLICA_SETS = ResourceName("apps", "v1", "replicasets")
DEPLOYMENTS = ResourceName("apps", "v1", "deployments")
STATEFUL_SETS = ResourceName("apps", "v1", "statefulsets")
DAEMON_SETS = ResourceName("apps", "v1", "daemonsets")
REPLICATION_CONTROLLERS = ResourceName("", "v1", "replicationcontrollers")
CONTROLLER_REVISIONS = ResourceName("apps", "v1", "controllerrevisions")
PERSISTENT_VOLUME_CLAIMS = ResourceName("", "v1", "persistentvolumeclaims")
JOBS = ResourceName("batch", "v1", "jobs")
CRON_JOBS = ResourceName("batch", "v1", "cronjobs")
ENDPOINT_SLICES = ResourceName("discovery.k8s.io", "v1", "endpointslices")
VOLUMES = ResourceName("", "v1", "persistentvolumes")
STORAGE_CLASSES = ResourceName("storage.k8s.io", "v1", "storageclasses")
LEASES = ResourceName("coordination.k8s.io", "v1", "leases")
CLUSTER_ROLES = ResourceName("rbac.authorization.k8s.io", "v1", "clusterroles")
CERTIFICATE_REQUESTS = ResourceName("certificates.k8s.io", "v1", "certificatesigningrequests")
RESOURCE_QUOTAS = ResourceName("", "v1", "resourcequotas")
DISRUPTION_BUDGETS = ResourceName("policy", "v1", "poddisruptionbudgets")


Context = controller.Context[Config]
Controller = controller.Controller[Config]
