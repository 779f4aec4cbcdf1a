"""The pods that a selector takes, found by a label's index where the selector allows."""

from __future__ import annotations

from collections.abc import Iterable

from argosy.controller import LABEL_INDEX
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.selectors import Selector
from argosy.objects.types import JsonObject


def selected(pods: Informer, namespace: str, selector: Selector) -> list[JsonObject]:
    """`pods` has the index LABEL_INDEX."""
    candidates: Iterable[JsonObject]
    if selector.exact:
        name, value = selector.exact[0]
        candidates = pods.by_index(LABEL_INDEX, f"{namespace}/{name}={value}")
    else:
        candidates = pods.list(namespace)
    return [pod for pod in candidates if selector.matches(meta.labels(pod))]
