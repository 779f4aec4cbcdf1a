"""Create, replace and remove keys by transactions on their revision; reads at a revision; the current revision.

A write may carry claims: further keys (allocated addresses and ports) that must be free and are taken, or given
back, in the same transaction. `verbs/` and `allocate/` are the callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from argosy.objects import status as errors
from argosy.objects.status import ApiError
from argosy.pb import etcd_pb2 as pb
from control_plane.apiserver.storage.encryption.providers import ENCRYPTED, Unreadable, Unsealable
from control_plane.apiserver.storage.encryption.transformer import Transformer
from control_plane.apiserver.storage.etcd import EtcdClient, Outcome, prefix_end
from control_plane.apiserver.storage.leases import LeasePool

ROOT: Final = "/registry/"
_NO_KEY: Final = b"/registry"
"""Never written: reading it costs nothing and tells the revision."""


@dataclass(frozen=True)
class Stored:
    key: str
    value: bytes
    revision: int


@dataclass(frozen=True)
class Page:
    items: list[Stored]
    more: bool
    count: int
    """All keys of the range from its start, at that revision."""
    revision: int
    last: str = ""
    """The last key that was read."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Keys whose value cannot be decrypted, and why."""


class Changed(Exception):
    """The key is not at the expected revision; `current` is None when it does not exist."""

    def __init__(self, current: Stored | None) -> None:
        super().__init__("changed")
        self.current = current


class ClaimTaken(Exception):
    """A claimed key belongs to another already."""

    def __init__(self, key: str, revision: int) -> None:
        super().__init__(key)
        self.key = key
        self.revision = revision
        """The store's revision at which it was taken."""


@dataclass(frozen=True)
class Claims:
    """Keys to take (they must not exist) and keys to give back, with a write."""

    take: Mapping[str, bytes] = field(default_factory=dict)
    release: Sequence[str] = ()
    explicit: frozenset[str] = frozenset()
    """Of `take`: those that were asked for by name, so that another would not do."""
    owner: str = ""
    """The object's name, for messages."""


NO_CLAIMS: Final = Claims()


def unreadable(key: str, why: str) -> ApiError:
    """As upstream's storage says it."""
    return errors.internal(f'unable to transform key "{key}": {why}')


