"""Groups that failed are left alone for a while, longer each time (upstream: utils/backoff, exponential). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.autoscaler.nodes.settings import Settings


@dataclass(frozen=True)
class Pause:
    until_s: float
    last_s: float
    """Of the failure."""
    length_s: float
    code: str
    message: str


class Backoff:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pauses: dict[str, Pause] = {}

    def fail(self, group: str, now_s: float, code: str, message: str) -> Pause:
        length_s = self._settings.initial_node_group_backoff_duration
        before = self._pauses.get(group)
        if before is not None:
            length_s = before.length_s
            if before.until_s < now_s:
                length_s = min(before.length_s * 2, self._settings.max_node_group_backoff_duration)
        pause = self._pauses[group] = Pause(now_s + length_s, now_s, length_s, code, message)
        return pause

    def succeed(self, group: str) -> None:
        self._pauses.pop(group, None)

    def current(self, group: str, now_s: float) -> Pause | None:
        pause = self._pauses.get(group)
        return pause if pause is not None and now_s < pause.until_s else None

    def forget_old(self, now_s: float) -> None:
        reset_s = self._settings.node_group_backoff_reset_timeout
        for group in [name for name, pause in self._pauses.items() if now_s - pause.last_s > reset_s]:
            del self._pauses[group]
