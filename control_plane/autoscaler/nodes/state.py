"""What the autoscaler knows of its groups from one look to the next: which nodes are there, which are still to come,
what was asked for and did not come. Pure: the time is told.

Upstream: clusterstate/clusterstate.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from argosy.host import parse_rfc3339
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.autoscaler.nodes.backoff import Backoff
from control_plane.autoscaler.nodes.provider import Group, Instance, Offer, State
from control_plane.autoscaler.nodes.settings import Settings


@dataclass
class GroupState:
    """One group in one look."""

    group: Group
    problem: str = ""
    """Why it is left alone."""
    ready: list[JsonObject] = field(default_factory=list)
    starting: list[JsonObject] = field(default_factory=list)
    """Registered, not ready yet, and young."""
    unready: list[JsonObject] = field(default_factory=list)
    going: list[str] = field(default_factory=list)
    still_counted: int = 0
    """Of those that go, how many are in the target still: the provider was not told yet."""
    unregistered: list[Instance] = field(default_factory=list)
    overdue: list[Instance] = field(default_factory=list)
    """Instances that did not register in time."""
    failed: list[Instance] = field(default_factory=list)
    """Instances that could not be made."""
    not_coming: int = 0
    """Of the target, what nothing stands for and has not for too long."""

    @property
    def registered(self) -> list[JsonObject]:
        return [*self.ready, *self.starting, *self.unready]

    @property
    def upcoming(self) -> int:
        """Nodes that are asked for and not ready yet."""
        lost = len(self.unready) + len(self.overdue) + len(self.failed) + self.not_coming + self.still_counted
        return max(0, self.group.target_size - len(self.ready) - lost)


@dataclass(frozen=True)
class Request:
    """Nodes that were asked for."""

    increase: int
    at_s: float
    expected_s: float


@dataclass(frozen=True)
class TimedOut:
    group: str
    increase: int


class Registry:
    """`look` after each read of the provider."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.backoff = Backoff(settings)
        self.requests: dict[str, Request] = {}
        self._unregistered_s: dict[str, float] = {}
        self._missing_s: dict[str, float] = {}
        """Since when a group's target is above what stands for it."""

    def asked(self, group: str, count: int, now_s: float) -> None:
        before = self.requests.get(group)
        total = count + (before.increase if before is not None else 0)
        self.requests[group] = Request(total, now_s, now_s + self._settings.max_node_provision_time)
        self._missing_s.pop(group, None)

    def look(
        self, offer: Offer, nodes: Iterable[JsonObject], going: Mapping[str, bool], now_s: float
    ) -> tuple[dict[str, GroupState], list[TimedOut]]:
        """`going`: nodes being removed, and whether the provider knows. Gives every group's state, and requests that
        came to nothing: their groups are in back-off from now on."""
        by_name: dict[str, JsonObject] = {}
        by_provider: dict[str, JsonObject] = {}
        for node in nodes:
            by_name[meta.name(node)] = node
            provider_id = str(meta.spec(node).get("providerID") or "")
            if provider_id:
                by_provider[provider_id] = node
        self.backoff.forget_old(now_s)
        states = {}
        seen: dict[str, None] = {}
        for name, group in offer.groups.items():
            state = states[name] = GroupState(group, offer.problems.get(name, ""))
            for instance in offer.instances.get(name, ()):
                found = by_provider.get(instance.provider_id) or by_name.get(instance.name)
                self._sort(state, instance, found, going, now_s, seen)
            if not state.problem:
                self._count_missing(state, len(offer.instances.get(name, ())), now_s)
        for gone in [name for name in self._unregistered_s if name not in seen]:
            del self._unregistered_s[gone]
        for gone in [name for name in self._missing_s if name not in states]:
            del self._missing_s[gone]
        return states, self._settle(states, now_s)

    def _sort(
        self,
        state: GroupState,
        instance: Instance,
        node: JsonObject | None,
        going: Mapping[str, bool],
        now_s: float,
        seen: dict[str, None],
    ) -> None:
        if instance.state is State.DELETING or instance.name in going or (node and meta.name(node) in going):
            state.going.append(instance.name)
            name = instance.name if node is None else meta.name(node)
            state.still_counted += instance.state is not State.DELETING and not going.get(name, False)
        elif node is not None:
            if conditions.is_true(node, "Ready"):
                state.ready.append(node)
            elif now_s - created_s(node, now_s) < self._settings.max_node_startup_time:
                state.starting.append(node)
            else:
                state.unready.append(node)
        elif instance.error_class is not None:
            state.failed.append(instance)
        else:
            seen[instance.name] = None
            since_s = self._unregistered_s.setdefault(instance.name, now_s)
            late = now_s - since_s >= self._settings.max_node_provision_time
            (state.overdue if late else state.unregistered).append(instance)

    def _count_missing(self, state: GroupState, instances: int, now_s: float) -> None:
        name = state.group.name
        missing = state.group.target_size - (instances - len(state.going) + state.still_counted)
        if missing <= 0:
            self._missing_s.pop(name, None)
            return
        since_s = self._missing_s.setdefault(name, now_s)
        if now_s - since_s >= self._settings.max_node_provision_time:
            state.not_coming = missing

    def _settle(self, states: Mapping[str, GroupState], now_s: float) -> list[TimedOut]:
        late = []
        for name, request in list(self.requests.items()):
            state = states.get(name)
            if state is None:
                del self.requests[name]
            elif state.problem:
                continue
            elif state.upcoming == 0 and not (state.overdue or state.failed or state.not_coming):
                del self.requests[name]
                self.backoff.succeed(name)
            elif now_s >= request.expected_s:
                del self.requests[name]
                late.append(TimedOut(name, request.increase))
                self.backoff.fail(name, now_s, "timeout", f"{request.increase} nodes did not come up in time")
        return late


def created_s(obj: JsonObject, default_s: float) -> float:
    try:
        return parse_rfc3339(str(meta.metadata(obj).get("creationTimestamp", "")))
    except ValueError:
        return default_s


def is_healthy(nodes: Iterable[JsonObject], settings: Settings, now_s: float) -> bool:
    """Whether so few nodes are unready that it can be believed that they are, and not the one who says it."""
    total = unready = 0
    for node in nodes:
        total += 1
        young = now_s - created_s(node, now_s) < settings.max_node_startup_time
        unready += not conditions.is_true(node, "Ready") and not young
    if unready <= settings.ok_total_unready_count:
        return True
    return unready * 100 <= settings.max_total_unready_percentage * total
