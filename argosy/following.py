"""Following a resource through broken watches, and waiting for what is to become true of one object.

`Resource.follow` and `Resource.wait` are the callers. An informer does the same for who wants a cache with indexes
and handlers; this is for who wants to read changes one after the other, as fast as it can use them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from argosy.client import Event, EventType
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject

if TYPE_CHECKING:
    from argosy.client import ObjectList, Resource

PAGE_ITEMS: Final = 500
PAUSE_MIN_S: Final = 0.1
PAUSE_MAX_S: Final = 2.0
PASSING: Final = frozenset((410, 429, 500, 502, 503, 504))
"""Codes that another try may mend."""
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"

Check = Callable[[JsonObject], object]


class _Pauses:
    """How long to wait before the next try, doubling, until patience is over; `progress` begins anew."""

    def __init__(self, patience_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience_s = patience_s
        self.progress()

    def progress(self) -> None:
        self._next_s = PAUSE_MIN_S
        self._since_s: float | None = None
        self._watching_s: float | None = None

    def watching(self) -> None:
        self._watching_s = self._loop.time()

    def watched(self) -> None:
        """A watch that held for a while was one that worked, though nothing happened."""
        if self._watching_s is not None and self._loop.time() - self._watching_s > PAUSE_MAX_S:
            self.progress()
        self._watching_s = None

    async def after(self, error: errors.ApiError) -> None:
        """Raises the error when it is none to try again, or has been one for too long."""
        now_s = self._loop.time()
        self._since_s = now_s if self._since_s is None else self._since_s
        asked_s = (
            float((error.status.get("details") or {}).get("retryAfterSeconds") or 0) if error.code == 429 else 0.0
        )
        pause_s = max(self._next_s, asked_s)
        if error.code not in PASSING or now_s + pause_s - self._since_s > self._patience_s:
            raise error
        self._next_s = min(PAUSE_MAX_S, 2 * self._next_s)
        await asyncio.sleep(pause_s)


class _State:
    """What the caller has been told of: objects by `namespace/name`, in their last state."""

    def __init__(self) -> None:
        self._known: dict[str, JsonObject] = {}

    def listed(self, items: list[JsonObject]) -> Iterator[Event]:
        """What a new list says beyond that."""
        present = {meta.key(obj) for obj in items}
        for key in [key for key in self._known if key not in present]:
            yield Event(EventType.DELETED, self._known.pop(key))
        for obj in items:
            yield from self.seen(obj)

    def seen(self, obj: JsonObject) -> Iterator[Event]:
        key = meta.key(obj)
        old = self._known.get(key)
        if old is not None and meta.uid(old) != meta.uid(obj):
            yield Event(EventType.DELETED, old)
            old = None
        if old is not None and meta.resource_version(old) == meta.resource_version(obj):
            return
        self._known[key] = obj
        yield Event(EventType.ADDED if old is None else EventType.MODIFIED, obj)

    def gone(self, obj: JsonObject) -> Iterator[Event]:
        if self._known.pop(meta.key(obj), None) is not None:
            yield Event(EventType.DELETED, obj)


async def follow(
    resource: Resource, *, namespace: str, labels: str, fields: str, bookmarks: bool, patience_s: float | None = None
) -> AsyncGenerator[Event, None]:
    """As `Resource.follow` says."""
    client = resource.client
    pauses = _Pauses(client.patience_s if patience_s is None else patience_s)
    state = _State()
    version = ""
    while not client.is_closed():
        watched = False
        try:
            if not version:
                items, version = await _list(resource, namespace, labels, fields)
                for event in state.listed(items):
                    yield event
                if bookmarks:
                    yield _bookmark(version)
            watch = resource.watch_batches(
                namespace=namespace, labels=labels, fields=fields, resource_version=version, bookmarks=True
            )
            async with contextlib.aclosing(watch) as batches:  # type: ignore[type-var]
                pauses.watching()
                async for batch in batches:
                    watched = True
                    pauses.progress()
                    for event in batch:
                        version = meta.resource_version(event.object) or version
                        if event.type is EventType.DELETED:
                            news = state.gone(event.object)
                        elif event.type is EventType.BOOKMARK:
                            news = iter((event,) if bookmarks else ())
                        else:
                            news = state.seen(event.object)
                        for each in news:
                            yield each
            # Servers close watches after a while; one that does so at once must not be asked in a loop.
            await asyncio.sleep(PAUSE_MIN_S)
        except errors.ApiError as error:
            if client.is_closed():
                break
            pauses.watched()
            if error.code == 410:
                version = ""
                if watched:
                    continue
            if "ResourceVersionTooLarge" in str(error.status):
                version = ""  # this server is behind, or the store was put back to an earlier state
            await pauses.after(error)
    raise errors.unavailable("the client is closed")


async def _list(resource: Resource, namespace: str, labels: str, fields: str) -> tuple[list[JsonObject], str]:
    """The newest state, in pages."""
    items: list[JsonObject] = []
    continue_ = ""
    while True:
        page: ObjectList = await resource.list(
            namespace=namespace, labels=labels, fields=fields, limit=PAGE_ITEMS, continue_=continue_
        )
        items.extend(page.items)
        continue_ = page.continue_
        if not continue_:
            return items, page.resource_version


def _bookmark(version: str) -> Event:
    metadata = {"resourceVersion": version, "annotations": {INITIAL_EVENTS_END: "true"}}
    return Event(EventType.BOOKMARK, {"metadata": metadata})


@dataclass(frozen=True)
class Goal:
    """What is waited for: a check of the object, or none for its end; `what` says it in words."""

    what: str
    check: Check | None


def goal(condition: str, until: Check | None, deleted: bool) -> Goal:
    """Raises ValueError unless exactly one is asked for."""
    if bool(condition) + (until is not None) + deleted != 1:
        raise ValueError("wait needs one of condition, until and deleted")
    if deleted:
        return Goal("deleted", None)
    if until is not None:
        return Goal("as was asked", until)
    type_, _, wanted = condition.partition("=")
    return Goal(condition, lambda obj: condition_met(obj, type_, wanted or "True"))


def condition_met(obj: JsonObject, type_: str, wanted: str) -> bool:
    """As `kubectl wait` judges: names in any case, and no condition of an older generation of the object.

    Source: k8s.io/kubectl `pkg/cmd/wait/condition.go`.
    """
    status = meta.status(obj)
    for condition in status.get("conditions") or ():
        if str(condition.get("type", "")).lower() != type_.lower():
            continue
        observed = condition.get("observedGeneration", status.get("observedGeneration"))
        if observed is not None and observed < meta.generation(obj):
            return False
        return str(condition.get("status", "")).lower() == wanted.lower()
    return False


def _shown(obj: JsonObject) -> str:
    """What is known of an object that is not as it should be."""
    status = meta.status(obj)
    parts = [f"phase {status['phase']}"] if status.get("phase") else []
    for condition in status.get("conditions") or ():
        why = ": ".join(str(condition[field]) for field in ("reason", "message") if condition.get(field))
        parts.append(f"{condition.get('type')}={condition.get('status')}" + (f" ({why})" if why else ""))
    return ", ".join(parts) or "it has no conditions"


async def wait(resource: Resource, name: str, namespace: str, goal: Goal, timeout_s: float) -> JsonObject:
    """As `Resource.wait` says."""
    last: JsonObject = {}
    events = follow(
        resource,
        namespace=namespace,
        labels="",
        fields=f"metadata.name={name}",
        bookmarks=True,
        patience_s=timeout_s,
    )
    try:
        async with asyncio.timeout(timeout_s), contextlib.aclosing(events):
            async for event in events:
                if event.type is EventType.BOOKMARK:
                    if goal.check is None and not last:
                        return last
                elif event.type is EventType.DELETED:
                    if goal.check is None:
                        return event.object
                    last = {}
                else:
                    last = event.object
                    if goal.check is not None and goal.check(last):
                        return last
    except TimeoutError:
        pass
    shown = _shown(last) if last else "it does not exist"
    raise errors.timeout(f'{resource.plural} "{name}" not {goal.what} after {timeout_s:g} s: {shown}')
