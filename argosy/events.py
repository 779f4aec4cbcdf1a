"""Events: what a component tells people about an object, as `kubectl describe` and `kubectl get events` show it.

    events = EventRecorder(client, host, "replicaset-controller")
    events.event(replica_set, "Normal", "SuccessfulCreate", "Created pod: web-x7k2p")

`event` only enqueues; `run()` writes, best effort: events are never worth waiting for. The rules that keep a noisy
component bearable are client-go's `tools/record/events_cache.go`: equal events count up, many alike ones are
combined, and each object has a budget.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final, TypeVar

from argosy import logs
from argosy.client import Client
from argosy.host import Host, rfc3339
from argosy.objects import meta
from argosy.objects.names import check_subdomain
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject

log = logs.get("argosy.events")

T = TypeVar("T")

QUEUE_EVENTS: Final = 1000
CACHE_ENTRIES: Final = 4096
SIMILAR_EVENTS: Final = 10
"""More different messages than this, otherwise alike, are combined into one event."""
SIMILAR_WITHIN_S: Final = 600.0
BURST: Final = 25
REFILL_PER_S: Final = 1 / 300
"""An object's budget: 25 events at once, then one in five minutes."""
MAX_MESSAGE_CHARS: Final = 1024
ATTEMPTS: Final = 3
RETRY_S: Final = 1.0


@dataclass
class _Similar:
    messages: dict[str, None] = field(default_factory=dict)
    last_s: float = 0.0


@dataclass
class _Budget:
    tokens: float
    at_s: float


class EventCorrelator:
    """Decides what becomes of an event: dropped, combined with its like, counted up, or written as it is."""

    def __init__(self) -> None:
        self._similar: OrderedDict[str, _Similar] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._written: OrderedDict[str, JsonObject] = OrderedDict()

    def correlate(self, event: JsonObject, now_s: float) -> tuple[JsonObject, str] | None:
        """(the event to write, its key for `remember`); None when its object's budget is spent.

        An event that was written before comes back with its old name and a higher count.
        """
        source = _text(event["source"]) + _text(event["involvedObject"])
        if not self._allowed(source, now_s):
            return None
        alike = source + _text([event["type"], event["reason"], event["reportingComponent"]])
        key = alike + event["message"]
        if self._too_many(alike, event["message"], now_s):
            event = {**event, "message": f"(combined from similar events): {event['message']}"}
            key = alike
        before = _touch(self._written, key)
        if before is None:
            return event, key
        metadata = {**event["metadata"], "name": meta.name(before)}
        counts = {"count": before["count"] + 1, "firstTimestamp": before["firstTimestamp"]}
        return {**event, "metadata": metadata, **counts}, key

    def remember(self, key: str, written: JsonObject) -> None:
        _put(self._written, key, written)

    def forget(self, key: str) -> None:
        self._written.pop(key, None)

    def _allowed(self, source: str, now_s: float) -> bool:
        budget = _touch(self._budgets, source)
        if budget is None:
            budget = _put(self._budgets, source, _Budget(BURST, now_s))
        budget.tokens = min(BURST, budget.tokens + (now_s - budget.at_s) * REFILL_PER_S)
        budget.at_s = now_s
        if budget.tokens < 1:
            return False
        budget.tokens -= 1
        return True

    def _too_many(self, alike: str, message: str, now_s: float) -> bool:
        similar = _touch(self._similar, alike)
        if similar is None or now_s - similar.last_s > SIMILAR_WITHIN_S:
            similar = _put(self._similar, alike, _Similar())
        similar.last_s = now_s
        similar.messages[message] = None
        if len(similar.messages) < SIMILAR_EVENTS:
            return False
        del similar.messages[next(iter(similar.messages))]
        return True


