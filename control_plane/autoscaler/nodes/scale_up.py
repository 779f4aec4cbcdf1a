"""Which group gets how many nodes for the pods that fit nowhere. Pure: simulation, sizes and a random number decide.

Each group is tried by binpacking: pods, large ones first, are put on new nodes like the group's template until it is
full; the group whose new nodes would waste least is taken (upstream: core/scaleup/orchestrator, estimator,
expander/waste).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.host import Rng
from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling import resources
from control_plane.autoscaler.nodes.provider import Group
from control_plane.autoscaler.nodes.settings import Settings
from control_plane.autoscaler.nodes.simulation import Simulation, daemon_pods, fresh_node
from control_plane.scheduler.pod_info import PodInfo

MAX_PODS: Final = 1000
"""Pods looked at in one go, so that it takes no longer than a lease lasts; the others' turn is the next."""
MAX_REACHED: Final = "max node group size reached"
BACKOFF: Final = "in backoff after failed scale-up"
NOT_READY: Final = "not ready for scale-up"
TOTAL_REACHED: Final = "max total nodes in cluster reached"


@dataclass(frozen=True)
class Option:
    """What a group could do."""

    group: Group
    nodes: int
    pods: tuple[PodInfo, ...]
    waste: float


@dataclass
class Plan:
    option: Option | None = None
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    """By the uid of pods that no group helps: reasons, each with the number of groups."""
    helped: dict[str, None] = field(default_factory=dict)
    """Pods, by uid, that some group would help."""

    def refusal(self, uid: str) -> str:
        counts = self.reasons.get(uid, Counter())
        return ", ".join(f"{count} {text}" for text, count in sorted(counts.items()))


def is_unschedulable(pod: JsonObject) -> bool:
    """The scheduler has looked and found no node."""
    if meta.spec(pod).get("nodeName") or meta.is_deleting(pod):
        return False
    for condition in meta.status(pod).get("conditions") or ():
        if condition.get("type") == "PodScheduled":
            return bool(condition.get("status") == "False" and condition.get("reason") == "Unschedulable")
    return False


def wanting(
    pods: Iterable[JsonObject], now_s: float, created_s: Mapping[str, float], settings: Settings
) -> list[PodInfo]:
    """Pods that may bring a node, in a steady order. `created_s`: when, by uid."""
    found = [
        PodInfo.of(pod)
        for pod in pods
        if is_unschedulable(pod)
        and int(meta.spec(pod).get("priority") or 0) >= settings.expendable_pods_priority_cutoff
        and now_s - created_s.get(meta.uid(pod), now_s) >= settings.new_pod_scale_up_delay
    ]
    return sorted(found, key=lambda info: (-info.priority, info.key))[:MAX_PODS]


def left_over(pods: Sequence[PodInfo], simulation: Simulation) -> list[PodInfo]:
    """Pods without a place on the nodes of the simulation; the others take theirs."""
    alike: dict[object, None] = {}
    found = []
    for info in pods:
        kind = _alike(info)
        if kind in alike or not simulation.place(info):
            alike[kind] = None
            found.append(info)
    return found


def plan(
    pods: Sequence[PodInfo],
    groups: Mapping[str, Group],
    templates: Mapping[str, JsonObject],
    skipped: Mapping[str, str],
    daemon_sets: Sequence[JsonObject],
    simulation: Simulation,
    room: int,
    settings: Settings,
    rng: Rng,
) -> Plan:
    """`skipped`: groups that may not grow, and why; `room`: nodes that the cluster may still get.

    The simulation is as before when it is done.
    """
    result = Plan(reasons={info.uid: Counter() for info in pods})
    options = []
    for name, group in groups.items():
        reason = skipped.get(name) or (MAX_REACHED if group.target_size >= group.max_size else "")
        reason = reason or (TOTAL_REACHED if room <= 0 else "")
        if reason:
            for info in pods:
                result.reasons[info.uid][reason] += 1
            continue
        most = min(group.max_size - group.target_size, room, settings.max_nodes_per_scaleup)
        option = estimate(group, templates[name], pods, daemon_sets, simulation, most, result)
        if option is not None:
            options.append(option)
    for uid in result.helped:
        result.reasons.pop(uid, None)
    result.option = least_waste(options, rng)
    return result


def estimate(
    group: Group,
    template: JsonObject,
    pods: Sequence[PodInfo],
    daemon_sets: Sequence[JsonObject],
    simulation: Simulation,
    most: int,
    result: Plan,
) -> Option | None:
    """How many nodes like `template` the pods need, `most` at most; None when none of them fits one."""
    node = fresh_node(template, _name(group, 0))
    room = resources.allocatable(node)
    names: dict[str, None] = {}
    placed: list[PodInfo] = []
    misfits: dict[object, list[str]] = {}

    def add() -> str:
        name = _name(group, len(names))
        made = fresh_node(template, name)
        simulation.add_node(made, daemon_pods(made, daemon_sets))
        names[name] = None
        return name

    for info in sorted(pods, key=lambda info: -_share(info, room)):
        kind = _alike(info)
        if kind in misfits:
            result.reasons[info.uid].update(misfits[kind])
            continue
        if names and simulation.place(info, names.__contains__):
            placed.append(info)
            result.helped[info.uid] = None
            continue
        if len(names) >= most:
            # Full, not unfit: its turn comes when these nodes are there.
            result.helped[info.uid] = None
            continue
        name = add()
        if simulation.fits(info, name):
            simulation.put(info, name)
            placed.append(info)
            result.helped[info.uid] = None
            continue
        misfits[kind] = simulation.reasons(info, name)
        result.reasons[info.uid].update(misfits[kind])
        simulation.remove_node(name)
        del names[name]
    for name in names:
        simulation.remove_node(name)
    if not placed:
        return None
    return Option(group, len(names), tuple(placed), _waste(placed, room, len(names)))


def least_waste(options: Sequence[Option], rng: Rng) -> Option | None:
    """The one that leaves the smallest share of cpu and memory unused; at random among equals."""
    if not options:
        return None
    least = min(option.waste for option in options)
    best = [option for option in options if option.waste - least < 1e-9]
    return best[0] if len(best) == 1 else rng.choice(best)


def _waste(pods: Sequence[PodInfo], room: Mapping[str, int], nodes: int) -> float:
    total = 0.0
    for name in (resources.CPU, resources.MEMORY):
        there = room.get(name, 0) * nodes
        asked = sum(info.requests.get(name, 0) for info in pods)
        total += (there - asked) / there if there else 0.0
    return total


def _share(info: PodInfo, room: Mapping[str, int]) -> float:
    return sum(
        info.requests.get(name, 0) / room[name] for name in (resources.CPU, resources.MEMORY) if room.get(name, 0) > 0
    )


def _name(group: Group, number: int) -> str:
    return f"template-node-for-{group.name}-{number}"


def _alike(info: PodInfo) -> object:
    """Pods of one controller with one specification are one question."""
    owner = meta.controller_of(info.pod)
    if owner is None:
        return info.uid
    volumes = info.spec.get("volumes") or ()
    if any("persistentVolumeClaim" in volume or "ephemeral" in volume for volume in volumes):
        return info.uid
    spec = {key: value for key, value in info.spec.items() if key not in ("volumes", "hostname")}
    return (str(owner.get("uid")), repr(spec))
