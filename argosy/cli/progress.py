"""Steps with times, as they happen: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from argosy.host import RealClock


class Progress:
    """Prints one line per finished step, with the seconds it took, and the total at the end."""

    def __init__(self) -> None:
        self._clock = RealClock()
        self._begun_s = self._clock.monotonic()
        self._terminal = sys.stdout.isatty()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Runs its block; the line says how it ended."""
        begun_s = self._clock.monotonic()
        spinner = None
        if self._terminal:
            from rich.console import Console

            spinner = Console().status(f"{what} …")
            spinner.start()
        try:
            yield
        except BaseException:
            self._stop(spinner)
            print(f" ✗ {what}", flush=True)
            raise
        self._stop(spinner)
        print(f" ✓ {what:<44} {self._clock.monotonic() - begun_s:5.1f} s", flush=True)

    @staticmethod
    def _stop(spinner: object) -> None:
        stop = getattr(spinner, "stop", None)
        if stop is not None:
            stop()

    def total_s(self) -> float:
        return self._clock.monotonic() - self._begun_s
