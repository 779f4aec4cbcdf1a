"""One probe, once: the protocol, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from argosy.objects.types import JsonObject


class Outcome(Enum):
    SUCCESS = "success"
    FAILURE = "failure"
    WARNING = "warning"
    """Counts as a success, and is told as an event."""
    UNKNOWN = "unknown"
    """The probe itself could not be made; it counts for nothing."""


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    message: str = ""


@dataclass(frozen=True)
class Subject:
    """What is probed."""

    pod: JsonObject
    container: JsonObject
    container_id: str
    pod_ips: Sequence[str]


class Prober(Protocol):
    async def probe(self, probe: JsonObject, subject: Subject, timeout_s: float) -> Result:
        """Never raises but for cancellation."""
