"""What a pod without spread constraints is spread by: the services that select it, and its controller's selector.

Rules: pkg/scheduler/framework/plugins/helper, DefaultSelector.
"""

from __future__ import annotations

from argosy.informer import Informer
from argosy.objects import meta, selectors
from argosy.objects.selectors import NOTHING, Requirement, Selector, SelectorError
from argosy.objects.types import JsonObject


class DefaultSelector:
    """Looks up services and controllers in informers. Call it with a pod."""

    def __init__(self, services: Informer, controllers: dict[str, Informer]) -> None:
        """`controllers`: informers by the kind that owner references name."""
        self._services = services
        self._controllers = controllers

    def __call__(self, pod: JsonObject) -> Selector:
        space, labels = meta.namespace(pod), meta.labels(pod)
        found: dict[Requirement, None] = {}
        if labels:
            for service in self._services.list(space):
                wanted = meta.spec(service).get("selector")
                if wanted and all(labels.get(key) == value for key, value in wanted.items()):
                    found.update(dict.fromkeys(selectors.from_labels(wanted).requirements))
        owner = meta.controller_of(pod)
        informer = self._controllers.get(str(owner.get("kind"))) if owner else None
        if owner is not None and informer is not None:
            controller = informer.get(f"{space}/{owner.get('name')}")
            if controller is not None and meta.uid(controller) == owner.get("uid"):
                written = meta.spec(controller).get("selector")
                try:
                    # A ReplicationController's is a plain map of labels.
                    plain = owner.get("kind") == "ReplicationController"
                    own = selectors.from_labels(written) if plain else selectors.from_object(written)
                except SelectorError:
                    own = NOTHING
                found.update(dict.fromkeys(own.requirements))
        return Selector(tuple(found)) if found else NOTHING
