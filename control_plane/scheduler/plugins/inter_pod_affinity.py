"""InterPodAffinity: pods that want to be near certain others, or far; and others that have a say about them."""

from __future__ import annotations

import numpy as np

from argosy.scheduling.pod_affinity import Term
from control_plane.scheduler.columns import Ints, Mask, Rows
from control_plane.scheduler.plugins.base import MAX_SCORE, Reason, Reasons, at_domain, per_domain
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import HeldTerm, Snapshot

EXISTING = Reason("node(s) didn't satisfy existing pods anti-affinity rules", evictable=True)
ANTI_AFFINITY = Reason("node(s) didn't match pod anti-affinity rules", evictable=True)
AFFINITY = Reason("node(s) didn't match pod affinity rules", evictable=False)
HARD_AFFINITY_WEIGHT = 1
"""What a required term of a running pod adds for those it asks for."""


def _near(term: Term, counts: Ints, snapshot: Snapshot) -> Ints:
    """For each row how many of the counted pods its domain holds."""
    ids = snapshot.labels.ids(term.topology_key)
    return at_domain(per_domain(ids, counts, snapshot.labels.count(term.topology_key)), ids)


class InterPodAffinity:
    name = "InterPodAffinity"
    weight = 2

    def _held(self, info: PodInfo, snapshot: Snapshot) -> list[HeldTerm]:
        """Terms of pods that run already and mean this one."""
        return snapshot.held_terms.matching(info.pod)

    def _existing(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        mask: Mask | None = None
        for held in self._held(info, snapshot):
            if held.sort == "required_anti":
                own = _near(held.term, snapshot.held_counts(held), snapshot) == 0
                mask = own if mask is None else mask & own
        return mask

    def _anti(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        mask: Mask | None = None
        for term in info.terms.required_anti:
            counts = snapshot.group_counts(term.group, with_deleting=True)
            own = _near(term, counts, snapshot) == 0
            mask = own if mask is None else mask & own
        return mask

    def _affinity(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        terms = info.terms.required
        if not terms:
            return None
        counts = snapshot.group_counts(*(term.group for term in terms), with_deleting=True)
        with_keys: Mask = np.ones(snapshot.columns.capacity, np.bool_)
        near = with_keys.copy()
        anywhere = False
        for term in terms:
            with_keys &= snapshot.labels.ids(term.topology_key) >= 0
            found = _near(term, counts, snapshot)
            anywhere = anywhere or bool(found.any())
            near &= found > 0
        if not anywhere and all(term.group.matches(info.pod, snapshot.namespace_labels) for term in terms):
            # The first of a group that wants its own company has to start somewhere.
            return with_keys
        return near & with_keys

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        mask: Mask | None = None
        for own in (self._affinity(info, snapshot), self._anti(info, snapshot), self._existing(info, snapshot)):
            if own is not None:
                mask = own if mask is None else mask & own
        return mask

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        found: Reasons = []
        undecided: Mask = np.ones(len(rows), np.bool_)
        for reason, mask in (
            (AFFINITY, self._affinity(info, snapshot)),
            (ANTI_AFFINITY, self._anti(info, snapshot)),
            (EXISTING, self._existing(info, snapshot)),
        ):
            if mask is not None:
                failed = undecided & ~mask[rows]
                if failed.any():
                    found.append((reason, rows[failed]))
                undecided &= ~failed
        return found

    def score(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Ints | None:
        total: Ints | None = None
        wishes: list[tuple[Term, Ints, int]] = []
        for sign, terms in ((1, info.terms.preferred), (-1, info.terms.preferred_anti)):
            for term in terms:
                wishes.append((term, snapshot.group_counts(term.group, with_deleting=True), sign * term.weight))
        for held in self._held(info, snapshot):
            weight = {
                "required": HARD_AFFINITY_WEIGHT,
                "preferred": held.term.weight,
                "preferred_anti": -held.term.weight,
            }.get(held.sort, 0)
            if weight:
                wishes.append((held.term, snapshot.held_counts(held), weight))
        for term, counts, weight in wishes:
            own = _near(term, counts, snapshot)[rows] * weight
            total = own if total is None else total + own
        if total is None:
            return None
        low, high = int(total.min()), int(total.max())
        if low == high:
            return None
        return (total - low) * MAX_SCORE // (high - low)