class Store:
    """`expiring` maps key prefixes to the leases under which their keys are put."""

    def __init__(
        self, client: EtcdClient, transformer: Transformer, expiring: Mapping[str, LeasePool] | None = None
    ) -> None:
        self._client = client
        self._expiring = dict(expiring or {})
        self._transformer = transformer
        self._reading: asyncio.Task[int] | None = None
        self._next_reading: asyncio.Task[int] | None = None

    @property
    def client(self) -> EtcdClient:
        return self._client

    async def prepare(self, kvs: Iterable[pb.KeyValue]) -> None:
        """Have at hand what `stored` needs to decrypt them."""
        for kv in kvs:
            if kv.value.startswith(ENCRYPTED):
                await self._transformer.prepare(kv.key.decode(), kv.value)

    def stored(self, kv: pb.KeyValue) -> Stored:
        """What was prepared. Raises Unreadable when the value cannot be decrypted."""
        key = kv.key.decode()
        return Stored(key, self._transformer.open(key, kv.value), kv.mod_revision)

    async def _opened(self, kv: pb.KeyValue) -> Stored:
        """Raises ApiError when the value cannot be decrypted."""
        await self.prepare((kv,))
        try:
            return self.stored(kv)
        except Unreadable as error:
            raise unreadable(kv.key.decode(), str(error)) from None

    def is_stale(self, key: str) -> bool:
        """Whether a value is sealed by an earlier key: then it is written though nothing changed."""
        return self._transformer.is_stale(key)

    def forget(self, key: str) -> None:
        """The key is deleted."""
        self._transformer.forget(key)

    async def create(self, key: str, value: bytes, claims: Claims = NO_CLAIMS) -> int:
        """The revision. Raises Changed when the key exists, ClaimTaken, ApiError."""
        return await self._put(key, value, 0, claims)

    async def replace(self, key: str, value: bytes, revision: int, claims: Claims = NO_CLAIMS) -> int:
        """The new revision. Raises Changed, ClaimTaken, ApiError."""
        return await self._put(key, value, revision, claims)

    async def remove(self, key: str, revision: int, claims: Claims = NO_CLAIMS) -> int:
        """The revision of the deletion. Raises Changed, ApiError."""
        request = self._request(key, revision, claims)
        request.success.add().request_delete_range.key = key.encode()
        outcome = await self._client.txn(request)
        if outcome.response.succeeded:
            return outcome.response.header.revision
        current = await self._current(outcome)
        if current is None and outcome.retried:
            return outcome.response.header.revision
        raise Changed(current)

    async def read(self, key: str) -> Stored | None:
        """The newest value, linearised."""
        response = await self._client.range(pb.RangeRequest(key=key.encode()))
        return await self._opened(response.kvs[0]) if response.kvs else None

    async def page(self, prefix: str, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Keys under `prefix` from `start` (a whole key) on. Raises Compacted, FutureRevision, ApiError."""
        request = pb.RangeRequest(
            key=(start or prefix).encode(), range_end=prefix_end(prefix.encode()), limit=limit, revision=revision
        )
        response = await self._client.range(request)
        await self.prepare(response.kvs)
        items: list[Stored] = []
        unread: dict[str, str] = {}
        for kv in response.kvs:
            try:
                items.append(self.stored(kv))
            except Unreadable as error:
                unread[kv.key.decode()] = str(error)
        last = response.kvs[-1].key.decode() if response.kvs else ""
        return Page(items, response.more, response.count, revision or response.header.revision, last, unread)

    async def revision(self) -> int:
        """A revision that every write acknowledged before this call has reached.

        Callers that come while a read is under way share the next one.
        """
        if self._next_reading is None:
            self._next_reading = asyncio.create_task(self._read_revision(self._reading))
            self._next_reading.add_done_callback(_heard)
        return await asyncio.shield(self._next_reading)

    async def _read_revision(self, before: asyncio.Task[int] | None) -> int:
        if before is not None and not before.done():
            await asyncio.gather(before, return_exceptions=True)
        self._reading, self._next_reading = self._next_reading, None
        response = await self._client.range(pb.RangeRequest(key=_NO_KEY))
        return response.header.revision

    def _request(self, key: str, revision: int, claims: Claims) -> pb.TxnRequest:
        request = pb.TxnRequest()
        _compare(request, key, revision)
        request.failure.add().request_range.key = key.encode()
        for claim, value in claims.take.items():
            _compare(request, claim, 0)
            request.failure.add().request_range.key = claim.encode()
            put = request.success.add().request_put
            put.key, put.value = claim.encode(), value
        for claim in claims.release:
            request.success.add().request_delete_range.key = claim.encode()
        return request

    async def _put(self, key: str, value: bytes, revision: int, claims: Claims) -> int:
        request = self._request(key, revision, claims)
        put = request.success.add().request_put
        try:
            put.key, put.value = key.encode(), self._transformer.seal(key, value)
        except Unsealable as error:
            raise errors.internal(str(error)) from None
        for prefix, pool in self._expiring.items():
            if key.startswith(prefix):
                put.lease = await pool.lease()
        outcome = await (self._client.txn(request) if revision else self._client.creation(request))
        if outcome.response.succeeded:
            return outcome.response.header.revision
        current = await self._current(outcome)
        if current is not None and outcome.retried and current.value == value:
            return current.revision
        if (current.revision if current else 0) == revision:
            for answer, claim in zip(outcome.response.responses[1:], claims.take, strict=True):
                if answer.response_range.kvs:
                    raise ClaimTaken(claim, outcome.response.header.revision)
        raise Changed(current)

    async def _current(self, outcome: Outcome) -> Stored | None:
        found = outcome.response.responses[0].response_range.kvs
        return await self._opened(found[0]) if found else None


def _heard(task: asyncio.Task[int]) -> None:
    """A failure is its callers' matter; when none of them waits any more it is nobody's."""
    if not task.cancelled():
        task.exception()


def _compare(request: pb.TxnRequest, key: str, revision: int) -> None:
    compare = request.compare.add()
    compare.key = key.encode()
    compare.target = pb.Compare.MOD
    compare.result = pb.Compare.EQUAL
    compare.mod_revision = revision
