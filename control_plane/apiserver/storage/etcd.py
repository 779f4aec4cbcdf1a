"""An etcd v3 client over `argosy.rpc.Channel`: ranges, transactions, watches, with fail-over between endpoints.

It speaks to Argosy's store and to a real etcd (3.4 and newer). `store.py` is its only user besides the watch cache.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from argosy.objects import status as errors
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Channel, Code, Network, RpcError, Tls

ATTEMPT_TIMEOUT_S: Final = 2.0
"""After it another endpoint is asked: one that is cut off does not answer, and an election takes about a second."""
GIVE_UP_S: Final = 10.0
RETRY_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 0.5
FENCE: Final = b"/argosy/fence"
"""Moved (written) before a creation is sent once more; no key of objects."""
_TXN: Final = "/etcdserverpb.KV/Txn"
_AWAY: Final = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNKNOWN)


class Compacted(Exception):
    """The asked revision was compacted away."""


class FutureRevision(Exception):
    """The asked revision is not reached yet."""


@dataclass(frozen=True)
class Outcome:
    """A transaction's response; `retried` when an earlier attempt may have been applied already."""

    response: pb.TxnResponse
    retried: bool


def prefix_end(prefix: bytes) -> bytes:
    """The range_end that makes a range cover every key starting with `prefix` (never all 0xff here)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class EtcdClient:
    """One store cluster. Calls raise ApiError 503 or 504 when no endpoint answers."""

    def __init__(self, network: Network, endpoints: Sequence[str], tls: Tls | None = None) -> None:
        if not endpoints:
            raise ValueError("at least one etcd endpoint is needed")
        self._channels: list[Channel] = [network.dial(_address(endpoint), tls) for endpoint in endpoints]
        self._current = 0
        self._fence = 0
        """Its last revision, as far as is known."""
        self._fencing = asyncio.Lock()

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """Raises Compacted, FutureRevision, ApiError."""
        body, _ = await self._call("/etcdserverpb.KV/Range", request.SerializeToString())
        return pb.RangeResponse.FromString(body)

    async def txn(self, request: pb.TxnRequest) -> Outcome:
        """One that may be done again after it was done, such as any that compares a key's last revision."""
        body, retried = await self._call(_TXN, request.SerializeToString())
        return Outcome(pb.TxnResponse.FromString(body), retried)

    async def creation(self, request: pb.TxnRequest) -> Outcome:
        """A transaction that only the absence of keys holds back, done at most once.

        A copy that an endpoint took but did not answer may come to the store late, even after what a second copy made
        has been removed, and would make it anew. So each counts only up to a fence, which is moved before the next.
        """
        patience, retried = _Patience(), False
        while True:
            fence = self._fence
            index = self._current
            guarded = _guarded(request, fence).SerializeToString()
            try:
                body = await self._channels[index].unary(_TXN, guarded, timeout_s=ATTEMPT_TIMEOUT_S)
            except RpcError as error:
                _raise_known(error)
                self._move_on(index)
                await patience.spend(error, len(self._channels))
                await self._move_fence(fence)
                retried = True
                continue
            response = pb.TxnResponse.FromString(body)
            if response.succeeded:
                return Outcome(response, retried)
            found = response.responses.pop().response_range.kvs
            there = found[0].mod_revision if found else 0
            if there == fence:
                return Outcome(response, retried)
            if patience.is_over:
                raise errors.unavailable("the store is busy: others keep moving the fence of creations")
            self._fence = max(self._fence, there)

    async def _move_fence(self, passed: int) -> None:
        """Copies that were sent up to fence `passed` have no effect from now on. Raises ApiError."""
        async with self._fencing:
            if self._fence > passed:
                return
            request = pb.PutRequest(key=FENCE).SerializeToString()
            body, _ = await self._call("/etcdserverpb.KV/Put", request)
            self._fence = max(self._fence, pb.PutResponse.FromString(body).header.revision)

    async def grant(self, ttl_s: int) -> int:
        """A new lease."""
        body, _ = await self._call(
            "/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=ttl_s).SerializeToString()
        )
        return pb.LeaseGrantResponse.FromString(body).ID

    async def compact(self, revision: int) -> None:
        """Drop history before `revision`; already done is fine."""
        request = pb.CompactionRequest(revision=revision)
        try:
            await self._call("/etcdserverpb.KV/Compact", request.SerializeToString())
        except Compacted:
            return

    async def dependable_progress(self) -> bool:
        """Whether progress answers never run ahead of events (fixed in etcd 3.4.31 and 3.5.13)."""
        body, _ = await self._call("/etcdserverpb.Maintenance/Status", pb.StatusRequest().SerializeToString())
        match = re.match(r"(\d+)\.(\d+)\.(\d+)", pb.StatusResponse.FromString(body).version)
        if match is None:
            return False
        major, minor, patch = (int(part) for part in match.groups())
        if (major, minor) == (3, 4):
            return patch >= 31
        if (major, minor) == (3, 5):
            return patch >= 13
        return (major, minor) > (3, 5)

    async def watch(self, requests: WatchRequests) -> AsyncIterator[pb.WatchResponse]:
        """One watch stream to the current endpoint. Raises RpcError when it breaks; the next call moves on."""
        index = self._current
        try:
            async for message in self._channels[index].stream("/etcdserverpb.Watch/Watch", requests):
                yield pb.WatchResponse.FromString(message)
        finally:
            self._move_on(index)

    async def _call(self, method: str, request: bytes) -> tuple[bytes, bool]:
        patience = _Patience()
        while True:
            index = self._current
            try:
                body = await self._channels[index].unary(method, request, timeout_s=ATTEMPT_TIMEOUT_S)
            except RpcError as error:
                _raise_known(error)
                self._move_on(index)
                await patience.spend(error, len(self._channels))
            else:
                return body, patience.spent > 0

    def _move_on(self, failed: int) -> None:
        if self._current == failed:
            self._current = (failed + 1) % len(self._channels)


