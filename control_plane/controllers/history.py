"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had, so that it can go back to one.

Pure but for `RevisionWriter`. Upstream: `pkg/controller/history/controller_history.go`. kubectl writes the template
of a live object in the same way and compares the bytes, so keys are sorted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from argosy.client import Resource
from argosy.objects import generate, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.equality import same

HASH_LABEL: Final = "controller.kubernetes.io/hash"
"""On revisions of StatefulSets."""
REVISION_LABEL: Final = "controller-revision-hash"
"""On pods: the revision's name (StatefulSet) or hash (DaemonSet); on revisions of DaemonSets, the hash."""
MAX_NAME_CHARS: Final = 223
"""Of the owner's name within a revision's."""
COLLISIONS_MAX: Final = 100


def sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sorted_keys(item) for item in value]
    return value


def data_of(owner: JsonObject) -> JsonObject:
    """What a revision says of its owner: a strategic merge patch that replaces the template."""
    template = meta.spec(owner).get("template") or {}
    data: JsonObject = sorted_keys({"spec": {"template": {**template, "$patch": "replace"}}})
    return data


def template_of(revision: JsonObject) -> JsonObject:
    template = ((revision.get("data") or {}).get("spec") or {}).get("template") or {}
    return {key: value for key, value in template.items() if key != "$patch"}


def restored(owner: JsonObject, revision: JsonObject) -> JsonObject:
    """`owner` with the template of `revision`."""
    return {**owner, "spec": {**meta.spec(owner), "template": template_of(revision)}}


def number(revision: JsonObject) -> int:
    value = revision.get("revision")
    return value if isinstance(value, int) else 0


def in_order(revisions: Iterable[JsonObject]) -> list[JsonObject]:
    """Oldest first; equal numbers by age, then name."""
    return sorted(
        revisions, key=lambda each: (number(each), meta.metadata(each).get("creationTimestamp", ""), meta.name(each))
    )


def next_number(revisions: Sequence[JsonObject]) -> int:
    return max((number(each) for each in revisions), default=0) + 1


def hash_of(owner: JsonObject, collisions: int) -> str:
    return generate.template_hash(meta.spec(owner).get("template") or {}, collisions)


def matches(owner: JsonObject, revision: JsonObject) -> bool:
    """Whether the revision holds the owner's present template."""
    return same(template_of(revision), meta.spec(owner).get("template") or {})


def made(owner: JsonObject, hash_label: str, revision_number: int, collisions: int) -> JsonObject:
    """The revision of the owner's present template, to be created."""
    template = meta.spec(owner).get("template") or {}
    hash_ = hash_of(owner, collisions)
    metadata: JsonObject = {
        "name": f"{meta.name(owner)[:MAX_NAME_CHARS]}-{hash_}",
        "namespace": meta.namespace(owner),
        "labels": {**meta.labels(template), hash_label: hash_},
        "ownerReferences": [meta.owner_reference(owner)],
    }
    if meta.annotations(owner):
        metadata["annotations"] = dict(meta.annotations(owner))
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": data_of(owner),
        "revision": revision_number,
    }


def expired(revisions: Sequence[JsonObject], live: Iterable[str], limit: int) -> list[JsonObject]:
    """What goes beyond `limit` of those that nothing uses; `live` are names of revisions in use."""
    used = dict.fromkeys(live)
    unused = [each for each in in_order(revisions) if meta.name(each) not in used]
    return unused[: max(0, len(unused) - limit)]


class RevisionWriter:
    """Brings the revisions of one owner up to date."""

    def __init__(self, writer: Resource, hash_label: str) -> None:
        self._writer = writer
        self._hash_label = hash_label

    async def current(
        self, owner: JsonObject, revisions: Sequence[JsonObject], collisions: int
    ) -> tuple[JsonObject, list[JsonObject], int]:
        """(the revision of the present template, all revisions with it, collisions). It is the newest of them: one
        that holds an older number is raised, so that history tells in which order templates were in use.

        Raises ApiError.
        """
        ordered = in_order(revisions)
        equal = [each for each in ordered if matches(owner, each)]
        if not equal:
            created, collisions = await self._create(owner, next_number(ordered), collisions)
            return created, [*ordered, created], collisions
        found = equal[-1]
        if found is not ordered[-1]:
            raised = await self.set_number(found, next_number(ordered))
            ordered = in_order([raised if meta.uid(each) == meta.uid(found) else each for each in ordered])
            found = raised
        return found, ordered, collisions

    async def set_number(self, revision: JsonObject, new: int) -> JsonObject:
        change = {
            "metadata": {"uid": meta.uid(revision), "resourceVersion": meta.resource_version(revision)},
            "revision": new,
        }
        return await self._writer.patch(meta.name(revision), change, namespace=meta.namespace(revision))

    async def _create(self, owner: JsonObject, revision_number: int, collisions: int) -> tuple[JsonObject, int]:
        """A name that is taken by another template's revision makes the next hash be tried."""
        for _ in range(COLLISIONS_MAX):
            new = made(owner, self._hash_label, revision_number, collisions)
            try:
                return await self._writer.create(new), collisions
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
            found = await self._writer.get(meta.name(new), namespace=meta.namespace(new))
            holder = meta.controller_of(found)
            if holder is not None and holder.get("uid") == meta.uid(owner) and matches(owner, found):
                return found, collisions
            collisions += 1
        raise RuntimeError(f"{COLLISIONS_MAX} revisions of {meta.key(owner)} have names that are taken")

    async def delete(self, revision: JsonObject) -> None:
        try:
            await self._writer.delete(meta.name(revision), namespace=meta.namespace(revision), uid=meta.uid(revision))
        except ApiError as error:
            if error.code != 404:
                raise
