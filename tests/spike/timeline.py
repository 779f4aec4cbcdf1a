"""What happened when: the states of a run, what its load said, the steps in them, and their table. Pure.

Times are seconds since the run began; steps are told as seconds since the load began (before it: negative) or ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.table import Cell, Table


@dataclass(frozen=True)
class State:
    """What the cluster was like from `at_s` on."""

    at_s: float
    wanted: int = 0
    """Replicas asked for."""
    ready: int = 0
    waiting: int = 0
    """Pods that found no room."""
    nodes: int = 0
    """Ready nodes."""
    asked: int = 0
    """Times that the node autoscaler asked for nodes."""

    def same(self, other: State) -> bool:
        return (self.wanted, self.ready, self.waiting, self.nodes, self.asked) == (
            *(other.wanted, other.ready, other.waiting),
            *(other.nodes, other.asked),
        )


@dataclass(frozen=True)
class Second:
    """What the load said of one second."""

    at_s: float
    done: int
    """Requests answered, or items of the queue worked off."""
    failed: int
    p50_ms: float
    p99_ms: float
    doing: int
    """Pods that did it."""
    queued: int = 0
    """Items in the queue."""


@dataclass(frozen=True)
class Outcome:
    """The load as a whole."""

    sent: int
    failed: int
    p50_ms: float
    p99_ms: float
    errors: tuple[str, ...] = ()
    """How often each kind came."""
    stalled_s: float = 0.0
    """So long the load itself got no processor."""


@dataclass(frozen=True)
class Latency:
    """Of the median second of a stretch of the load."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Step:
    what: str
    at_s: float | None
    """None: it did not happen."""
    optional: bool = False


@dataclass
class Timeline:
    """One run. `states` are in order, the first is how it was before anything happened."""

    states: list[State] = field(default_factory=list)
    seconds: list[Second] = field(default_factory=list)
    load_from_s: float = 0.0
    load_to_s: float = 0.0
    outcome: Outcome | None = None

    @property
    def first(self) -> State:
        return self.states[0]

    @property
    def most(self) -> int:
        """The most pods that were asked for while there was load. Averages still rise a little after its end."""
        return max(item.wanted for item in self.states if item is self.first or item.at_s <= self.load_to_s)

    def is_back(self, state: State) -> bool:
        """As many pods and nodes as at the start."""
        first = self.first
        return state.wanted <= first.wanted and state.ready <= first.ready and state.nodes <= first.nodes

    def latencies(self) -> tuple[Latency | None, Latency | None]:
        """Under load: before the first new pod was Ready, and after all that were asked for were."""
        steps = {step.what: step.at_s for step in self.lag()}
        first, all_s = steps["first new pod Ready"], steps["all asked-for pods Ready"]
        whole_s = self.load_to_s - self.load_from_s
        before = self._latency(0.0, whole_s if first is None else first)
        return before, None if all_s is None else self._latency(all_s, whole_s)

    def _latency(self, start_s: float, end_s: float) -> Latency | None:
        """Between two times since the load began; None when nothing was answered."""
        within = [item for item in self.seconds if item.done and start_s <= item.at_s - self.load_from_s <= end_s]
        if not within:
            return None
        return Latency(median(item.p50_ms for item in within), median(item.p99_ms for item in within))

    def lag(self) -> list[Step]:
        """The chain, in the columns of the comparison."""
        first, most = self.first, self.most
        up = self.load_from_s
        return [
            Step("scaler asks for more", self._since(up, lambda item: item.wanted > first.wanted)),
            Step("node asked for", self._since(up, lambda item: item.asked > first.asked)),
            Step("node Ready", self._since(up, lambda item: item.nodes > first.nodes)),
            Step("first new pod Ready", self._since(up, lambda item: item.ready > first.ready)),
            Step("all asked-for pods Ready", self._since(up, lambda item: item.ready >= most > first.wanted)),
            Step("back to the start", self._since(self.load_to_s, self.is_back, after_s=self.load_to_s)),
        ]

    def steps(self) -> list[Step]:
        """The chain, and what else can be told of it."""
        lag, up, down = self.lag(), self.load_from_s, self.load_to_s
        first, most = self.first, self.most
        all_do = next((item.at_s - up for item in self.seconds if item.doing >= most > first.wanted), None)
        after = [
            Step("after the load: fewer pods asked for", self._since(down, lambda item: item.wanted < most, down)),
            Step("after the load: as few pods", self._since(down, lambda item: item.ready <= first.ready, down)),
            Step("after the load: as few nodes", self._since(down, lambda item: item.nodes <= first.nodes, down)),
        ]
        room = Step("a pod finds no room", self._since(up, lambda item: item.waiting > first.waiting))
        return [lag[0], room, *lag[1:5], Step("all of them answer", all_do, optional=True), *after]

    def _since(self, start_s: float, test: Callable[[State], bool], after_s: float | None = None) -> float | None:
        """Seconds from `start_s` to the first state that passes, of those in force at or after `after_s`."""
        for index, item in enumerate(self.states):
            if after_s is not None:
                following = self.states[index + 1 : index + 2]
                if following and following[0].at_s <= after_s:
                    continue
            if test(item):
                return max(item.at_s, after_s if after_s is not None else item.at_s) - start_s
        return None


COLUMNS = ("scaler asks", "node asked", "node Ready", "first pod", "all pods", "back")
"""Short names of what `Timeline.lag` gives."""


def comparison(runs: Sequence[tuple[str, Timeline]]) -> Table:
    """The lag of each run, side by side."""
    table = Table("the chain's lag, seconds", ("", *COLUMNS, "p50 ms", "p99 ms", "failed", "of"))
    for title, timeline in runs:
        outcome = timeline.outcome
        cells: list[Cell] = [step.at_s for step in timeline.lag()]
        if outcome is None:
            cells += [None] * 4
        else:
            cells += [outcome.p50_ms, outcome.p99_ms, outcome.failed, outcome.sent]
        table.add(title, *cells)
    table.notes += [
        "since the load began: the scaler asks for more pods, a node is asked for, it is Ready, the first new pod is",
        "Ready, all that were asked for are Ready; since the load ended: as few pods and nodes as before it",
    ]
    return table