class EventRecorder:
    """Events of one component. `run()` must run for them to be written; what does not fit the queue is dropped."""

    def __init__(self, client: Client, host: Host, component: str, *, node: str = "") -> None:
        self._events = client.resource("", "v1", "events")
        self._host = host
        self._component = component
        self._node = node
        self._correlator = EventCorrelator()
        self._queue: deque[JsonObject] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._last_ns = 0
        self.dropped = 0
        """Events that were lost: queue full, or the API did not take them."""

    def event(
        self,
        obj: JsonObject,
        type: str,  # noqa: A002  # the field's own word
        reason: str,
        message: str,
        *,
        field_path: str = "",
        annotations: dict[str, str] | None = None,
    ) -> None:
        """Tell of `obj` (which carries apiVersion and kind, or is an ObjectReference); `type` Normal or Warning."""
        if len(self._queue) >= QUEUE_EVENTS:
            self.dropped += 1
            return
        involved = reference(obj, field_path)
        now = self._host.clock.now()
        self._last_ns = max(int(now * 1e9), self._last_ns + 1)
        metadata: JsonObject = {
            "name": self._name(str(involved["name"])),
            "namespace": involved.get("namespace") or "default",
        }
        if annotations:
            metadata["annotations"] = dict(annotations)
        source = {"component": self._component}
        if self._node:
            source["host"] = self._node
        event: JsonObject = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": metadata,
            "involvedObject": involved,
            "reason": reason,
            "message": message[:MAX_MESSAGE_CHARS],
            "type": type,
            "source": source,
            "reportingComponent": self._component,
            "reportingInstance": self._node,
            "count": 1,
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
        }
        self._queue.append(event)
        self._idle.clear()
        self._wake.set()

    def _name(self, involved: str) -> str:
        """The object's name and the time; an id of its own where that makes no name (roles have colons in theirs)."""
        name = f"{involved}.{self._last_ns:016x}"
        return name if not check_subdomain(name) else self._host.rng.uuid()

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._record(self._queue.popleft())
            self._idle.set()

    async def flush(self, timeout_s: float) -> None:
        """Wait until what was told so far is written, at most `timeout_s`. For a process that ends."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            log.debug("events were left behind", count=len(self._queue))

    async def _record(self, event: JsonObject) -> None:
        correlated = self._correlator.correlate(event, self._host.clock.now())
        if correlated is None:
            self.dropped += 1
            return
        final, key = correlated
        for attempt in range(ATTEMPTS):
            try:
                self._correlator.remember(key, await self._write(final))
                return
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    log.debug("event was refused", reason=final["reason"], error=error.message)
                    break
                log.debug("event was not written", reason=final["reason"], attempt=attempt, error=error.message)
                await asyncio.sleep(RETRY_S * (0.5 + self._host.rng.random()))
        self._correlator.forget(key)
        self.dropped += 1

    async def _write(self, event: JsonObject) -> JsonObject:
        if event["count"] > 1:
            changes = {field: event[field] for field in ("count", "lastTimestamp", "message")}
            try:
                return await self._events.patch(meta.name(event), changes, namespace=meta.namespace(event))
            except ApiError as error:
                if error.code != 404:
                    raise
        return await self._events.create(event)


def reference(obj: JsonObject, field_path: str = "") -> JsonObject:
    """The ObjectReference of an object; one that has no metadata is taken for a reference already."""
    if "metadata" not in obj:
        return {**obj, "fieldPath": field_path} if field_path else dict(obj)
    result: JsonObject = {"kind": obj.get("kind", ""), "namespace": meta.namespace(obj), "name": meta.name(obj)}
    result |= {"uid": meta.uid(obj), "apiVersion": obj.get("apiVersion", "")}
    result |= {"resourceVersion": meta.resource_version(obj), "fieldPath": field_path}
    return {name: value for name, value in result.items() if value}


def _text(value: object) -> str:
    """A key of nested JSON: what matters of an involved object is who it is, not its version."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}={value[key]}" for key in sorted(value) if key != "resourceVersion") + "}"
    return str(value)


def _touch(cache: OrderedDict[str, T], key: str) -> T | None:
    if key not in cache:
        return None
    cache.move_to_end(key)
    return cache[key]


def _put(cache: OrderedDict[str, T], key: str, value: T) -> T:
    """The least recently used entry makes room."""
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > CACHE_ENTRIES:
        cache.popitem(last=False)
    return value
