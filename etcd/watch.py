"""Watches: every change, in revision order, to everyone who watches its key.

After each batch of commands the owner calls `WatchHub.advance`, which finds the watched ranges of each changed key
(etcd.segments), encodes a range's events once, and queues those bytes on every stream that watches it. A watcher
whose stream has too much queued, or that starts at an older revision, is "behind": it is taken out of the fan-out
and reads the history in chunks, at the pace of its stream, until it is back at the head. A revision is never torn
over two responses, except as marked fragments where the client asked for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from argosy.pb import etcd_pb2 as pb
from etcd import wire
from etcd.history import History, Item
from etcd.range import interval
from etcd.segments import RangeIndex

MAX_QUEUED_BYTES = 4 << 20
"""Beyond this a stream's watchers fall behind instead of growing its queue."""
CHUNK_BYTES = 1 << 20
CHUNK_CHANGES = 2000
MAX_WATCHERS = 10_000
PROGRESS_ID = -1
INVALID_ID = -1

_EVENT = b"\x5a"
_KV = b"\x12"
_PREV_KV = b"\x1a"
_DELETE = b"\x08\x01"
_WATCH_ID = b"\x10"
_FRAGMENT = b"\x38\x01"


class Watcher:
    """One watch of one stream."""

    __slots__ = (
        "_id_field",
        "fragment",
        "group",
        "id",
        "next_revision",
        "progress_notify",
        "quiet",
        "range",
        "stream",
        "variant",
    )  # fmt: skip

    def __init__(self, stream: WatchStream, watch_id: int, request: pb.WatchCreateRequest) -> None:
        self.stream = stream
        self.id = watch_id
        self._id_field = _WATCH_ID + wire.signed(watch_id) if watch_id else b""
        self.range = interval(request.key or b"\0", request.range_end)
        self.variant = (
            request.prev_kv,
            pb.WatchCreateRequest.NOPUT in request.filters,
            pb.WatchCreateRequest.NODELETE in request.filters,
        )
        self.fragment = request.fragment
        self.progress_notify = request.progress_notify
        self.quiet = False
        self.next_revision = 0
        """The first revision that this watcher has not seen."""
        self.group: Group | None = None
        """Set while it takes part in the fan-out."""

    def messages(self, header: bytes, events: list[bytes]) -> list[bytes]:
        """Responses for the events of whole revisions: one, or fragments."""
        start = header + self._id_field
        if not self.fragment or sum(map(len, events)) <= CHUNK_BYTES:
            return [b"".join((start, *events))]
        parts: list[list[bytes]] = [[]]
        size = 0
        for event in events:
            if size and size + len(event) > CHUNK_BYTES:
                parts.append([])
                size = 0
            parts[-1].append(event)
            size += len(event)
        return [b"".join((start, _FRAGMENT, *part)) for part in parts[:-1]] + [b"".join((start, *parts[-1]))]


class Group:
    """The watchers of one range that are at the head."""

    def __init__(self, hub: WatchHub, key: tuple[bytes, bytes | None]) -> None:
        self.key = key
        self.watchers: dict[Watcher, None] = {}
        self.pending: list[Item] = []
        self._hub = hub

    def flush(self) -> None:
        items, self.pending = self.pending, []
        first = items[0].mod_revision
        header = self._hub.header()
        chunks: dict[tuple[bool, bool, bool], list[list[bytes]]] = {}
        for watcher in list(self.watchers):
            if watcher.next_revision > first:
                seen = watcher.next_revision
                own = self._hub.encode([item for item in items if item.mod_revision >= seen], watcher.variant)
            else:
                found = chunks.get(watcher.variant)
                if found is None:
                    found = chunks[watcher.variant] = self._hub.encode(items, watcher.variant)
                own = found
            if own:
                watcher.stream.deliver(watcher, header, own, first)


