"""A schedule of random faults from a seed: the same for the same seed, cluster and options. Pure.

Unless asked, it leaves a cluster able to heal by itself: at any time a majority of the store's members is untouched,
and so are one API server and half of the nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from argosy.host import Rng, SeededRng
from deploy.chaos.fault import Fault, FaultError
from deploy.chaos.site import NODE, PROCESS, SUPERVISOR, Component

LONGEST_PART: Final = 0.4
"""Of the schedule's duration that one fault lasts at most."""
LEAST_S: Final = 2.0
TRIES: Final = 40
LATEST_PART: Final = 0.8
"""Of the duration by which the last fault begins."""
KINDS: Final = (
    "kill",
    "pause",
    "restart",
    "partition",
    "loss",
    "delay",
    "rate",
    "slow-disk",
    "fill-disk",
    "skew-clock",
)

USUAL: Final = tuple(kind for kind in KINDS if kind != "fill-disk")
"""Without being asked. A store refuses all writes while the disk of one of its members is full, as etcd does."""


@dataclass(frozen=True)
class Step:
    """One fault of a schedule."""

    at_s: float
    for_s: float
    """0: over at once."""
    fault: Fault

    @property
    def end_s(self) -> float:
        return self.at_s + self.for_s


@dataclass(frozen=True)
class Options:
    duration_s: float
    faults: int = 0
    """How many; 0: one in 6 seconds."""
    kinds: tuple[str, ...] = USUAL
    exclude: tuple[str, ...] = ()
    """Components, nodes or members that nothing is done to."""
    keep_quorum: bool = True


@dataclass
class _Ground:
    """What there is to break, and what is broken when."""

    components: Sequence[Component]
    options: Options
    lans: bool
    steps: list[Step] = field(default_factory=list)

    def may(self, step: Step, hurt: Sequence[str]) -> bool:
        """Whether enough stays whole while `hurt` (store members, API servers, nodes) are."""
        if not self.options.keep_quorum:
            return True
        broken = set(hurt)
        for other in self.steps:
            # What was hurt may take a little to be back.
            if other.at_s < step.end_s + LEAST_S * 2 and step.at_s < other.end_s + LEAST_S * 2:
                broken |= set(other.fault.targets)
        for kind, spare in (("etcd", _minority), ("apiserver", _all_but_one), (NODE, _half)):
            there = [item for item in self.components if item.kind == kind]
            if sum(_is_hurt(item, broken) for item in there) > spare(len(there)):
                return False
        return True


def plan(seed: int, components: Sequence[Component], options: Options) -> list[Step]:
    """The schedule, in the order of its beginnings. Raises FaultError."""
    for kind in options.kinds:
        if kind not in KINDS:
            raise FaultError(f"--kinds {kind}: there are {', '.join(KINDS)}")
    known = set[str]().union(*map(_called, components))
    for name in options.exclude:
        if name not in known:
            raise FaultError(f"--exclude {name}: no component, node, member or kind is called so")
    if options.duration_s < LEAST_S:
        raise FaultError(f"a schedule of {options.duration_s:g} s: {LEAST_S:g} s at least")
    rng = SeededRng(f"chaos-{seed}")
    usable = [item for item in components if item.name != SUPERVISOR and not _is_excluded(item, options.exclude)]
    ground = _Ground(components, options, any(item.member for item in components))
    count = options.faults or max(1, round(options.duration_s / 6))
    for _ in range(count):
        for _ in range(TRIES):
            step = _step(rng, usable, ground)
            if step is not None and ground.may(step, step.fault.targets):
                ground.steps.append(step)
                break
    return sorted(ground.steps, key=lambda step: step.at_s)


