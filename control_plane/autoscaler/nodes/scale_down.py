"""Which nodes are not needed, since when, and which of them go now. Pure.

A node is not needed when little of it is asked for, nothing on it must stay, and its pods fit elsewhere: its removal
is simulated, one node after the other, so that two nodes never count on each other. Upstream: core/scaledown/planner,
eligibility, unneeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from argosy.scheduling import resources
from control_plane.autoscaler.nodes import drain
from control_plane.autoscaler.nodes.drain import Budgets, Move
from control_plane.autoscaler.nodes.settings import Settings
from control_plane.autoscaler.nodes.simulation import Simulation
from control_plane.autoscaler.nodes.state import GroupState
from control_plane.scheduler.pod_info import PodInfo

DISABLED: Final = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
MAX_TRIED: Final = 30
"""Nodes with pods whose removal is simulated in one look (upstream: scale-down-non-empty-candidates-count)."""


@dataclass(frozen=True)
class Unneeded:
    """A node that could go."""

    node: JsonObject
    group: str
    move: Move
    utilization: float

    @property
    def name(self) -> str:
        return meta.name(self.node)


@dataclass
class Verdict:
    unneeded: dict[str, Unneeded] = field(default_factory=dict)
    unremovable: dict[str, str] = field(default_factory=dict)
    """Other nodes of groups, and why they stay."""


def utilization(node: JsonObject, pods: Iterable[JsonObject], settings: Settings) -> float:
    """The larger of the shares of cpu and memory that pods ask for."""
    room = resources.allocatable(node)
    asked: dict[str, int] = {}
    for pod in pods:
        if drain.is_over(pod) or drain.is_mirror(pod):
            continue
        if settings.ignore_daemonsets_utilization and drain.is_daemon(pod):
            continue
        for name, amount in resources.pod_requests(pod).items():
            asked[name] = asked.get(name, 0) + amount
    shares = [
        asked.get(name, 0) / room[name] if room.get(name, 0) > 0 else 1.0
        for name in (resources.CPU, resources.MEMORY)
    ]
    return max(shares)


def judge(
    states: Mapping[str, GroupState],
    pods_on: Mapping[str, Sequence[JsonObject]],
    budgets: Budgets,
    simulation: Simulation,
    settings: Settings,
) -> Verdict:
    """The simulation has only nodes that pods may go to; it is used up."""
    verdict = Verdict()
    candidates: list[Unneeded] = []
    for name, state in states.items():
        if state.problem:
            continue
        for node in [*state.ready, *state.unready]:
            used = utilization(node, pods_on.get(meta.name(node), ()), settings)
            reason = _stays(node, used, settings)
            if reason:
                verdict.unremovable[meta.name(node)] = reason
            else:
                made = drain.move(pods_on.get(meta.name(node), ()), budgets, settings)
                candidates.append(Unneeded(node, name, made, used))
    candidates.sort(key=lambda item: (not item.move.empty, item.utilization, item.name))
    taking: dict[str, None] = {}
    names = {item.name: None for item in candidates}
    tried = 0
    for item in candidates:
        if item.move.blocking is not None:
            verdict.unremovable[item.name] = f"{item.move.blocking.reason.value}: {meta.key(item.move.blocking.pod)}"
        elif item.name in taking:
            verdict.unremovable[item.name] = "it is to take pods of others"
        elif not item.move.empty and tried >= MAX_TRIED:
            verdict.unremovable[item.name] = "not looked at yet"
        else:
            tried += not item.move.empty
            # Anew: what nodes before it will evict is no longer there for it.
            fresh = drain.move(pods_on.get(item.name, ()), budgets, settings)
            if fresh.blocking is not None:
                verdict.unremovable[item.name] = f"{fresh.blocking.reason.value}: {meta.key(fresh.blocking.pod)}"
                continue
            left = _try_removal(item, simulation, names, taking)
            if left:
                verdict.unremovable[item.name] = f"pod {left} fits on no other node"
                continue
            budgets.spend(pod for pod in item.move.pods if not meta.is_deleting(pod))
            verdict.unneeded[item.name] = item
    return verdict


def _stays(node: JsonObject, used: float, settings: Settings) -> str:
    if meta.annotations(node).get(DISABLED) == "true":
        return "scale-down is disabled by its annotation"
    if meta.is_deleting(node):
        return "its Node is being deleted"
    if not conditions.is_true(node, "Ready"):
        return "" if settings.scale_down_unready_enabled else "it is not ready"
    if used >= settings.scale_down_utilization_threshold:
        return f"utilization {used:.2f}"
    return ""


def _try_removal(
    item: Unneeded, simulation: Simulation, candidates: Mapping[str, None], taking: dict[str, None]
) -> str:
    """The pod that stays without a place, or nothing; then the simulation is without the node.

    Pods go to nodes that stay anyway, where they can: those that take them stay too.
    """
    there = item.name in simulation
    before = simulation.pods_on(item.name)
    simulation.remove_node(item.name)
    moved: list[tuple[PodInfo, str]] = []
    for pod in item.move.pods:
        if meta.is_deleting(pod):
            continue
        info = PodInfo.of(_unbound(pod))
        target = simulation.place(info, lambda name: name not in candidates) or simulation.place(info)
        if not target:
            for other, _ in moved:
                simulation.take(other)
            if there:
                simulation.add_node(item.node)
                for own in before:
                    simulation.put(own, item.name)
            return info.key
        moved.append((info, target))
    taking.update(dict.fromkeys(target for _, target in moved))
    return ""


def _unbound(pod: JsonObject) -> JsonObject:
    spec = {key: value for key, value in meta.spec(pod).items() if key != "nodeName"}
    return {**pod, "spec": spec}


@dataclass(frozen=True)
class Going:
    """What is under way, when it is decided what goes too."""

    drained: int
    """Nodes with pods that are being removed."""
    total: int


class Waiting:
    """Since when nodes are not needed. One look in which a node is needed starts its time anew."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.since_s: dict[str, float] = {}

    def look(self, unneeded: Mapping[str, Unneeded], now_s: float) -> None:
        self.since_s = {name: self.since_s.get(name, now_s) for name in unneeded}

    def due(
        self,
        verdict: Verdict,
        states: Mapping[str, GroupState],
        going: Going,
        now_s: float,
    ) -> list[Unneeded]:
        """Those that go now: long enough unneeded, within the groups' minimum and what may go at once."""
        settings = self._settings
        room = {name: removable(state) for name, state in states.items()}
        free, drains = (
            settings.max_scale_down_parallelism - going.total,
            settings.max_drain_parallelism - going.drained,
        )
        found = []
        for item in verdict.unneeded.values():
            ready = conditions.is_true(item.node, "Ready")
            wait_s = settings.scale_down_unneeded_time if ready else settings.scale_down_unready_time
            if now_s - self.since_s[item.name] < wait_s:
                continue
            if room[item.group] <= 0:
                verdict.unremovable[item.name] = "its group is at its minimum size"
                continue
            if free <= 0 or (not item.move.empty and drains <= 0):
                continue
            room[item.group] -= 1
            free -= 1
            drains -= not item.move.empty
            found.append(item)
        return found


def removable(state: GroupState) -> int:
    """How many nodes a group can lose: by its target, and by the nodes that are there, whichever says less.

    A node on its way out stands in the target until the provider was told.
    """
    there = len(state.ready) + len(state.unready) + len(state.starting)
    return min(state.group.target_size - state.still_counted, there) - state.group.min_size
