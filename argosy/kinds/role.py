"""Role: what may be done within one namespace."""

from __future__ import annotations

from argosy.kinds import columns, rbac
from argosy.kinds.kind import Kind

ROLE = Kind(
    group=rbac.GROUP,
    version="v1",
    kind="Role",
    plural="roles",
    singular="role",
    namespaced=True,
    validate=rbac.validate_role,
    allow_create_on_update=True,
    name_is_path_segment=True,
    columns=(columns.text("Created At", "metadata", "creationTimestamp", description="When the role was created."),),
)
