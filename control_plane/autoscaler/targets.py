"""What a scaleTargetRef or targetRef means: from apiVersion and kind to the resource."""

from __future__ import annotations

from argosy.client import Client
from argosy.controller import ResourceName
from argosy.kinds import KINDS
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject


class UnknownKind(Exception):
    """No resource of that kind is served, or it cannot be scaled."""


async def find(client: Client, reference: JsonObject) -> ResourceName:
    """The resource of a reference, built in or custom. Raises UnknownKind."""
    group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
    name = str(reference.get("kind") or "")
    kind = KINDS.kind(group, name)
    if kind is not None:
        return ResourceName(group, version or kind.version, kind.plural)
    definitions = client.resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    try:
        found = (await definitions.list()).items
    except ApiError as error:
        raise UnknownKind(f'kind "{name}" in group "{group}" cannot be looked up: {error.message}') from None
    for definition in found:
        spec = meta.spec(definition)
        if spec.get("group") == group and (spec.get("names") or {}).get("kind") == name:
            return ResourceName(group, version, str(spec["names"]["plural"]))
    raise UnknownKind(f'no matches for kind "{name}" in group "{group}"')
