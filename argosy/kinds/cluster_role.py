"""ClusterRole: what may be done in every namespace, on cluster resources and on plain URLs."""

from __future__ import annotations

from argosy.kinds import columns, rbac
from argosy.kinds.kind import Kind

CLUSTER_ROLE = Kind(
    group=rbac.GROUP,
    version="v1",
    kind="ClusterRole",
    plural="clusterroles",
    singular="clusterrole",
    namespaced=False,
    validate=rbac.validate_cluster_role,
    allow_create_on_update=True,
    name_is_path_segment=True,
    columns=(columns.text("Created At", "metadata", "creationTimestamp", description="When the role was created."),),
)
