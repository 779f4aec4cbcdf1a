"""What a scaleTargetRef or targetRef means: from apiVersion and kind to the resource."""

from __future__ import annotations

from argosy.client import Client, Resource
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject


class UnknownKind(Exception):
    """No resource of that kind is served, or it cannot be scaled."""


async def resource_of(client: Client, reference: JsonObject) -> Resource:
    """The resource of a reference, built in or custom. Raises UnknownKind."""
    try:
        return await client.resource_of(reference)
    except ApiError as error:
        name, group = reference.get("kind") or "", str(reference.get("apiVersion") or "").rpartition("/")[0]
        if error.code == 404:
            raise UnknownKind(f'no matches for kind "{name}" in group "{group}"') from None
        raise UnknownKind(f'kind "{name}" in group "{group}" cannot be looked up: {error.message}') from None
