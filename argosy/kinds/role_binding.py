"""RoleBinding: who has a role in one namespace."""

from __future__ import annotations

from argosy.kinds import rbac
from argosy.kinds.kind import Kind

ROLE_BINDING = Kind(
    group=rbac.GROUP,
    version="v1",
    kind="RoleBinding",
    plural="rolebindings",
    singular="rolebinding",
    namespaced=True,
    default=rbac.default_binding,
    validate=rbac.validate_role_binding,
    validate_update=rbac.validate_binding_update,
    allow_create_on_update=True,
    name_is_path_segment=True,
    columns=rbac.BINDING_COLUMNS,
)