def _step(rng: Rng, usable: Sequence[Component], ground: _Ground) -> Step | None:
    """A candidate; None when what was drawn finds nothing here."""
    duration_s = ground.options.duration_s
    kind = rng.choice(ground.options.kinds)
    at_s = round(LATEST_PART * duration_s * rng.random(), 2)
    most_s = min(LONGEST_PART * duration_s, duration_s - at_s)
    for_s = round(max(min(LEAST_S, most_s), most_s * rng.random()), 2)
    made = _MAKERS[kind](rng, usable, ground)
    if made is None:
        return None
    targets, settings = made
    if kind == "restart" or (kind == "kill" and rng.random() < 0.5):
        for_s = 0.0
    return Step(at_s, for_s, Fault(kind, tuple(targets), settings))


Made = tuple[list[str], dict[str, Any]] | None


def _any_process(rng: Rng, usable: Sequence[Component], ground: _Ground) -> Made:
    found = [item.name for item in usable]
    return ([rng.choice(found)], {}) if found else None


def _members(usable: Sequence[Component]) -> list[str]:
    """One component for each link: a link that is broken is broken for all that share it."""
    first: dict[str, str] = {}
    for item in usable:
        if item.member and item.make in (PROCESS, NODE):
            first.setdefault(item.member, item.name)
    return list(first.values())


def _partition(rng: Rng, usable: Sequence[Component], ground: _Ground) -> Made:
    found = _members(usable)
    if not found or not ground.lans:
        return None
    one, one_way = rng.choice(found), rng.random() < 0.3
    others = [name for name in found if name != one]
    if rng.random() < 0.5 or not others:
        return [one], {"groups": [[one]], "one_way": one_way}
    return [one], {"groups": [[one], [rng.choice(others)]], "one_way": one_way}


def _linked(settings: Callable[[Rng], dict[str, Any]]) -> Callable[[Rng, Sequence[Component], _Ground], Made]:
    def make(rng: Rng, usable: Sequence[Component], ground: _Ground) -> Made:
        found = _members(usable)
        return ([rng.choice(found)], settings(rng)) if found and ground.lans else None

    return make


def _stored(settings: Callable[[Rng], dict[str, Any]]) -> Callable[[Rng, Sequence[Component], _Ground], Made]:
    def make(rng: Rng, usable: Sequence[Component], ground: _Ground) -> Made:
        found = [item.name for item in usable if item.kind == "etcd"]
        return ([rng.choice(found)], settings(rng)) if found else None

    return make


def _skewed(rng: Rng, usable: Sequence[Component], ground: _Ground) -> Made:
    found = [item.name for item in usable if item.own]
    return ([rng.choice(found)], {"skew_s": round(600 * (rng.random() - 0.5), 1)}) if found else None


_MAKERS: Final[dict[str, Callable[[Rng, Sequence[Component], _Ground], Made]]] = {
    "kill": _any_process,
    "pause": _any_process,
    "restart": _any_process,
    "partition": _partition,
    "loss": _linked(lambda rng: {"percent": 1 + rng.randrange(30)}),
    "delay": _linked(lambda rng: {"delay_ms": 5 + rng.randrange(200), "jitter_ms": rng.randrange(5)}),
    "rate": _linked(lambda rng: {"bits_per_s": 1_000_000 * (1 + rng.randrange(20))}),
    "slow-disk": _stored(lambda rng: {"sync_ms": 20 + rng.randrange(500)}),
    "fill-disk": _stored(lambda rng: {"percent": 100}),
    "skew-clock": _skewed,
}


def _called(item: Component) -> set[str]:
    """What it can be excluded by."""
    return {item.name, item.node, item.member, item.kind} - {""}


def _is_excluded(item: Component, exclude: Sequence[str]) -> bool:
    return bool(_called(item) & set(exclude))


def _is_hurt(item: Component, broken: set[str]) -> bool:
    """Itself, or what shares its link, or a part of it: a node without its agent is none."""
    if item.name in broken:
        return True
    return any(name.partition("/")[0] == item.name for name in broken)


def _minority(count: int) -> int:
    return (count - 1) // 2


def _all_but_one(count: int) -> int:
    return count - 1


def _half(count: int) -> int:
    return count // 2
