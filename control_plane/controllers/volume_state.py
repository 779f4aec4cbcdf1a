"""Claims and volumes as the binder knows them: its informers' caches, and what it wrote itself since.

A volume must not be given to two claims because the cache does not show the first one yet; so what was written counts
until the cache has caught up with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from argosy.informer import Informer
from argosy.objects import meta, storage
from argosy.objects.types import JsonObject

CLASS_INDEX: Final = "storage-class"
KEPT_INDEX: Final = "kept-for-claim"
VOLUME_INDEX: Final = "names-volume"
CLAIM_INDEX: Final = "claims"
NO_CLASS: Final = "\0unsaid"
"""Index value of claims that say nothing of a class."""


def by_volume_class(volume: JsonObject) -> tuple[str, ...]:
    """Volumes that a claim may still get."""
    return () if meta.spec(volume).get("claimRef") else (storage.volume_class(volume),)


def by_kept_claim(volume: JsonObject) -> tuple[str, ...]:
    """The claim that a volume is bound to or kept for."""
    reference = meta.spec(volume).get("claimRef") or {}
    return (f"{reference.get('namespace', '')}/{reference.get('name', '')}",) if reference else ()


def by_pending_class(claim: JsonObject) -> tuple[str, ...]:
    """Claims that wait for a volume."""
    if storage.is_bound(claim):
        return ()
    found = storage.claim_class_or_none(claim)
    return (NO_CLASS if found is None else found,)


def by_named_volume(claim: JsonObject) -> tuple[str, ...]:
    name = meta.spec(claim).get("volumeName")
    return (str(name),) if name else ()


def by_pod_claims(pod: JsonObject) -> list[str]:
    """The claims that a pod uses, as `namespace/name`."""
    return [f"{meta.namespace(pod)}/{name}" for name in storage.pod_claim_names(pod)]


def _version(obj: JsonObject) -> int:
    text = meta.resource_version(obj)
    return int(text) if text.isdigit() else 0


class Written:
    """One informer's objects, overlaid with newer ones that were written by us."""

    def __init__(self, informer: Informer) -> None:
        self.informer = informer
        self._written: dict[str, JsonObject] = {}

    def wrote(self, obj: JsonObject) -> None:
        self._written[meta.key(obj)] = obj

    def get(self, key: str) -> JsonObject | None:
        cached, written = self.informer.get(key), self._written.get(key)
        if written is None:
            return cached
        seen = _version(cached) if cached is not None else 0
        position = self.informer.resource_version
        if seen >= _version(written) or (position.isdigit() and int(position) >= _version(written)):
            del self._written[key]
            return cached
        return written

    def by_index(self, name: str, value: str) -> Iterator[JsonObject]:
        """As the index says, each in its newest form."""
        for obj in self.informer.by_index(name, value):
            newest = self.get(meta.key(obj))
            if newest is not None:
                yield newest
