"""Which pods an autoscaler is about: those that the target's selector takes."""

from __future__ import annotations

from argosy.client import Client
from argosy.objects import meta, selectors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.autoscaler.targets import UnknownKind, resource_of


async def selector_of(client: Client, autoscaler: JsonObject) -> selectors.Selector:
    """By the target's own selector, or by its scale where that is all we may see. Raises UnknownKind."""
    reference = meta.spec(autoscaler).get("targetRef") or {}
    name, space = str(reference.get("name") or ""), meta.namespace(autoscaler)
    resource = await resource_of(client, reference)
    problem = "it has neither a selector nor a scale"
    try:
        template = meta.spec(await resource.get(name, namespace=space)).get("selector")
        if isinstance(template, dict) and ("matchLabels" in template or "matchExpressions" in template):
            return selectors.from_object(template)
    except ApiError as error:
        problem = error.message
        if error.code != 403:
            raise UnknownKind(f"Cannot read targetRef. Reason: {problem}") from None
    try:
        scale = await resource.get(name, namespace=space, subresource="scale")
        text = str(meta.status(scale).get("selector") or "")
        if text:
            return selectors.parse(text)
    except (ApiError, selectors.SelectorError):
        pass
    raise UnknownKind(f"Cannot read targetRef. Reason: {problem}")
