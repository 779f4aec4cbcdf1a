"""Lease: who holds something and since when; leader election and node heartbeats."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects.status import FieldError, invalid_value
from argosy.objects.types import JsonObject


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    duration = spec.get("leaseDurationSeconds")
    if isinstance(duration, int) and duration <= 0:
        errors.append(invalid_value("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    transitions = spec.get("leaseTransitions")
    if isinstance(transitions, int) and transitions < 0:
        errors.append(invalid_value("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    if spec.get("holderIdentity") == "":
        errors.append(invalid_value("spec.holderIdentity", "", "must not be empty"))
    return errors


LEASE = Kind(
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    singular="lease",
    namespaced=True,
    validate=validate,
    allow_create_on_update=True,
    unconditional_update=False,
    columns=(
        columns.text("Holder", "spec", "holderIdentity", description="Who holds the lease."),
        AGE_COLUMN,
    ),
)
