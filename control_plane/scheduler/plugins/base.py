"""What a plugin of the scheduler is: a rule that rules nodes out, or one that ranks those that are left.

Rules work on all nodes at once. A plugin that does not concern a pod answers None, which costs nothing. Why single
nodes failed is asked only when no node was left (`explain`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from control_plane.scheduler.columns import Ints, Mask, Rows
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot

MAX_SCORE = 100


class Reason(NamedTuple):
    text: str
    """As in the message: `Insufficient cpu`."""
    evictable: bool
    """Whether the removal of other pods could help."""
    counted: bool = True
    """False: it is about the pod, not about nodes, and is told without their number."""


Reasons = list[tuple[Reason, Rows]]
"""Each reason with the rows that it concerns; a row may have several."""


class Filter(Protocol):
    name: str

    def filter(self, info: PodInfo, snapshot: Snapshot) -> Mask | None:
        """Rows where the pod may go, as far as this rule is concerned; None: everywhere."""

    def explain(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Reasons:
        """Why it may not go to `rows` (which `filter` ruled out)."""


class Score(Protocol):
    name: str
    weight: int

    def score(self, info: PodInfo, snapshot: Snapshot, rows: Rows) -> Ints | None:
        """0 to MAX_SCORE for each of `rows`; None when all are alike."""


def normalised(scores: Ints, *, reverse: bool = False) -> Ints | None:
    """Stretched so that the highest is MAX_SCORE (or, reversed, the lowest); None when all are zero."""
    top = int(scores.max(initial=0))
    if top == 0:
        return None
    stretched = scores * MAX_SCORE // top
    return MAX_SCORE - stretched if reverse else stretched


def per_domain(ids: Ints, counts: Ints, domains: int) -> Ints:
    """Sums of `counts` by topology domain; rows without the label (-1) count nowhere."""
    present = ids >= 0
    sums = np.bincount(ids[present], weights=counts[present], minlength=domains)
    return sums.astype(np.int64)


def at_domain(sums: Ints, ids: Ints) -> Ints:
    """For each row the sum of its domain; 0 for rows without one."""
    if not len(sums):
        return np.zeros(len(ids), np.int64)
    return np.where(ids >= 0, sums[ids], 0)
