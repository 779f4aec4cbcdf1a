"""Adopting and releasing: which objects a controller's owner object controls.

Its own are those with a controller reference to it; one whose labels no longer match is released, an orphan whose
labels match is adopted (upstream `controller_ref_manager.go`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from argosy.client import Resource
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.selectors import Selector
from argosy.objects.status import ApiError, not_found
from argosy.objects.types import JsonObject


def owner_in(owners: Informer, kind: str, obj: JsonObject) -> JsonObject | None:
    """The object of `kind` that controls `obj`, if the cache has that very one."""
    reference = meta.controller_of(obj)
    if reference is None or reference.get("kind") != kind:
        return None
    found = owners.get(f"{meta.namespace(obj)}/{reference.get('name')}")
    return found if found is not None and meta.uid(found) == reference.get("uid") else None


async def claim(
    owner: JsonObject,
    selector: Selector,
    candidates: Iterable[JsonObject],
    owners: Resource,
    owned: Resource,
    *,
    finalizer: str = "",
) -> list[JsonObject]:
    """Those of `candidates` that are `owner`'s after adoptions and releases. Raises ApiError.

    What is adopted gets the `finalizer`, where one is named. `owners` reads the owner live before the first adoption:
    a cache may show one that was deleted since.
    """
    claimed: list[JsonObject] = []
    checked = False
    for obj in candidates:
        controller = meta.controller_of(obj)
        matches = selector.matches(meta.labels(obj))
        if controller is not None:
            if controller.get("uid") != meta.uid(owner):
                continue
            if matches:
                claimed.append(obj)
            elif not meta.is_deleting(owner):
                await _release(obj, owner, owned)
        elif matches and not meta.is_deleting(owner) and not meta.is_deleting(obj):
            if not checked:
                await _check_alive(owner, owners)
                checked = True
            adopted = await _adopt(obj, owner, owned, finalizer)
            if adopted is not None:
                claimed.append(adopted)
    return claimed


async def _check_alive(owner: JsonObject, owners: Resource) -> None:
    live = await owners.get(meta.name(owner), namespace=meta.namespace(owner))
    if meta.uid(live) != meta.uid(owner) or meta.is_deleting(live):
        raise not_found(owners.group, owners.plural, meta.name(owner))


async def _adopt(obj: JsonObject, owner: JsonObject, owned: Resource, finalizer: str) -> JsonObject | None:
    references = [*meta.owner_references(obj), meta.owner_reference(owner)]
    extra: JsonObject = {}
    if finalizer and finalizer not in meta.finalizers(obj):
        extra["finalizers"] = [*meta.finalizers(obj), finalizer]
    return await _ignoring_absence(lambda: _set_references(obj, references, owned, extra))


async def _release(obj: JsonObject, owner: JsonObject, owned: Resource) -> None:
    references = [item for item in meta.owner_references(obj) if item.get("uid") != meta.uid(owner)]
    await _ignoring_absence(lambda: _set_references(obj, references, owned))


async def _set_references(
    obj: JsonObject, references: list[JsonObject], owned: Resource, extra: JsonObject | None = None
) -> JsonObject:
    metadata = {
        **(extra or {}),
        "uid": meta.uid(obj),
        "resourceVersion": meta.resource_version(obj),
        "ownerReferences": references or None,
    }
    return await owned.patch(meta.name(obj), {"metadata": metadata}, namespace=meta.namespace(obj))


async def _ignoring_absence(write: Callable[[], Awaitable[JsonObject]]) -> JsonObject | None:
    try:
        return await write()
    except ApiError as error:
        if error.code == 404:
            return None
        raise
