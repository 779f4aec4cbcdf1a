"""One etcd watch over the whole registry feeds every cache, so that all of them stand at one revision.

The feeder reads everything once at a revision, then follows the changes; a broken watch resumes on another
endpoint, a compacted one reads everything again. Consistent reads wait here for the revision that the store
reported (KEP-2340).
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from argosy import logs
from argosy.objects.status import ApiError
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import RpcError
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.cache.resource import ResourceCache
from control_plane.apiserver.storage.etcd import Compacted, WatchRequests, prefix_end
from control_plane.apiserver.storage.store import ROOT, Store

PAGE_LIMIT: Final = 500
RETRY_S: Final = 0.1
MAX_RETRY_S: Final = 1.0
STALLED_S: Final = 2.0
"""A watch that leaves readers waiting so long is given up for one on another endpoint."""
PROGRESS_AFTER_S: Final = 0.02
PROGRESS_EVERY_S: Final = 0.1
RECENT_WRITES: Final = 2048
MAX_BUFFERED_CHANGES: Final = 100_000
log = logs.get("apiserver.cache")


class KeySet:
    """The names under one prefix, values left aside: what allocators need to know of taken addresses and ports."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.names: set[str] = set()
        self.revision: Callable[[], int] = lambda: 0
        """Up to where `names` is complete."""


