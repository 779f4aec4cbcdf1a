"""Get and list: from the cache, at the age that the resourceVersion options allow; old pages from the store."""

from __future__ import annotations

from argosy.objects import status as errors
from control_plane.apiserver import list_options
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.list_options import EXACT, NOT_OLDER_THAN
from control_plane.apiserver.request import Answer, ListAnswer, Request
from control_plane.apiserver.storage.etcd import Compacted, FutureRevision
from control_plane.apiserver.storage.store import unreadable
from control_plane.apiserver.verbs import selection as selections
from control_plane.apiserver.verbs.context import Context, answer, prepare
from control_plane.apiserver.verbs.selection import Selection

FUTURE_WAIT_S = 3.0
STORE_PAGE = 500


async def fresh_enough(context: Context, resource_version: str) -> None:
    """Wait until the cache may answer for `resource_version`. Raises ApiError 400, 504."""
    if not resource_version:
        await context.feeder.consistent()
        return
    revision = list_options.revision_of(resource_version)
    if not await context.feeder.wait_for(revision, FUTURE_WAIT_S):
        raise list_options.too_large(revision, context.feeder.revision)


async def get(context: Context, request: Request) -> Answer:
    """Raises ApiError 404, 504."""
    await fresh_enough(context, request.options.resource_version)
    entry = context.cached(request)
    await prepare(request.served, (entry,))
    return answer(request.served, entry)


async def list_(context: Context, request: Request) -> ListAnswer:
    """Raises ApiError 400, 410, 422, 504."""
    result = await listed(context, request)
    await prepare(request.served, result.entries)
    return result


async def listed(context: Context, request: Request) -> ListAnswer:
    """As they are stored: what is served of them may have to be made first. Raises ApiError."""
    result = await _list(context, request)
    _check_readable(request)
    return result


def _check_readable(request: Request) -> None:
    """A list that would leave out what cannot be decrypted is refused, as by upstream. Raises ApiError 500."""
    cache, space = request.served.cache, request.namespace
    for short, why in cache.unread.items():
        if not space or short.startswith(f"{space}/"):
            raise unreadable(cache.prefix + short, why)


async def _list(context: Context, request: Request) -> ListAnswer:
    options = request.options
    list_options.validate(options, watch=False)
    selection = selections.parse(request)
    if options.continue_:
        revision, start = list_options.decode_token(options.continue_, selection.namespace)
        if revision == -1:
            await context.feeder.consistent()
            return _page(context, request, selection, start)
        return await _at_revision(context, request, selection, revision, start)
    revision = list_options.revision_of(options.resource_version)
    match = options.resource_version_match
    if revision and (match == EXACT or (not match and options.limit > 0)):
        return await _at_revision(context, request, selection, revision, "")
    await fresh_enough(context, options.resource_version)
    if options.resource_version == "0" and match in ("", NOT_OLDER_THAN):
        return ListAnswer(request.served, selections.select(request, selection), str(context.feeder.revision))
    return _page(context, request, selection, "")


def _page(context: Context, request: Request, selection: Selection, start: str) -> ListAnswer:
    """The cache's present state from `start` on, cut to the limit."""
    found = selections.select(request, selection)
    revision = context.feeder.revision
    if start:
        found = [entry for entry in found if entry.key >= start]
    return _cut(request, selection, found, revision)


def _cut(request: Request, selection: Selection, found: list[Entry], revision: int) -> ListAnswer:
    limit = request.options.limit
    if limit <= 0 or len(found) <= limit:
        return ListAnswer(request.served, found, str(revision))
    token = list_options.encode_token(revision, found[limit - 1].key)
    exact = selection.labels.everything and not selection.fields.terms
    remaining = len(found) - limit if exact else None
    return ListAnswer(request.served, found[:limit], str(revision), token, remaining)


async def _at_revision(
    context: Context, request: Request, selection: Selection, revision: int, start: str
) -> ListAnswer:
    """The state at exactly `revision`; from the cache when nothing changed since."""
    if not await context.feeder.wait_for(revision, FUTURE_WAIT_S):
        raise list_options.too_large(revision, context.feeder.revision)
    cache = request.served.cache
    if cache.changed_revision <= revision and revision >= cache.oldest:
        found = selections.select(request, selection)
        if start:
            found = [entry for entry in found if entry.key >= start]
        return _cut(request, selection, found, revision)
    try:
        return await _from_store(context, request, selection, revision, start)
    except Compacted:
        if start:
            raise list_options.expired_token(start) from None
        raise errors.expired("The resourceVersion for the provided list is too old.") from None
    except FutureRevision:
        raise list_options.too_large(revision, context.feeder.revision) from None


async def _from_store(
    context: Context, request: Request, selection: Selection, revision: int, start: str
) -> ListAnswer:
    """One page of the past, read from the store; keys that do not match are passed over."""
    cache = request.served.cache
    prefix = cache.prefix + (f"{selection.namespace}/" if selection.namespace else "")
    at = cache.prefix + start if start else prefix
    limit = max(request.options.limit, 0)
    entries: list[Entry] = []
    while True:
        page = await context.store.page(prefix, at, limit or STORE_PAGE, revision)
        for key, why in page.unread.items():
            raise unreadable(key, why)
        for index, item in enumerate(page.items):
            entry = cache.decode(item.key[len(cache.prefix) :], item.value, item.revision)
            if selection.match is not None and not selection.match(entry.obj):
                continue
            entries.append(entry)
            left = page.count - index - 1
            if limit and len(entries) == limit and left:
                token = list_options.encode_token(revision, entry.key)
                exact = selection.match is None
                return ListAnswer(request.served, entries, str(revision), token, left if exact else None)
        if not page.more:
            return ListAnswer(request.served, entries, str(revision))
        at = page.last + "\0"
