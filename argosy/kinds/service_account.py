"""ServiceAccount: who a pod is to the API."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind, Subresource

SERVICE_ACCOUNT = Kind(
    group="",
    version="v1",
    kind="ServiceAccount",
    plural="serviceaccounts",
    singular="serviceaccount",
    namespaced=True,
    short_names=("sa",),
    subresources=(Subresource("token", "TokenRequest", "authentication.k8s.io", "v1", ("create",)),),
    columns=(
        columns.computed(
            "Secrets", lambda obj: len(obj.get("secrets") or ()), description="How many secrets it lists."
        ),
        AGE_COLUMN,
    ),
    delete_returns_object=True,
)
