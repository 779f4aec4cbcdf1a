"""Runs a schedule of faults against a cluster: each at its time, each healed at its end or when it is cut short."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from argosy.host import real_host
from deploy import netns
from deploy.chaos import inject
from deploy.chaos.fault import Fault, FaultError
from deploy.chaos.kinds import kind_of
from deploy.chaos.schedule import Step
from deploy.chaos.site import Site

Say = Callable[[str], None]


def line(step: Step) -> str:
    """One step of a schedule, as it is printed."""
    how_long = f"for {step.for_s:g} s" if step.for_s else "at once"
    settings = " ".join(f"{key}={_text(value)}" for key, value in step.fault.settings.items() if value)
    targets = " ".join(step.fault.targets)
    return f"{step.at_s:7.2f} s  {how_long:<12} {step.fault.kind:<10} {targets} {settings}".rstrip()


def _text(value: object) -> str:
    if isinstance(value, list):
        return ":".join(",".join(group) if isinstance(group, list) else str(group) for group in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def run(site: Site, steps: Sequence[Step], say: Say, stop: threading.Event | None = None) -> None:
    """Until the last one is healed, or `stop`. A step whose target is not there at its time is said and left out.

    Raises FaultError when something cannot be healed.
    """
    clock, stop = real_host().clock, stop or threading.Event()
    begun_s = clock.monotonic()
    done: list[Fault] = []

    def wait_until(at_s: float) -> bool:
        return stop.wait(max(0.0, begun_s + at_s - clock.monotonic()))

    try:
        for step in steps:
            if wait_until(step.at_s):
                return
            try:
                # Its healer ends it in time whatever becomes of this process.
                fault = inject.inject(site, step.fault, step.for_s)
            except (FaultError, netns.CommandError, OSError) as error:
                say(f"{step.at_s:7.2f} s  not {step.fault.kind} {' '.join(step.fault.targets)}: {error}")
                continue
            say(f"{step.at_s:7.2f} s  {kind_of(fault.kind).describe(fault)}")
            if fault.id:
                done.append(fault)
        wait_until(max((step.end_s for step in steps), default=0.0))
    finally:
        left = {fault.id for fault in inject.active(site.layout)}
        with contextlib.suppress(FaultError):
            for fault in done:
                if fault.id in left:
                    inject.heal(site, [fault.id])


@contextlib.contextmanager
def beside(site: Site, steps: Sequence[Step], say: Say) -> Iterator[None]:
    """The schedule runs while the block does; what is left of it is healed when the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(site, steps, say, stop), name="chaos")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
