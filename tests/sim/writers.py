"""Clients that write, read and remember what they were told, to be held against the ledger afterwards.

Revisions make linearizability checkable: an answer that carries a resourceVersion must not be older than anything
that was acknowledged before the question was asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from argosy.host import SeededRng
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from tests.sim.world import World

PREFIX = b"/registry/configmaps/default/"
KEYS = 12
COUNTERS = 3
PATIENCE_S = 8.0
"""A client that waits longer gives up; its request may still be done."""
BEAT_S = 2.0
TOGETHER = 0.7
"""How much of the writing happens on the beat, all writers at once: what comes together shares log entries, messages
and watch responses, as it does under load. Half of the faults come then, too."""


async def to_the_beat() -> None:
    now = asyncio.get_running_loop().time()
    await asyncio.sleep(BEAT_S - now % BEAT_S)


def config_map(name: str, value: str, version: str = "") -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": "default"}
    if version:
        metadata["resourceVersion"] = version
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


def value_of(obj: JsonObject) -> str:
    return str((obj.get("data") or {}).get("value", ""))


@dataclass
class Attempt:
    """One write. `revision` is what the answer said, 0 without an answer."""

    name: str
    value: str
    begun_s: float
    ended_s: float = 0.0
    revision: int = 0
    version: str = ""
    """The resourceVersion that it was conditional on."""


@dataclass
class Book:
    """What all writers of a run know."""

    attempts: dict[str, Attempt] = field(default_factory=dict)
    """By value: every value is written once."""
    acknowledged: int = 0
    floor: int = 0
    """The highest revision acknowledged so far: no later answer of the store may be older."""
    floors: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, float] = field(default_factory=dict)
    """Names whose deletion was acknowledged, and when."""
    reads: int = 0


class Writer:
    def __init__(self, world: World, name: str, book: Book) -> None:
        self.name = name
        self._world = world
        self._book = book
        self._rng = SeededRng(f"{name}/{world.seed}")
        self._maps = world.client(name).resource("", "v1", "configmaps")
        self._count = 0

    async def run(self, wanted: int, pause_s: float, idle_s: float) -> None:
        """Write for ever: every `pause_s` until `wanted` writes of all are acknowledged, then every `idle_s`."""
        while True:
            kind = self._rng.random()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    if kind < 0.7:
                        await self._overwrite()
                    elif kind < 0.85:
                        await self._count_up()
                    elif kind < 0.92:
                        await self._come_and_go()
                    else:
                        await self._read()
            except (ApiError, TimeoutError) as error:
                self._world.trace.line("failed", writer=self.name, error=_code(error))
                await asyncio.sleep(0.2 + 0.8 * self._rng.random())
            if self._book.acknowledged >= wanted:
                await asyncio.sleep(idle_s * (0.5 + self._rng.random()))
            elif self._rng.random() < TOGETHER:
                await to_the_beat()
            else:
                await asyncio.sleep(pause_s * (0.5 + self._rng.random()))

    def _attempt(self, name: str, version: str = "", value: str = "") -> Attempt:
        self._count += 1
        value = value or f"{self.name}-{self._count}"
        attempt = Attempt(name, value, asyncio.get_running_loop().time(), version=version)
        self._book.attempts[value] = attempt
        return attempt

    def _acknowledge(self, attempt: Attempt, floor: int, answer: JsonObject) -> None:
        book = self._book
        attempt.ended_s = asyncio.get_running_loop().time()
        attempt.revision = int(meta.resource_version(answer))
        self._world.trace.line("wrote", name=attempt.name, value=attempt.value, revision=attempt.revision)
        if value_of(answer) != attempt.value:
            self._world.violation(f"wrote {attempt.value} to {attempt.name}, was answered {value_of(answer)}")
        if attempt.revision <= floor:
            self._world.violation(f"{attempt} came at a revision acknowledged before, {floor}")
        book.acknowledged += 1
        book.floor = max(book.floor, attempt.revision)
        book.floors[attempt.name] = max(book.floors.get(attempt.name, 0), attempt.revision)

    async def _overwrite(self) -> None:
        """Come what may."""
        name = f"m{self._rng.randrange(KEYS)}"
        attempt, floor = self._attempt(name), self._book.floor
        try:
            answer = await self._maps.update(config_map(name, attempt.value))
        except ApiError as error:
            if error.code != 404 or name in self._book.floors:
                raise
            answer = await self._maps.create(config_map(name, attempt.value))
        self._acknowledge(attempt, floor, answer)

    async def _count_up(self) -> None:
        """Only from what was read: each number is reached once."""
        name = f"n{self._rng.randrange(COUNTERS)}"
        try:
            old = await self._get(name)
        except ApiError as error:
            if error.code != 404 or name in self._book.floors:
                raise
            attempt, floor = self._attempt(name), self._book.floor
            self._acknowledge(attempt, floor, await self._maps.create(config_map(name, attempt.value)))
            return
        attempt, floor = self._attempt(name, meta.resource_version(old)), self._book.floor
        answer = await self._maps.update(config_map(name, attempt.value, attempt.version))
        self._acknowledge(attempt, floor, answer)

    async def _come_and_go(self) -> None:
        name = f"{self.name}-x{self._count}"
        attempt, floor = self._attempt(name), self._book.floor
        self._acknowledge(attempt, floor, await self._maps.create(config_map(name, attempt.value)))
        if self._rng.random() < 0.8:
            await self._maps.delete(name, namespace="default")
            self._book.deleted[name] = asyncio.get_running_loop().time()
            self._world.trace.line("deleted", name=name)

    async def _read(self) -> None:
        names = [*self._book.floors]
        if names:
            await self._get(self._rng.choice(names))

    async def _get(self, name: str) -> JsonObject:
        """Must show every write of that name that was acknowledged before."""
        floor = self._book.floors.get(name, 0)
        gone = name in self._book.deleted
        found = await self._maps.get(name, namespace="default")
        self._book.reads += 1
        if gone:
            self._world.violation(f"{name} was read after its deletion was acknowledged")
        if int(meta.resource_version(found)) < floor:
            self._world.violation(f"{name} was read at {meta.resource_version(found)} after {floor} was acknowledged")
        return found


def _code(error: ApiError | TimeoutError) -> str:
    return str(error.code) if isinstance(error, ApiError) else "timeout"
