"""One decision: which node a pod goes to, or why to none.

Pure: the snapshot, the rules and a random number for ties decide. Message forms: pkg/scheduler/framework, FitError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from argosy.host import Rng
from control_plane.scheduler.columns import Ints, Mask, Rows
from control_plane.scheduler.plugins import Profile
from control_plane.scheduler.plugins.base import Reasons
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot

NO_NODES = "no nodes available to schedule pods"


@dataclass(frozen=True)
class Rejection:
    """Why one rule ruled nodes out."""

    plugin: str
    reasons: Reasons


@dataclass(frozen=True)
class Misfit:
    """No node was left."""

    nodes: int
    rejections: tuple[Rejection, ...] = ()
    lost: Rows | None = None
    """Rows that only the caller's `within` ruled out, still without a reason."""

    @property
    def plugins(self) -> tuple[str, ...]:
        """The rules that ruled nodes out: only what concerns them can make the pod fit."""
        return tuple(rejection.plugin for rejection in self.rejections)

    def message(self, preemption: str = "") -> str:
        """`preemption`: what trying to make room came to."""
        if not self.nodes:
            return NO_NODES
        counts: Counter[str] = Counter()
        for rejection in self.rejections:
            for reason, rows in rejection.reasons:
                if not reason.counted:
                    text = f"0/{self.nodes} nodes are available: {reason.text}."
                    return f"{text} preemption: {preemption}" if preemption else text
                counts[reason.text] += len(rows)
        text = available(self.nodes, counts)
        return f"{text} preemption: {preemption}" if preemption else text


def available(nodes: int, counts: Counter[str]) -> str:
    listed = ", ".join(sorted(f"{count} {text}" for text, count in counts.items()))
    return f"0/{nodes} nodes are available: {listed}."


@dataclass(frozen=True)
class Placement:
    node_name: str
    scores: dict[str, int] = field(default_factory=dict)
    """What each rule gave the node, weighted."""


def feasible(info: PodInfo, snapshot: Snapshot, profile: Profile) -> tuple[Mask, list[tuple[int, Rows]]]:
    """Rows where the pod may go, and for each rule (by its place) the rows that it ruled out first."""
    left = snapshot.alive.copy()
    ruled_out: list[tuple[int, Rows]] = []
    for place, plugin in enumerate(profile.filters):
        mask = plugin.filter(info, snapshot)
        if mask is None:
            continue
        failed = left & ~mask
        if failed.any():
            ruled_out.append((place, np.flatnonzero(failed)))
            left &= mask
            if not left.any():
                break
    return left, ruled_out


def rejections(
    info: PodInfo, snapshot: Snapshot, profile: Profile, ruled_out: Sequence[tuple[int, Rows]]
) -> tuple[Rejection, ...]:
    """The reasons of what `feasible` ruled out."""
    return tuple(
        Rejection(profile.filters[place].name, profile.filters[place].explain(info, snapshot, failed))
        for place, failed in ruled_out
    )


def decide(
    info: PodInfo,
    snapshot: Snapshot,
    profile: Profile,
    rng: Rng,
    *,
    within: Mask | None = None,
    nominated: str = "",
) -> Placement | Misfit:
    """`within`: rows beyond which nothing is taken. `nominated`: taken before all others if the pod fits there."""
    left, ruled_out = feasible(info, snapshot, profile)
    lost = None if within is None else np.flatnonzero(left & ~within)
    if within is not None:
        left = left & within
    rows = np.flatnonzero(left)
    if not len(rows):
        return Misfit(len(snapshot), rejections(info, snapshot, profile, ruled_out), lost)
    row = snapshot.rows.get(nominated)
    if row is not None and left[row]:
        return Placement(nominated)
    if len(rows) == 1:
        return Placement(snapshot.names[int(rows[0])])
    total: Ints = np.zeros(len(rows), np.int64)
    parts: list[tuple[str, Ints]] = []
    for plugin in profile.scores:
        scores = plugin.score(info, snapshot, rows)
        if scores is not None:
            weighted = scores * plugin.weight
            total += weighted
            parts.append((plugin.name, weighted))
    best = np.flatnonzero(total == total.max())
    chosen = int(best[rng.randrange(len(best))]) if len(best) > 1 else int(best[0])
    return Placement(snapshot.names[int(rows[chosen])], {name: int(scores[chosen]) for name, scores in parts})
