"""A small stand-in for the API: lists and watches of what a test puts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from argosy.client import Event, EventType, ObjectList
from argosy.objects import meta


class FakeSource:
    def __init__(self, plural: str) -> None:
        self.plural = plural
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 1
        self._watchers: list[asyncio.Queue[Event]] = []

    def put(self, obj: dict[str, Any]) -> None:
        self.version += 1
        obj = {**obj, "metadata": {"uid": "u", **obj["metadata"], "resourceVersion": str(self.version)}}
        known = meta.key(obj) in self.objects
        self.objects[meta.key(obj)] = obj
        self._tell(Event(EventType.MODIFIED if known else EventType.ADDED, obj))

    def delete(self, key: str) -> None:
        self.version += 1
        obj = self.objects.pop(key)
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        self._tell(Event(EventType.DELETED, {**obj, "metadata": metadata}))

    def _tell(self, event: Event) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(event)

    async def list(self, **_: Any) -> ObjectList:
        return ObjectList(list(self.objects.values()), str(self.version))

    async def watch_batches(self, **_: Any) -> AsyncIterator[Sequence[Event]]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._watchers.append(queue)
        try:
            while True:
                yield [await queue.get()]
        finally:
            self._watchers.remove(queue)


class FakeApi:
    """Takes the place of argosy.client.Client."""

    def __init__(self) -> None:
        self._sources: dict[str, FakeSource] = {}

    def resource(self, group: str, version: str, plural: str) -> FakeSource:
        return self._sources.setdefault(plural, FakeSource(plural))


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()