class WatchHub:
    """All watches of one member."""

    def __init__(self, history: History, header: Callable[[int], bytes]) -> None:
        """`header` encodes a response header for a revision."""
        self.history = history
        self.revision = history.revision
        """Everything up to here has been fanned out."""
        self.streams: dict[WatchStream, None] = {}
        self._encode_header = header
        self._header = (0, b"")
        self._groups: dict[tuple[bytes, bytes | None], Group] = {}
        self._index: RangeIndex[Group] = RangeIndex()
        self._position = history.changes_from(self.revision + 1)

    def stream(self) -> WatchStream:
        """A new client stream; the caller must `close` it."""
        stream = WatchStream(self)
        self.streams[stream] = None
        return stream

    def header(self) -> bytes:
        return self._encode_header(self.revision)

    def advance(self) -> None:
        """Fan out what was applied since the last call. Must follow every apply before anything else runs."""
        history = self.history
        if history.revision == self.revision:
            return
        start = self._position - history.changes_dropped
        new = history.changes[start:] if start else history.changes
        self._position += len(new)
        self.revision = history.revision
        if not self._groups:
            return
        touched: dict[Group, None] = {}
        find = self._index.find
        for item in new:
            for group in find(item.key):
                group.pending.append(item)
                touched[group] = None
        for group in touched:
            group.flush()

    def reset(self) -> None:
        """The history was replaced by a snapshot: all watchers catch up from where they were."""
        self.revision = self.history.revision
        self._position = self.history.changes_from(self.revision + 1)
        for group in list(self._groups.values()):
            for watcher in list(group.watchers):
                watcher.stream.fall_behind(watcher, watcher.next_revision)

    def progress_tick(self) -> None:
        """Tell watchers that asked for it how far they are, if they had nothing to read since the last tick."""
        for stream in list(self.streams):
            stream.progress_tick()

    def join(self, watcher: Watcher) -> None:
        key = watcher.range
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self, key)
            self._index.add(*key, group)
        group.watchers[watcher] = None
        watcher.group = group

    def leave(self, watcher: Watcher) -> None:
        group = watcher.group
        if group is None:
            return
        watcher.group = None
        del group.watchers[watcher]
        if not group.watchers:
            del self._groups[group.key]
            self._index.remove(*group.key, group)

    def encode(self, items: Iterable[Item], variant: tuple[bool, bool, bool]) -> list[list[bytes]]:
        """Encoded events in chunks that end with a revision and have about CHUNK_BYTES at most."""
        prev_kv, no_put, no_delete = variant
        chunks: list[list[bytes]] = []
        size = CHUNK_BYTES
        revision = 0
        for item in items:
            if no_delete if item.version == 0 else no_put:
                continue
            content = wire.message(_KV, item.encoded)
            if item.version == 0:
                content = _DELETE + content
            if prev_kv:
                before = self.history.get(item.key, item.mod_revision - 1)
                if before is not None:
                    content += wire.message(_PREV_KV, before.encoded)
            event = wire.message(_EVENT, content)
            if size >= CHUNK_BYTES and item.mod_revision != revision:
                chunks.append([])
                size = 0
            chunks[-1].append(event)
            size += len(event)
            revision = item.mod_revision
        return chunks

    def catch_up(self, watcher: Watcher) -> list[bytes]:
        """The next responses of a watcher that is behind; it may be at the head afterwards."""
        history = self.history
        changes = history.changes
        start = history.changes_from(watcher.next_revision) - history.changes_dropped
        end = min(start + CHUNK_CHANGES, len(changes))
        while 0 < end < len(changes) and changes[end].mod_revision == changes[end - 1].mod_revision:
            end += 1
        low, high = watcher.range
        items = [item for item in changes[start:end] if low <= item.key and (high is None or item.key < high)]
        if end >= len(changes):
            watcher.next_revision = max(watcher.next_revision, self.revision + 1)
            watcher.stream.caught_up(watcher)
        else:
            watcher.next_revision = changes[end].mod_revision
        header = self.header()
        return [
            message for events in self.encode(items, watcher.variant) for message in watcher.messages(header, events)
        ]


