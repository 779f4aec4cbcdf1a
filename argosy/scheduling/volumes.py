"""Which volume a claim can have: what the volume binder and the scheduler must agree on.

Rules: k8s.io/component-helpers `storage/volume` (FindMatchingVolume) and the volume controller's
checkVolumeSatisfyClaim.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from argosy.objects import meta, selectors, storage
from argosy.objects.types import JsonObject
from argosy.scheduling.node_affinity import selector_matches


@dataclass(frozen=True)
class NodeView:
    """What of a node a volume asks for."""

    name: str
    labels: Mapping[str, str]


def claim_reference(volume: JsonObject) -> JsonObject | None:
    found = meta.spec(volume).get("claimRef")
    return found if isinstance(found, dict) else None


def is_bound_to(volume: JsonObject, claim: JsonObject) -> bool:
    """Whether the volume names this claim: for good, or as the one that it is kept for."""
    reference = claim_reference(volume)
    if reference is None:
        return False
    if (reference.get("namespace"), reference.get("name")) != (meta.namespace(claim), meta.name(claim)):
        return False
    return not reference.get("uid") or reference["uid"] == meta.uid(claim)


def node_fits(volume: JsonObject, node: NodeView) -> bool:
    """Whether pods on the node can use the volume."""
    needed = (meta.spec(volume).get("nodeAffinity") or {}).get("required")
    return not isinstance(needed, dict) or selector_matches(needed, node.labels, node.name)


def has_access_modes(volume: JsonObject, claim: JsonObject) -> bool:
    offered = meta.spec(volume).get("accessModes") or ()
    return all(mode in offered for mode in meta.spec(claim).get("accessModes") or ())


def attributes_class(obj: JsonObject) -> str:
    return str(meta.spec(obj).get("volumeAttributesClassName") or "")


def unsatisfied(volume: JsonObject, claim: JsonObject) -> str:
    """Why a volume that a claim names is not good enough for it; empty when it is."""
    if storage.volume_bytes(volume) < storage.claim_bytes(claim):
        return "requested PV is too small"
    if storage.volume_class(volume) != storage.claim_class(claim):
        return "storageClassName does not match"
    if attributes_class(volume) != attributes_class(claim):
        return "volumeAttributesClassName does not match"
    if storage.volume_mode(volume) != storage.volume_mode(claim):
        return "incompatible volumeMode"
    if not has_access_modes(volume, claim):
        return "incompatible accessMode"
    return ""


def find_volume(
    claim: JsonObject,
    volumes: Iterable[JsonObject],
    *,
    node: NodeView | None = None,
    taken: Collection[str] = (),
    delayed: bool = False,
) -> JsonObject | None:
    """The volume that a claim without one gets: one that is kept for it, else the smallest that will do.

    `node`: pods will run there. `taken`: names of volumes that are promised to others. `delayed`: only one that is
    kept for the claim, as the scheduler is to choose. Among equal sizes those with fewer access modes come first.
    """
    wanted_bytes, wanted_class = storage.claim_bytes(claim), storage.claim_class(claim)
    selector = selectors.from_object(meta.spec(claim).get("selector") or {})
    best: tuple[tuple[int, int, str], JsonObject] | None = None
    for volume in volumes:
        reference, name = claim_reference(volume), meta.name(volume)
        kept = is_bound_to(volume, claim)
        if name in taken or (reference is not None and not kept) or meta.is_deleting(volume):
            continue
        if storage.volume_bytes(volume) < wanted_bytes or storage.volume_mode(volume) != storage.volume_mode(claim):
            continue
        fits = node is None or node_fits(volume, node)
        if kept:
            return volume if fits else None
        if delayed or not fits or meta.status(volume).get("phase") != "Available":
            continue
        if storage.volume_class(volume) != wanted_class or not has_access_modes(volume, claim):
            continue
        if attributes_class(volume) != attributes_class(claim):
            continue
        if meta.spec(claim).get("selector") and not selector.matches(meta.labels(volume)):
            continue
        rank = (len(meta.spec(volume).get("accessModes") or ()), storage.volume_bytes(volume), name)
        if best is None or rank < best[0]:
            best = (rank, volume)
    return best[1] if best else None


def topology_fits(storage_class: JsonObject, node: NodeView) -> bool:
    """Whether the class makes volumes for this node (allowedTopologies)."""
    terms = storage_class.get("allowedTopologies") or ()
    return not terms or any(
        all(
            node.labels.get(item.get("key", "")) in (item.get("values") or ())
            for item in term.get("matchLabelExpressions") or ()
        )
        for term in terms
    )