class _Patience:
    """How often and how long one call is tried."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._gives_up_at = self._clock() + GIVE_UP_S
        self._pause_s = RETRY_PAUSE_S
        self.spent = 0

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._gives_up_at

    async def spend(self, error: RpcError, endpoints: int) -> None:
        """An attempt failed: wait a little once all endpoints had theirs. Raises ApiError when time is up."""
        self.spent += 1
        if self.is_over:
            if error.code is Code.DEADLINE_EXCEEDED:
                raise errors.timeout(f"etcdserver: request timed out ({error.message})") from None
            raise errors.unavailable(f"the store cannot be reached: {error.message}") from None
        if self.spent >= endpoints:
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)


def _guarded(request: pb.TxnRequest, fence: int) -> pb.TxnRequest:
    """`request`, done only while the fence is where it was; else the last response says where it is."""
    guarded = pb.TxnRequest()
    guarded.CopyFrom(request)
    compare = guarded.compare.add()
    compare.key, compare.target, compare.result = FENCE, pb.Compare.MOD, pb.Compare.EQUAL
    compare.mod_revision = fence
    guarded.failure.add().request_range.key = FENCE
    return guarded


class WatchRequests:
    """What is sent on a watch stream, as it comes. No generator: grpc would close one while it waits."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[pb.WatchRequest] = asyncio.Queue(maxsize=16)

    def put(self, request: pb.WatchRequest) -> None:
        """Dropped when too many wait: only progress requests can be so many, and one is as good."""
        if not self._queue.full():
            self._queue.put_nowait(request)

    def __aiter__(self) -> WatchRequests:
        return self

    async def __anext__(self) -> bytes:
        return (await self._queue.get()).SerializeToString()


def _address(endpoint: str) -> str:
    """`host:port` of an endpoint that may be written as a URL."""
    return endpoint.removeprefix("https://").removeprefix("http://").rstrip("/")


def _raise_known(error: RpcError) -> None:
    """Raise what is an answer; return for what another endpoint may do better."""
    if error.code is Code.OUT_OF_RANGE:
        raise (Compacted if "compacted" in error.message else FutureRevision)(error.message) from None
    if error.code is Code.RESOURCE_EXHAUSTED:
        raise errors.status_error(500, "InternalError", f"the store refuses writes: {error.message}") from None
    if error.code not in _AWAY:
        raise errors.internal(f"etcd: {error.code.name}: {error.message}") from None
