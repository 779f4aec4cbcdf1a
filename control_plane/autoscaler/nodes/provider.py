"""Where nodes come from: groups of like machines, as clouds have them. What a provider says is checked here.

Modelled on upstream's cloudprovider.CloudProvider and NodeGroup. A provider that is away or says what cannot be never
makes the autoscaler act: `read` gives a reason for each group that it must leave alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling import resources

MAX_SIZE: Final = 100_000
"""No group of nodes is larger; a number above is an error, not a wish."""


class ProviderError(Exception):
    """The provider could not do it. `busy`: only for the moment, which says nothing about the group."""

    def __init__(self, message: str, code: str = "cloudProviderError", *, busy: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.busy = busy


class State(Enum):
    RUNNING = "running"
    CREATING = "creating"
    DELETING = "deleting"


class ErrorClass(Enum):
    """Why an instance could not be made."""

    OUT_OF_RESOURCES = "OutOfResource"
    QUOTA_EXCEEDED = "QuotaExceeded"
    OTHER = "Other"


@dataclass(frozen=True)
class Instance:
    """A machine of a group. `name` is its Node's; `provider_id`, where there is one, the Node's spec.providerID."""

    name: str
    state: State = State.RUNNING
    provider_id: str = ""
    error_class: ErrorClass | None = None
    error_code: str = ""
    error_message: str = ""


@dataclass(frozen=True)
class Group:
    """`template` is a Node as a new one of the group would register."""

    name: str
    min_size: int
    max_size: int
    target_size: int
    template: JsonObject


class NodeProvider(Protocol):
    """Every method raises ProviderError."""

    async def refresh(self) -> None:
        """Called before each look at the cluster; a provider may bring what it remembers up to date."""

    async def groups(self) -> Sequence[Group]: ...

    async def instances(self, group: str) -> Sequence[Instance]: ...

    async def increase(self, group: str, count: int) -> None:
        """Raise the target by `count`."""

    async def delete_nodes(self, group: str, names: Sequence[str]) -> None:
        """Take these away and lower the target by as many."""

    async def decrease_target(self, group: str, count: int) -> None:
        """Take back a wish for nodes that have not come; deletes none."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Offer:
    """What the provider said in one look."""

    groups: dict[str, Group] = field(default_factory=dict)
    instances: dict[str, tuple[Instance, ...]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """Groups that are left alone, and why."""


async def read(provider: NodeProvider) -> Offer:
    """One look at everything. Raises ProviderError when nothing of it can be used."""
    await provider.refresh()
    offer = Offer()
    listed = await provider.groups()
    for group in listed:
        if group.name in offer.groups:
            raise ProviderError(f"node group {group.name} is listed twice")
        offer.groups[group.name] = group
        problem = impossible(group)
        if problem:
            offer.problems[group.name] = problem
    for name in offer.groups:
        try:
            offer.instances[name] = tuple(await provider.instances(name))
        except ProviderError as error:
            offer.instances[name] = ()
            offer.problems.setdefault(name, f"its instances are not known: {error.message}")
    _check_instances(offer)
    return offer


def impossible(group: Group) -> str:
    """Why a group cannot be as it is said to be; empty when it can."""
    for name, value in (("minimum", group.min_size), ("maximum", group.max_size), ("target", group.target_size)):
        if isinstance(value, bool) or not isinstance(value, int):
            return f"its {name} size is no whole number: {value}"
        if not 0 <= value <= MAX_SIZE:
            return f"its {name} size is {value}"
    if group.min_size > group.max_size:
        return f"its minimum size {group.min_size} is above its maximum size {group.max_size}"
    try:
        amounts = resources.allocatable(group.template)
        meta.labels(group.template).items()
        taints = [(taint["key"], taint["effect"]) for taint in meta.spec(group.template).get("taints") or ()]
    except (AttributeError, TypeError, KeyError, ValueError):
        return "its template is no Node"
    if amounts.get(resources.CPU, 0) <= 0 or amounts.get(resources.MEMORY, 0) <= 0:
        return "its template has no cpu or no memory"
    if amounts.get(resources.PODS, 0) <= 0 or not all(key and effect for key, effect in taints):
        return "its template takes no pods, or has a taint without key or effect"
    return ""


def _check_instances(offer: Offer) -> None:
    """An instance belongs to one group; one that is named twice makes both doubtful."""
    owners: dict[str, str] = {}
    for name, instances in offer.instances.items():
        for instance in instances:
            if not instance.name:
                offer.problems.setdefault(name, "an instance has no name")
                continue
            other = owners.setdefault(instance.name, name)
            if other != name:
                for doubtful in (other, name):
                    offer.problems.setdefault(doubtful, f"instance {instance.name} is in groups {other} and {name}")
        if len({instance.name for instance in instances}) < len(instances):
            offer.problems.setdefault(name, "an instance is listed twice")
