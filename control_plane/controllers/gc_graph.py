"""Who owns whom: the garbage collector's graph, and which of its nodes a change makes worth a look; pure.

Upstream: `pkg/controller/garbagecollector/graph.go`, `graph_builder.go`. A node is made by an informer's event, or as
a virtual one by a reference to an owner that no informer has shown; a virtual node must be looked up live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.objects import meta
from argosy.objects.types import JsonObject

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"

DELETE: Final = "delete/"
ORPHANS: Final = "orphan/"
"""Work keys are one of these and a uid."""


@dataclass(frozen=True)
class Identity:
    """Which object. `namespace` is empty for cluster scope."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass
class Node:
    identity: Identity
    owners: list[JsonObject] = field(default_factory=list)
    dependents: dict[str, None] = field(default_factory=dict)
    """Uids, in the order they came."""
    virtual: bool = False
    being_deleted: bool = False
    waits_for_dependents: bool = False
    """Deleted in the foreground."""
    waits_for_orphans: bool = False


def blocks(node: Node, owner_uid: str) -> bool:
    """Whether the owner's foreground deletion waits for this dependent."""
    return any(ref.get("uid") == owner_uid and ref.get("blockOwnerDeletion") for ref in node.owners)


class Graph:
    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def dependents(self, uid: str) -> list[Node]:
        node = self._nodes.get(uid)
        if node is None:
            return []
        return [found for each in node.dependents if (found := self._nodes.get(each)) is not None]

    def put(self, identity: Identity, obj: JsonObject) -> list[str]:
        """An informer shows the object. Gives the work keys that follow."""
        work: list[str] = []
        node = self._nodes.get(identity.uid)
        if node is None:
            node = self._nodes[identity.uid] = Node(identity)
        elif node.virtual:
            node.identity, node.virtual = identity, False
            # Those that named it otherwise have an owner that does not exist.
            work += [DELETE + each.identity.uid for each in self.dependents(identity.uid) if not _owns(node, each)]
        work += self._set_owners(node, meta.owner_references(obj))
        finalizers = meta.finalizers(obj)
        node.being_deleted = meta.is_deleting(obj)
        orphaning = node.being_deleted and ORPHAN in finalizers
        waiting = node.being_deleted and FOREGROUND in finalizers
        if orphaning and not node.waits_for_orphans:
            work.append(ORPHANS + identity.uid)
        if waiting and not node.waits_for_dependents:
            work += [DELETE + uid for uid in node.dependents]
            work.append(DELETE + identity.uid)
        node.waits_for_orphans, node.waits_for_dependents = orphaning, waiting
        return work

    def remove(self, uid: str) -> list[str]:
        """The object is gone, or never was. Its dependents are worth a look, and owners that waited for it."""
        node = self._nodes.pop(uid, None)
        if node is None:
            return []
        work = [DELETE + each for each in node.dependents if each in self._nodes]
        for reference in node.owners:
            work += self._detach(str(reference.get("uid", "")), uid)
        if node.dependents:
            # They still name it: it stays as what must be looked up again if asked for.
            self._nodes[uid] = Node(node.identity, dependents=dict(node.dependents), virtual=True)
        return work

    def forget_if_unused(self, uid: str) -> None:
        """Drop a virtual node that nothing names any more."""
        node = self._nodes.get(uid)
        if node is not None and node.virtual and not node.dependents:
            del self._nodes[uid]

    def _set_owners(self, node: Node, references: Sequence[JsonObject]) -> list[str]:
        old = {str(ref.get("uid", "")): ref for ref in node.owners}
        new = {str(ref.get("uid", "")): ref for ref in references}
        node.owners = list(references)
        uid = node.identity.uid
        work: list[str] = []
        for each, reference in new.items():
            if each not in old:
                work += self._attach(node, each, reference)
            elif old[each].get("blockOwnerDeletion") and not reference.get("blockOwnerDeletion"):
                work += self._nudge(each)
        for each in old:
            if each not in new:
                work += self._detach(each, uid)
        return work

    def _attach(self, node: Node, owner_uid: str, reference: JsonObject) -> list[str]:
        owner = self._nodes.get(owner_uid)
        namespace = node.identity.namespace
        if owner is None:
            named = Identity(
                str(reference.get("apiVersion", "")),
                str(reference.get("kind", "")),
                namespace,
                str(reference.get("name", "")),
                owner_uid,
            )
            owner = self._nodes[owner_uid] = Node(named, virtual=True)
            owner.dependents[node.identity.uid] = None
            return [DELETE + owner_uid]
        owner.dependents[node.identity.uid] = None
        if owner.virtual or not _names(reference, owner.identity, namespace):
            return [DELETE + node.identity.uid]
        if owner.waits_for_dependents:
            return [DELETE + node.identity.uid]
        return []

    def _detach(self, owner_uid: str, uid: str) -> list[str]:
        owner = self._nodes.get(owner_uid)
        if owner is None:
            return []
        owner.dependents.pop(uid, None)
        self.forget_if_unused(owner_uid)
        return self._nudge(owner_uid)

    def _nudge(self, owner_uid: str) -> list[str]:
        """An owner that waits for its dependents has one less to wait for."""
        owner = self._nodes.get(owner_uid)
        return [DELETE + owner_uid] if owner is not None and owner.waits_for_dependents else []


def _owns(owner: Node, dependent: Node) -> bool:
    """Whether the dependent's reference to the owner's uid means the owner."""
    return all(
        _names(ref, owner.identity, dependent.identity.namespace)
        for ref in dependent.owners
        if ref.get("uid") == owner.identity.uid
    )


def _names(reference: JsonObject, identity: Identity, namespace: str) -> bool:
    """Whether a reference from `namespace` means that object, not only its uid."""
    return (
        reference.get("kind") == identity.kind
        and reference.get("name") == identity.name
        and identity.namespace in ("", namespace)
        and str(reference.get("apiVersion", "")).rpartition("/")[0] == identity.api_version.rpartition("/")[0]
    )
