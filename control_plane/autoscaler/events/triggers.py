"""What starts and sizes a workload: the length of a Redis list, or the time of day. Pure.

Names of the metadata are those of KEDA's scalers `redis` and `cron`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argosy.objects import cron
from argosy.objects.cron import Schedule
from argosy.objects.types import JsonObject


class TriggerError(ValueError):
    """A trigger that cannot be; the message names it and the field."""


@dataclass(frozen=True)
class Demand:
    """What one trigger asks for."""

    replicas: int
    active: bool
    """There is something to do: the workload must not be at zero."""


IDLE = Demand(0, False)


@dataclass(frozen=True)
class RedisTrigger:
    host: str
    port: int
    list_name: str
    per_replica: int
    """Items that one replica is to have in the queue."""
    activation: int
    """Not active up to this length."""
    database: int = 0
    username: str = ""
    secret: tuple[str, str] | None = None
    """(name, key) of the Secret with the password."""

    def demand(self, length: int) -> Demand:
        if length <= self.activation:
            return IDLE
        return Demand(math.ceil(length / self.per_replica), True)


@dataclass(frozen=True)
class CronTrigger:
    start: Schedule
    end: Schedule
    replicas: int

    def demand(self, now_s: float) -> Demand:
        """Active from each `start` to the next `end`."""
        ends, starts = self.end.next(now_s), self.start.next(now_s)
        # Within the time when it ends sooner than it starts again.
        within = ends is not None and (starts is None or ends < starts)
        return Demand(self.replicas, True) if within else IDLE


Trigger = RedisTrigger | CronTrigger


def parse(triggers: Sequence[JsonObject]) -> list[Trigger]:
    """Raises TriggerError."""
    return [_parse(f"spec.triggers[{index}]", item) for index, item in enumerate(triggers)]


def _parse(where: str, item: JsonObject) -> Trigger:
    metadata: Mapping[str, str] = item.get("metadata") or {}
    if item.get("type") == "redis":
        return _redis(where, metadata, item.get("passwordSecret"))
    if item.get("type") == "cron":
        return _cron(where, metadata)
    raise TriggerError(f"{where}.type: {item.get('type')!r} is not supported, only redis and cron")


def _redis(where: str, metadata: Mapping[str, str], secret: JsonObject | None) -> RedisTrigger:
    known = ("address", "listName", "listLength", "activationListLength", "databaseIndex", "username")
    _refuse_unknown(where, metadata, known)
    host, _, port = _needed(where, metadata, "address").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise TriggerError(f"{where}.metadata.address must be HOST:PORT")
    return RedisTrigger(
        host.strip("[]"),
        int(port),
        _needed(where, metadata, "listName"),
        _number(where, metadata, "listLength", 5, 1),
        _number(where, metadata, "activationListLength", 0, 0),
        _number(where, metadata, "databaseIndex", 0, 0),
        metadata.get("username", ""),
        (str(secret["name"]), str(secret["key"])) if secret else None,
    )


def _cron(where: str, metadata: Mapping[str, str]) -> CronTrigger:
    _refuse_unknown(where, metadata, ("timezone", "start", "end", "desiredReplicas"))
    time_zone = _needed(where, metadata, "timezone")
    try:
        cron.zone(time_zone)
    except cron.CronError as error:
        raise TriggerError(f"{where}.metadata.timezone: {error}") from None
    schedules: dict[str, Schedule] = {}
    for field in ("start", "end"):
        try:
            schedules[field] = cron.parse(_needed(where, metadata, field), time_zone)
        except cron.CronError as error:
            raise TriggerError(f"{where}.metadata.{field}: {error}") from None
    if metadata["start"] == metadata["end"]:
        raise TriggerError(f"{where}.metadata.end must not be the same as start")
    replicas = _number(where, metadata, "desiredReplicas", None, 1)
    return CronTrigger(schedules["start"], schedules["end"], replicas)


def _refuse_unknown(where: str, metadata: Mapping[str, str], known: Sequence[str]) -> None:
    unknown = sorted(metadata.keys() - set(known))
    if unknown:
        raise TriggerError(f"{where}.metadata.{unknown[0]} is not supported")


def _needed(where: str, metadata: Mapping[str, str], field: str) -> str:
    text = metadata.get(field, "")
    if not text:
        raise TriggerError(f"{where}.metadata.{field} is required")
    return text


def _number(where: str, metadata: Mapping[str, str], field: str, default: int | None, least: int) -> int:
    text = metadata.get(field)
    if text is None and default is not None:
        return default
    if text is None or not text.isdigit() or int(text) < least:
        raise TriggerError(f"{where}.metadata.{field} must be a whole number of at least {least}")
    return int(text)
