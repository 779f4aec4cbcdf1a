"""ClusterRoleBinding: who has a cluster role everywhere."""

from __future__ import annotations

from argosy.kinds import rbac
from argosy.kinds.kind import Kind

CLUSTER_ROLE_BINDING = Kind(
    group=rbac.GROUP,
    version="v1",
    kind="ClusterRoleBinding",
    plural="clusterrolebindings",
    singular="clusterrolebinding",
    namespaced=False,
    default=rbac.default_binding,
    validate=rbac.validate_cluster_role_binding,
    validate_update=rbac.validate_binding_update,
    allow_create_on_update=True,
    name_is_path_segment=True,
    columns=rbac.BINDING_COLUMNS,
)
