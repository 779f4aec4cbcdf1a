"""Which pods an autoscaler is about: those that the target's selector takes."""

from __future__ import annotations

from typing import Final

from argosy.client import Client
from argosy.host import Clock
from argosy.objects import meta, selectors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.autoscaler.targets import UnknownKind, resource_of

REMEMBERED_S: Final = 10.0
MAX_REMEMBERED: Final = 10_000


class Selectors:
    """Selectors as they were a moment ago, for where many are asked for: each new pod is shown to the webhook."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, int], tuple[float, selectors.Selector]] = {}

    async def of(self, autoscaler: JsonObject) -> selectors.Selector:
        """Raises UnknownKind, which is not remembered."""
        key, now_s = (meta.uid(autoscaler), meta.generation(autoscaler)), self._clock.monotonic()
        found = self._known.get(key)
        if found is not None and now_s < found[0] + REMEMBERED_S:
            return found[1]
        selector = await selector_of(self._client, autoscaler)
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[key] = (now_s, selector)
        return selector


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
