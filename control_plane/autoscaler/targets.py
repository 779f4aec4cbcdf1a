"""What a scaleTargetRef means: from apiVersion and kind to the resource that has a scale."""

from __future__ import annotations

from argosy.controller import ResourceName
from argosy.kinds import KINDS
from argosy.objects.types import JsonObject


class UnknownKind(Exception):
    """No resource of that kind is served, or it cannot be scaled."""


def resource_of(reference: JsonObject) -> ResourceName:
    """Raises UnknownKind."""
    group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
    name = str(reference.get("kind") or "")
    kind = KINDS.kind(group, name)
    if kind is None:
        raise UnknownKind(f'no matches for kind "{name}" in group "{group}"')
    if kind.subresource("scale") is None:
        raise UnknownKind(f"{kind.plural} cannot be scaled")
    return ResourceName(group, version or kind.version, kind.plural)
