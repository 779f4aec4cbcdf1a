"""What a controller has done and its cache does not show yet.

Without it, a replica set that made three pods and looks into a cache that lags makes three more. A key whose
expectations are open is not acted on until the watch brought the pods, or five minutes passed (a lost event must not
stop it for ever; upstream `ExpectationsTimeout`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.host import Clock

TIMEOUT_S: Final = 300.0


@dataclass
class _Expectation:
    since_s: float
    creations: int = 0
    deletions: dict[str, None] = field(default_factory=dict)


class Expectations:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, _Expectation] = {}

    def expect(self, key: str, *, creations: int = 0, deletions: Sequence[str] = ()) -> None:
        """To be called before the writes; replaces what was expected (which must have been satisfied)."""
        self._open[key] = _Expectation(self._clock.monotonic(), creations, dict.fromkeys(deletions))

    def created(self, key: str) -> None:
        """One creation was seen, or failed."""
        expectation = self._open.get(key)
        if expectation is not None and expectation.creations > 0:
            expectation.creations -= 1

    def deleted(self, key: str, name: str) -> None:
        """The deletion of `name` was seen, or failed. Seeing it twice counts once."""
        expectation = self._open.get(key)
        if expectation is not None:
            expectation.deletions.pop(name, None)

    def satisfied(self, key: str) -> bool:
        expectation = self._open.get(key)
        if expectation is None:
            return True
        if expectation.creations <= 0 and not expectation.deletions:
            return True
        return self._clock.monotonic() - expectation.since_s > TIMEOUT_S

    def forget(self, key: str) -> None:
        self._open.pop(key, None)
