"""Watch: the state or the changes since a resourceVersion, then what happens, until the client or its time ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver import list_options
from control_plane.apiserver.cache.events import Item, Type
from control_plane.apiserver.cache.resource import TooOld
from control_plane.apiserver.cache.watcher import Watcher
from control_plane.apiserver.request import Request, WatchAnswer, WatchItem
from control_plane.apiserver.verbs import selection as selections
from control_plane.apiserver.verbs.context import Context, prepare
from control_plane.apiserver.verbs.reads import FUTURE_WAIT_S, fresh_enough

MIN_TIMEOUT_S: Final = 1800.0
BOOKMARK_EVERY_S: Final = 60.0
BOOKMARK_BEFORE_END_S: Final = 2.0
INITIAL_BATCH: Final = 500
INITIAL_END: Final = "k8s.io/initial-events-end"


async def watch(context: Context, request: Request) -> WatchAnswer:
    """Registers the watcher before it returns, so that nothing is missed. Raises ApiError 400, 410, 422, 504."""
    options = request.options
    list_options.validate(options, watch=True)
    selection = selections.parse(request)
    cache = request.served.cache
    watcher = Watcher(selection.match, selection.namespace if request.served.kind.namespaced else "")
    bucket = cache.bucket_for(
        selection.namespace if request.served.kind.namespaced else "", selection.name, selection.pinned
    )
    if selection.name and not request.served.kind.namespaced:
        bucket = ("key", selection.name)
    revision = list_options.revision_of(options.resource_version)
    initial = options.send_initial_events if options.send_initial_events is not None else revision == 0
    if initial:
        await fresh_enough(context, options.resource_version)
        watcher.push_initial(selections.select(request, selection))
        cache.watch(watcher, bucket, None)
    elif revision == 0:
        await fresh_enough(context, options.resource_version)
        cache.watch(watcher, bucket, None)
    else:
        if not await context.feeder.wait_for(revision, FUTURE_WAIT_S):
            raise list_options.too_large(revision, context.feeder.revision)
        try:
            cache.watch(watcher, bucket, revision)
        except TooOld as error:
            raise errors.expired(str(error)) from None
    mark = bool(options.send_initial_events)
    return WatchAnswer(request.served, _batches(context, request, watcher, context.feeder.revision, mark))


def _bookmark(request: Request, revision: int, *, initial_end: bool = False) -> WatchItem:
    metadata: JsonObject = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {INITIAL_END: "true"}
    served = request.served
    return WatchItem(bookmark={"kind": served.kind.kind, "apiVersion": served.api_version, "metadata": metadata})


async def _batches(
    context: Context, request: Request, watcher: Watcher, start: int, mark: bool
) -> AsyncIterator[Sequence[WatchItem]]:
    clock, rng = context.host.clock, context.host.rng
    options = request.options
    timeout_s = options.timeout_s if options.timeout_s is not None else MIN_TIMEOUT_S * (1.0 + rng.random())
    ends = clock.monotonic() + timeout_s
    bookmark_at = clock.monotonic() + min(BOOKMARK_EVERY_S, max(timeout_s - BOOKMARK_BEFORE_END_S, 0.0))
    last = start
    try:
        items = watcher.take()
        for at in range(0, len(items), INITIAL_BATCH):
            failure = await _unprepared(request, items[at : at + INITIAL_BATCH])
            if failure is not None:
                yield [failure]
                return
            yield [WatchItem(item) for item in items[at : at + INITIAL_BATCH]]
        if mark:
            yield [_bookmark(request, start, initial_end=True)]
        while True:
            now = clock.monotonic()
            if now >= ends:
                return
            wait_s = min(ends, bookmark_at) - now if options.allow_bookmarks else ends - now
            items = await watcher.next(wait_s)
            if items:
                failure = await _unprepared(request, items)
                if failure is not None:
                    yield [failure]
                    return
                last = _revision(items[-1])
                yield [WatchItem(item) for item in items]
            elif watcher.closed:
                return
            if options.allow_bookmarks and clock.monotonic() >= bookmark_at:
                current = _safe_revision(context, watcher, last)
                yield [_bookmark(request, current)]
                last = current
                bookmark_at = _next_bookmark(clock.monotonic(), ends)
    finally:
        request.served.cache.unwatch(watcher)


async def _unprepared(request: Request, items: Sequence[Item]) -> WatchItem | None:
    """Make the forms of custom objects; the error that ends the watch when a webhook does not."""
    try:
        await prepare(request.served, [item.entry for item in items])
    except errors.ApiError as error:
        return WatchItem(error=error.status)
    return None


def _next_bookmark(now: float, ends: float) -> float:
    """A minute on; the last one shortly before the end."""
    before_end = ends - BOOKMARK_BEFORE_END_S
    return min(now + BOOKMARK_EVERY_S, before_end) if before_end > now + 0.5 else ends + 1.0


def _revision(item: Item) -> int:
    return item.change.revision if item.change is not None else item.entry.revision


def _safe_revision(context: Context, watcher: Watcher, last: int) -> int:
    """The caches' revision, unless events wait that this watcher has not sent."""
    return last if watcher.pending else context.feeder.revision


def line(request: Request, item: WatchItem) -> tuple[Type, JsonObject, bytes]:
    """(type, object, its JSON) in the version that the request asked for."""
    import orjson

    if item.bookmark is not None:
        return Type.BOOKMARK, item.bookmark, orjson.dumps(item.bookmark)
    if item.error is not None:
        return Type.ERROR, item.error, orjson.dumps(item.error)
    assert item.item is not None
    obj, raw = item.item.entry.form(request.served.convert, request.served.api_version)
    return item.item.type, obj, raw