class WatchStream:
    """One client's stream of watches: requests in by methods, responses out by `next`."""

    def __init__(self, hub: WatchHub) -> None:
        self._hub = hub
        self._watchers: dict[int, Watcher] = {}
        self._behind: dict[Watcher, None] = {}
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self._next_id = 0
        self._progress_wanted = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def create(self, request: pb.WatchCreateRequest) -> None:
        """Begin a watch; the answer, also a refusal, is queued."""
        watch_id = request.watch_id
        if not watch_id:
            while self._next_id in self._watchers:
                self._next_id += 1
            watch_id = self._next_id
        elif watch_id in self._watchers:
            self._refuse("mvcc: duplicate watch ID provided on the WatchStream")
            return
        watcher = Watcher(self, watch_id, request)
        low, high = watcher.range
        if high is not None and high <= low:
            self._refuse("mvcc: watcher range is empty")
            return
        if len(self._watchers) >= MAX_WATCHERS:
            self._refuse(f"etcdserver: more than {MAX_WATCHERS} watchers on one stream are not supported")
            return
        if not request.watch_id:
            self._next_id += 1
        self._watchers[watch_id] = watcher
        self._respond(pb.WatchResponse(watch_id=watch_id, created=True))
        head = self._hub.revision + 1
        watcher.next_revision = request.start_revision if request.start_revision > 0 else head
        if watcher.next_revision >= head:
            self._hub.join(watcher)
        else:
            self._behind[watcher] = None
            self._wake()

    def cancel(self, watch_id: int) -> None:
        """End a watch; an unknown id is left alone, as etcd does."""
        watcher = self._watchers.get(watch_id)
        if watcher is not None:
            self._forget(watcher)
            self._respond(pb.WatchResponse(watch_id=watch_id, canceled=True))

    def request_progress(self) -> None:
        """Queue the stream's revision, once all its watchers are at the head."""
        self._progress_wanted = True
        self._wake()

    def progress_tick(self) -> None:
        for watcher in self._watchers.values():
            if watcher.progress_notify:
                if watcher.quiet and watcher.group is not None and not self._out:
                    self._respond(pb.WatchResponse(watch_id=watcher.id))
                watcher.quiet = True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for watcher in list(self._watchers.values()):
            self._forget(watcher)
        self._hub.streams.pop(self, None)
        self._wake()

    async def next(self) -> bytes | None:
        """The next response; None once the stream is closed."""
        while not self._closed:
            if self._out:
                message = self._out.popleft()
                self._out_bytes -= len(message)
                return message
            if self._behind:
                self._read_history()
                if not self._out:
                    await asyncio.sleep(0)
                continue
            if self._progress_wanted:
                self._progress_wanted = False
                self._respond(pb.WatchResponse(watch_id=PROGRESS_ID))
                continue
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return None

    def deliver(self, watcher: Watcher, header: bytes, chunks: list[list[bytes]], first_revision: int) -> None:
        """Fan-out: events of a watcher at the head, from `first_revision` on."""
        if self._out_bytes > MAX_QUEUED_BYTES:
            self.fall_behind(watcher, max(first_revision, watcher.next_revision))
            return
        watcher.quiet = False
        watcher.next_revision = self._hub.revision + 1
        for events in chunks:
            for message in watcher.messages(header, events):
                self._push(message)

    def fall_behind(self, watcher: Watcher, revision: int) -> None:
        watcher.next_revision = revision
        self._hub.leave(watcher)
        self._behind[watcher] = None
        self._wake()

    def caught_up(self, watcher: Watcher) -> None:
        self._behind.pop(watcher, None)
        self._hub.join(watcher)

    def _read_history(self) -> None:
        watcher = next(iter(self._behind))
        if watcher.next_revision < self._hub.history.compacted:
            self._forget(watcher)
            compacted = self._hub.history.compacted
            self._respond(pb.WatchResponse(watch_id=watcher.id, canceled=True, compact_revision=compacted))
            return
        for message in self._hub.catch_up(watcher):
            watcher.quiet = False
            self._push(message)
        if watcher in self._behind:
            del self._behind[watcher]
            self._behind[watcher] = None

    def _forget(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher.id, None)
        self._behind.pop(watcher, None)
        self._hub.leave(watcher)

    def _refuse(self, reason: str) -> None:
        self._respond(pb.WatchResponse(watch_id=INVALID_ID, created=True, canceled=True, cancel_reason=reason))

    def _respond(self, response: pb.WatchResponse) -> None:
        self._push(self._hub.header() + response.SerializeToString())

    def _push(self, message: bytes) -> None:
        self._out.append(message)
        self._out_bytes += len(message)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