class Feeder:
    """`run` keeps the caches fed; caches are added before it or while it runs (custom resources)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._caches: dict[str, ResourceCache] = {}
        self._sets: dict[str, KeySet] = {}
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._sequence = 0
        self._requests: WatchRequests | None = None
        self._own: OrderedDict[tuple[str, int], Entry] = OrderedDict()
        self._loading: dict[str, list[pb.Event]] = {}
        self._loads = 0
        """How often everything was read."""
        self._dependable = False
        self._progress_asked = False
        self._known = 0
        """The newest revision that the store told of: what readers may rightly wait for."""
        self._behind_since = 0.0
        self._stream: asyncio.Task[None] | None = None
        self._given_up = False
        self._mending = False
        self.revision = 0
        """Every change up to here is in the caches."""
        self.ready = asyncio.Event()

    def add(self, cache: ResourceCache) -> None:
        """Feed one more cache; before `run`."""
        self._caches[cache.prefix] = cache

    def add_set(self, keys: KeySet) -> None:
        self._sets[keys.prefix] = keys
        keys.revision = lambda: self.revision

    async def add_live(self, cache: ResourceCache) -> None:
        """Feed a cache that comes while the feeder runs; ready when this returns.

        One that is fed already under its prefix is fed until then, and dropped: its watchers come again.
        """
        prefix = cache.prefix
        old = self._caches.get(prefix)
        try:
            while True:
                loads = self._loads
                self._loading[prefix] = []
                if old is None:
                    self._caches[prefix] = cache
                entries, revision = await self._read(prefix, cache)
                if loads == self._loads:
                    break
            cache.reset([entry for _, entry in entries], revision)
            for event in self._loading[prefix]:
                if event.kv.mod_revision > revision:
                    self._apply_to(cache, event)
            self._caches[prefix] = cache
        finally:
            self._loading.pop(prefix, None)
        if old is not None:
            old.retire()

    def remove(self, cache: ResourceCache) -> None:
        if self._caches.get(cache.prefix) is cache:
            del self._caches[cache.prefix]
        cache.reset((), self.revision)

    def wrote(self, key: str, entry: Entry) -> None:
        """Remember an own write, so that its echo need not be decoded."""
        self._own[key, entry.revision] = entry
        if len(self._own) > RECENT_WRITES:
            self._own.popitem(last=False)

    async def consistent(self) -> int:
        """Wait until the caches hold everything written before this call; gives their revision."""
        revision = await self._store.revision()
        if revision > self._known:
            if self._known <= self.revision:
                self._behind_since = asyncio.get_running_loop().time()
            self._known = revision
        if not await self.wait_for(revision, 5.0):
            raise ApiError(
                {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Failure",
                    "message": f"the watch cache has not reached revision {revision}, it is at {self.revision}",
                    "reason": "Timeout",
                    "details": {"retryAfterSeconds": 1},
                    "code": 504,
                }
            )
        return self.revision

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        """Wait until the caches have reached `revision`; False after `timeout_s`."""
        if self.revision >= revision:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sequence += 1
        heapq.heappush(self._waiters, (revision, self._sequence, future))
        self._ask_progress_later()
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return False
        return True

    def _ask_progress_later(self) -> None:
        """The awaited revision may be no registry key's: then only a progress answer tells."""
        if not self._progress_asked:
            self._progress_asked = True
            asyncio.get_running_loop().call_later(PROGRESS_AFTER_S, self._ask_progress)

    def _ask_progress(self) -> None:
        while self._waiters and self._waiters[0][2].done():
            heapq.heappop(self._waiters)
        if not self._waiters:
            self._progress_asked = False
            return
        now = asyncio.get_running_loop().time()
        # A revision that a client made up lies in the future for ever; that says nothing about the watch.
        if self._known > self.revision and now - self._behind_since > STALLED_S and self._stream is not None:
            self._behind_since = now
            self._given_up = True
            self._stream.cancel()
        if self._requests is not None and self._dependable:
            self._requests.put(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
        elif not self._dependable:
            asyncio.get_running_loop().create_task(self._probe())
        asyncio.get_running_loop().call_later(PROGRESS_EVERY_S, self._ask_progress)

    async def _probe(self) -> None:
        """Without dependable progress answers: move a key of our own, whose event then follows all others."""
        request = pb.TxnRequest()
        put = request.success.add().request_put
        put.key, put.value = (ROOT + "argosy.progress").encode(), b"1"
        with contextlib.suppress(ApiError):
            await self._store.client.txn(request)

    async def run(self) -> None:
        """Feed for ever; ends by cancellation."""
        while True:
            try:
                self._dependable = await self._store.client.dependable_progress()
                await self._load()
                await self._follow()
            except Compacted:
                log.warning("the watch fell behind compaction, reading everything again")
            except (ApiError, RpcError) as error:
                log.warning("cannot read the store", error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _read(self, prefix: str, cache: ResourceCache | None = None) -> tuple[list[tuple[str, Entry]], int]:
        """Every object under a prefix, at one revision, page by page; of `cache` where it is one's."""
        found: list[tuple[str, Entry]] = []
        start, revision = "", 0
        while True:
            page = await self._store.page(prefix, start, PAGE_LIMIT, revision)
            revision = page.revision
            for key, why in page.unread.items():
                self._unread(key, why, cache)
            for item in page.items:
                routed = (cache, item.key[len(prefix) :]) if cache is not None else self._route(item.key)
                if routed is not None and isinstance(routed[0], ResourceCache):
                    entry = self._decode(routed[0], routed[1], item.key, item.value, item.revision)
                    if entry is not None:
                        found.append((item.key, entry))
                elif routed is not None:
                    found.append((item.key, Entry(routed[1], item.revision, {}, b"")))
            if not page.more:
                return found, revision
            start = page.last + "\0"

    async def _load(self) -> None:
        for cache in self._caches.values():
            cache.unread.clear()
        found, revision = await self._read(ROOT)
        self._loads += 1
        by_prefix: dict[str, list[Entry]] = {prefix: [] for prefix in self._caches}
        names: dict[str, set[str]] = {prefix: set() for prefix in self._sets}
        for key, entry in found:
            routed = self._route(key)
            assert routed is not None
            if isinstance(routed[0], ResourceCache):
                by_prefix[routed[0].prefix].append(entry)
            else:
                names[routed[0].prefix].add(entry.key)
        for prefix, cache in self._caches.items():
            cache.reset(by_prefix.get(prefix, ()), revision)
        for prefix, keys in self._sets.items():
            keys.names = names.get(prefix, set())
        self._reached(revision)
        self.ready.set()

    def _route(self, key: str) -> tuple[ResourceCache | KeySet, str] | None:
        """The cache or key set of a store key, and the key inside it."""
        at = key.find("/", len(ROOT))
        for _ in range(2):
            if at < 0:
                return None
            prefix = key[: at + 1]
            cache = self._caches.get(prefix)
            if cache is not None:
                return cache, key[at + 1 :]
            keys = self._sets.get(prefix)
            if keys is not None:
                return keys, key[at + 1 :]
            at = key.find("/", at + 1)
        return None

    def _unread(self, key: str, why: str, cache: ResourceCache | None = None) -> None:
        """Who asks for it is told, instead of that there is no such object."""
        routed = (cache, key[len(cache.prefix) :]) if cache is not None else self._route(key)
        if routed is not None and isinstance(routed[0], ResourceCache):
            log.error("a stored object cannot be decrypted", key=key, error=why)
            routed[0].unread[routed[1]] = why

    def mend(self) -> None:
        """Keys have changed: read everything again if something could not be decrypted."""
        if any(cache.unread for cache in self._caches.values()) and self._stream is not None:
            self._mending = True
            self._stream.cancel()

    def _decode(self, cache: ResourceCache, short: str, key: str, value: bytes, revision: int) -> Entry | None:
        try:
            return cache.decode(short, value, revision)
        except ValueError as error:
            log.error("a stored object cannot be read and is left out", key=key, error=error)
            return None

    async def _follow(self) -> None:
        """Follow the changes after `revision` until compaction, over broken streams. Raises Compacted."""
        pause_s = RETRY_S
        while True:
            before = self.revision
            self._stream = asyncio.create_task(self._follow_once())
            try:
                await self._stream
            except RpcError as error:
                log.warning("the watch broke, starting again", revision=self.revision, error=str(error))
            except asyncio.CancelledError:
                if self._mending:
                    self._mending = False
                    raise Compacted("values can be decrypted now") from None
                if not self._given_up:
                    self._stream.cancel()
                    raise
                self._given_up = False
                log.warning("the watch stalled, starting again", revision=self.revision)
            pause_s = RETRY_S if self.revision > before else min(2 * pause_s, MAX_RETRY_S)
            await asyncio.sleep(pause_s)

    async def _follow_once(self) -> None:
        requests = WatchRequests()
        requests.put(
            pb.WatchRequest(
                create_request=pb.WatchCreateRequest(
                    key=ROOT.encode(), range_end=prefix_end(ROOT.encode()), start_revision=self.revision + 1
                )
            )
        )
        self._requests = requests

        try:
            async with contextlib.aclosing(self._store.client.watch(requests)) as responses:  # type: ignore[type-var]
                async for response in responses:
                    if response.compact_revision:
                        raise Compacted(str(response.compact_revision))
                    if response.canceled:
                        log.warning("the store cancelled the watch", reason=response.cancel_reason)
                        return
                    await self._store.prepare(event.kv for event in response.events)
                    self._take(response)
        finally:
            self._requests = None

    def _take(self, response: pb.WatchResponse) -> None:
        if response.created:
            return
        if not response.events:
            if self._dependable:
                self._reached(response.header.revision)
            return
        for event in response.events:
            routed = self._route(event.kv.key.decode())
            if routed is None:
                continue
            owner, short = routed
            if isinstance(owner, KeySet):
                if event.type == pb.Event.DELETE:
                    owner.names.discard(short)
                else:
                    owner.names.add(short)
            elif owner.prefix in self._loading:
                if len(self._loading[owner.prefix]) < MAX_BUFFERED_CHANGES:
                    self._loading[owner.prefix].append(event)
                if owner.ready:
                    self._apply_to(owner, event)
            else:
                self._apply_to(owner, event)
        self._reached(response.events[-1].kv.mod_revision)

    def _apply_to(self, cache: ResourceCache, event: pb.Event) -> None:
        key = event.kv.key.decode()
        short = key[len(cache.prefix) :]
        revision = event.kv.mod_revision
        cache.unread.pop(short, None)
        if event.type == pb.Event.DELETE:
            self._store.forget(key)
            cache.apply(short, None, revision)
            return
        entry = self._own.pop((key, revision), None)
        if entry is None:
            try:
                stored = self._store.stored(event.kv)
            except ValueError as error:
                self._unread(key, str(error), cache)
                return
            entry = self._decode(cache, short, key, stored.value, revision)
        if entry is not None:
            cache.apply(short, entry, revision)

    def _reached(self, revision: int) -> None:
        if revision <= self.revision:
            return
        self.revision = revision
        self._behind_since = asyncio.get_running_loop().time()
        while self._waiters and self._waiters[0][0] <= revision:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)
