"""What all etcd services share: the store they stand on, and the translation of its errors to the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from argosy.host import Clock, Rng
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Code, RpcError
from etcd import errors
from etcd.compaction import Dropper
from etcd.errors import StoreError
from etcd.machine import Kind, Machine
from etcd.watch import WatchHub

VERSION = "3.5.21"
"""The etcd API level that clients may expect, e.g. dependable progress requests."""
MAX_REQUEST_BYTES = 1536 << 10

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class MemberInfo:
    """One member of the cluster as clients see it."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class Store(Protocol):
    """A member: the state machine, and how to change and read it safely. etcd.local and etcd.member are two."""

    @property
    def machine(self) -> Machine: ...
    @property
    def hub(self) -> WatchHub: ...
    @property
    def dropper(self) -> Dropper: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def rng(self) -> Rng: ...

    async def propose(self, kind: Kind, request: bytes) -> bytes:
        """Replicate, apply and answer a command. Raises StoreError (UNAVAILABLE: it may still be applied)."""

    async def read_barrier(self) -> None:
        """Return once this member's state is at least as new as the call. Raises StoreError UNAVAILABLE."""

    async def keep_alive(self, lease_id: int) -> int:
        """Give a lease its full time again: its seconds, 0 when it does not exist. Raises StoreError."""

    async def lease_left_s(self, lease_id: int) -> float:
        """Seconds left of an existing lease. Raises StoreError."""

    def members(self) -> list[MemberInfo]: ...
    def leader_id(self) -> int:
        """0 when unknown."""

    def raft_index(self) -> tuple[int, int]:
        """Commit index and applied index."""

    def disk_bytes(self) -> int:
        """What the data directory takes; 0 without one."""

    async def move_leader(self, target_id: int) -> None:
        """Raises StoreError."""

    def problems(self) -> list[str]:
        """What Status reports as errors."""


def parse(message: Callable[[], M], data: bytes) -> M:
    """Decode a request. Raises RpcError when it is malformed or too large."""
    if len(data) > MAX_REQUEST_BYTES:
        raise to_rpc(errors.too_large())
    result = message()
    try:
        result.ParseFromString(data)
    except DecodeError:
        raise to_rpc(errors.malformed(type(result).__name__)) from None
    return result


def require_room(store: Store) -> None:
    """Raises StoreError while a NOSPACE alarm is raised: what makes the store grow is refused."""
    if store.machine.alarms and any(kind == pb.NOSPACE for _, kind in store.machine.alarms):
        raise errors.no_space()


def to_rpc(error: StoreError) -> RpcError:
    return RpcError(Code(error.code), error.message)


async def failing(error: RpcError) -> AsyncIterator[bytes]:
    """The answer of a streaming call that is refused."""
    nothing: tuple[bytes, ...] = ()
    for message in nothing:
        yield message
    raise error
