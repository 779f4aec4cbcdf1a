"""Faults from Python: `cluster.chaos` in tests (argosy.testing), or `Chaos("name")` anywhere. Needs root.

    with cluster.chaos.partition("node-1", from_=["apiserver-1"]):
        ...

Each call injects at once and gives what was injected: a context manager that heals at its end, with `heal()` for
those who do not use it as one. With `for_s` it heals itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from deploy.chaos import inject, running, schedule
from deploy.chaos.fault import Fault, FaultError
from deploy.chaos.kinds import kind_of
from deploy.chaos.schedule import Options, Step
from deploy.chaos.site import Site
from deploy.layout import Layout


class Injected:
    """A fault that was injected."""

    def __init__(self, chaos: Chaos, fault: Fault) -> None:
        self._chaos = chaos
        self.fault = fault

    @property
    def id(self) -> str:
        """As `argosy chaos status` shows it; empty when there is nothing to heal."""
        return self.fault.id

    def heal(self) -> None:
        """Undo it; no harm when it is healed already."""
        if any(fault.id == self.fault.id for fault in self._chaos.active()):
            self._chaos.heal(self.fault.id)

    def __enter__(self) -> Injected:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()

    def __repr__(self) -> str:
        return f"<{kind_of(self.fault.kind).describe(self.fault)}>"


class Chaos:
    """Faults of one cluster. Everything raises FaultError when it cannot be, CommandError, OSError."""

    def __init__(self, cluster: str) -> None:
        self._layout = Layout(cluster)

    def kill(self, *names: str, hold: bool = False, for_s: float = 0.0) -> Injected:
        """kill -9; of a node: its power is cut. With `hold` or `for_s` it is not started again meanwhile."""
        return self._inject("kill", names, for_s, hold=hold)

    def pause(self, *names: str, for_s: float = 0.0) -> Injected:
        """SIGSTOP until healed."""
        return self._inject("pause", names, for_s)

    def restart(self, *names: str) -> Injected:
        """SIGTERM; whoever keeps it starts it again."""
        return self._inject("restart", names, 0.0)

    def partition(
        self,
        *names: str,
        from_: Sequence[str] = (),
        groups: Sequence[Sequence[str]] = (),
        one_way: bool = False,
        for_s: float = 0.0,
    ) -> Injected:
        """Cut `names` off `from_` (none: everything else), or `groups` off each other.

        `one_way`: only what `names` send is lost.
        """
        parts = [list(group) for group in groups] or [list(names), *([list(from_)] if from_ else [])]
        if groups and (names or from_):
            raise FaultError("either names or groups")
        return self._inject("partition", (), for_s, groups=parts, one_way=one_way)

    def loss(
        self, *names: str, percent: float, with_: Sequence[str] = (), one_way: bool = False, for_s: float = 0.0
    ) -> Injected:
        """Frames are lost at random."""
        return self._inject("loss", names, for_s, percent=percent, others=list(with_), one_way=one_way)

    def delay(
        self, *names: str, delay_ms: float, jitter_ms: float = 0.0, one_way: bool = False, for_s: float = 0.0
    ) -> Injected:
        """What they send and get takes longer."""
        return self._inject("delay", names, for_s, delay_ms=delay_ms, jitter_ms=jitter_ms, one_way=one_way)

    def rate(self, *names: str, bits_per_s: int, one_way: bool = False, for_s: float = 0.0) -> Injected:
        """Their links are narrow."""
        return self._inject("rate", names, for_s, bits_per_s=bits_per_s, one_way=one_way)

    def fill_disk(self, *names: str, percent: float = 100.0, for_s: float = 0.0) -> Injected:
        """The disk of a store member, or of a node that has one of its own, is full."""
        return self._inject("fill-disk", names, for_s, percent=percent)

    def slow_disk(self, *names: str, sync_ms: float, for_s: float = 0.0) -> Injected:
        """Each sync of a store member takes longer."""
        return self._inject("slow-disk", names, for_s, sync_ms=sync_ms)

    def skew_clock(self, *names: str, skew_s: float, for_s: float = 0.0) -> Injected:
        """The wall clock of processes is wrong."""
        return self._inject("skew-clock", names, for_s, skew_s=skew_s)

    def plan(self, *, seed: int, duration_s: float = 60.0, **options: Any) -> list[Step]:
        """The schedule of `random`; options are those of `deploy.chaos.schedule.Options`."""
        return schedule.plan(seed, list(self._site().components.values()), Options(duration_s, **options))

    @contextmanager
    def random(self, *, seed: int, duration_s: float = 60.0, **options: Any) -> Iterator[list[Step]]:
        """Random faults beside the block, printed; the same for the same seed. What is left is healed at its end."""
        steps = self.plan(seed=seed, duration_s=duration_s, **options)
        print(f"chaos seed {seed}:", *(running.line(step) for step in steps), sep="\n")
        with running.beside(self._site(), steps, lambda text: print(text, flush=True)):
            yield steps

    def active(self) -> list[Fault]:
        """What is in force."""
        return inject.active(self._layout)

    def heal(self, *ids: str) -> None:
        """Undo these, or everything."""
        inject.heal(self._site(), ids)

    def _site(self) -> Site:
        return inject.site_of(self._layout)

    def _inject(self, kind: str, names: Sequence[str], for_s: float, **settings: Any) -> Injected:
        return Injected(self, inject.inject(self._site(), Fault(kind, tuple(names), settings), for_s))
