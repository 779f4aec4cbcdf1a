"""NodeAffinity: the nodes that a pod's nodeSelector and affinity ask for, and those it would rather have."""

from __future__ import annotations

import numpy as np

from argosy.objects.types import JsonObject
from argosy.scheduling import fit
from argosy.scheduling.node_affinity import preferred_terms, required_selector
from control_plane.scheduler.columns import Ints, Mask, Rows
from control_plane.scheduler.plugins.base import Reason, Reasons, normalised
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot


def _named(names: list[str], snapshot: Snapshot) -> Mask:
    mask = np.zeros(snapshot.columns.capacity, np.bool_)
    for name in names:
        row = snapshot.rows.get(name)
        if row is not None:
            mask[row] = True
    return mask


def term_mask(term: JsonObject, snapshot: Snapshot) -> Mask:
    """Rows that match a NodeSelectorTerm; an empty term matches none."""
    mask: Mask | None = None
    for expression in term.get("matchExpressions") or ():
        own = snapshot.labels.expression(expression)
        mask = own if mask is None else mask & own
    for field in term.get("matchFields") or ():
        values = [str(value) for value in field.get("values") or ()]
        own = _named(values, snapshot)
        operator = field.get("operator")
        if field.get("key") != "metadata.name" or operator not in ("In", "NotIn"):
            own = np.zeros(snapshot.columns.capacity, np.bool_)
        elif operator == "NotIn":
            own = ~own
        mask = own if mask is None else mask & own
    return np.zeros(snapshot.columns.capacity, np.bool_) if mask is None else mask


def node_affinity_mask(info: PodInfo, snapshot: Snapshot) -> Mask | None:
    """Rows that the pod asks for; None: any."""
    mask: Mask | None = None
    for key, value in (info.spec.get("nodeSelector") or {}).items():
        own = snapshot.labels.equals(key, value)
        mask = own if mask is None else mask & own
    selector = required_selector(info.pod)
    if selector is not None:
        anywhere = np.zeros(snapshot.columns.capacity, np.bool_)
        for term in selector.get("nodeSelectorTerms") or ():
            anywhere |= term_mask(term, snapshot)
        mask = anywhere if mask is None else mask & anywhere
    return mask


class NodeAffinity:
    name = "NodeAffinity"
    weight = 2

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        return node_affinity_mask(info, snapshot)

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        return [(Reason(fit.NODE_AFFINITY, evictable=False), rows)]

    def score(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Ints | None:
        total: Ints | None = None
        for term in preferred_terms(info.pod):
            mask = term_mask(term.get("preference") or {}, snapshot)[rows]
            own = mask.astype(np.int64) * int(term.get("weight", 0))
            total = own if total is None else total + own
        return None if total is None else normalised(total)
