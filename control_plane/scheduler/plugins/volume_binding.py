"""VolumeBinding, VolumeZone and VolumeRestrictions: nodes where a pod's claims have, or can get, their volumes."""

from __future__ import annotations

import numpy as np

from argosy.objects import meta
from argosy.scheduling.volumes import NodeView
from control_plane.scheduler.columns import Mask, Rows
from control_plane.scheduler.plugins.base import Reason, Reasons
from control_plane.scheduler.plugins.node_affinity import term_mask
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot
from control_plane.scheduler.volume_claims import PodClaims, VolumeClaims

NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
BIND_CONFLICT = "node(s) didn't find available persistent volumes to bind"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
ZONE_CONFLICT = "node(s) had no available volume zone"
ONCE_POD_CONFLICT = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
ZONE_LABELS = (
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)


def node_view(snapshot: Snapshot, row: int) -> NodeView:
    return NodeView(snapshot.names[row], meta.labels(snapshot.node(row)))


def _none(snapshot: Snapshot) -> Mask:
    return np.zeros(snapshot.columns.capacity, np.bool_)


class VolumeBinding:
    name = "VolumeBinding"

    def __init__(self, claims: VolumeClaims) -> None:
        self._claims = claims

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        found = self._claims.of(info)
        if found is None:
            return None
        if found.problem:
            return _none(snapshot)
        mask = self._reachable(found, snapshot)
        if not found.waiting or self._claims.go_anywhere(found):
            return mask
        left = snapshot.alive if mask is None else snapshot.alive & mask
        result = _none(snapshot)
        for row in np.flatnonzero(left):
            result[row] = self._claims.plan(found, node_view(snapshot, int(row)), info.uid) is not None
        return result

    def _reachable(self, found: PodClaims, snapshot: Snapshot) -> Mask | None:
        """Rows that reach the volumes of every bound claim."""
        mask: Mask | None = None
        for claim in found.bound:
            volume = self._claims.volume_of(claim)
            if volume is None:
                return _none(snapshot)
            needed = (meta.spec(volume).get("nodeAffinity") or {}).get("required")
            if not isinstance(needed, dict):
                continue
            own = _none(snapshot)
            for term in needed.get("nodeSelectorTerms") or ():
                own |= term_mask(term, snapshot)
            mask = own if mask is None else mask & own
        return mask

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        found = self._claims.of(info)
        if found is None:
            return []
        if found.problem:
            return [(Reason(found.problem, evictable=False, counted=False), rows)]
        if any(self._claims.volume_of(claim) is None for claim in found.bound):
            return [(Reason(NO_VOLUME, evictable=False), rows)]
        mask = self._reachable(found, snapshot)
        away = rows[~mask[rows]] if mask is not None else rows[:0]
        other = rows[mask[rows]] if mask is not None else rows
        reasons: Reasons = []
        if len(away):
            reasons.append((Reason(NODE_CONFLICT, evictable=False), away))
        if len(other):
            reasons.append((Reason(BIND_CONFLICT, evictable=False), other))
        return reasons


class VolumeZone:
    """Volumes that carry a zone's label, as those of clouds do, are reached from there alone."""

    name = "VolumeZone"

    def __init__(self, claims: VolumeClaims) -> None:
        self._claims = claims

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        found = self._claims.of(info)
        mask: Mask | None = None
        for claim in found.bound if found is not None else ():
            volume = self._claims.volume_of(claim)
            for key in ZONE_LABELS:
                value = meta.labels(volume).get(key) if volume is not None else None
                if value is None:
                    continue
                own = _none(snapshot)
                for zone in value.split("__"):
                    own |= snapshot.labels.equals(key, zone)
                mask = own if mask is None else mask & own
        return mask

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        return [(Reason(ZONE_CONFLICT, evictable=False), rows)]


class VolumeRestrictions:
    """A claim of ReadWriteOncePod is one pod's at a time, wherever that is."""

    name = "VolumeRestrictions"

    def __init__(self, claims: VolumeClaims) -> None:
        self._claims = claims

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        if any(snapshot.placement(uid) for uid in self._claims.once_pod_users(info)):
            return _none(snapshot)
        return None

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        return [(Reason(ONCE_POD_CONFLICT, evictable=True), rows)]
