"""Ranges: which keys a request names, and the encoded answer to a RangeRequest."""

from __future__ import annotations

from collections.abc import Callable

from argosy.pb import etcd_pb2 as pb
from etcd import errors, wire
from etcd.history import History, Item

_KV = b"\x12"
_MORE = b"\x18\x01"
_COUNT = b"\x20"


def interval(key: bytes, range_end: bytes) -> tuple[bytes, bytes | None]:
    """[start, end) of a request: no end is one key, a zero byte is everything from `key` on (end None)."""
    if not range_end:
        return key, key + b"\0"
    if range_end == b"\0":
        return key, None
    return key, range_end


def check(request: pb.RangeRequest) -> None:
    """What can be refused without looking at the store. Raises StoreError."""
    if not request.key:
        raise errors.empty_key()
    if request.sort_order not in (0, 1, 2) or request.sort_target not in (0, 1, 2, 3, 4):
        raise errors.invalid_sort()


def check_revision(history: History, revision: int, current: int) -> None:
    """Raises StoreError for a revision that is compacted or above `current`."""
    if revision > current:
        raise errors.future_revision()
    if 0 < revision < history.compacted:
        raise errors.compacted()


def body(history: History, request: pb.RangeRequest, current: int) -> bytes:
    """The RangeResponse without its header. `current` is the revision that a request without one reads.

    Raises StoreError for a compacted or future revision.
    """
    revision = request.revision
    check_revision(history, revision, current)
    at = None if revision <= 0 or revision >= current else revision
    if not request.range_end:
        item = history.get(request.key, at)
        if item is None:
            return b""
        if not request.count_only and not request.limit and _plain(request) and not request.keys_only:
            return wire.message(_KV, item.encoded) + b"\x20\x01"
        items, count = [item], 1
    else:
        start, end = interval(request.key, request.range_end)
        if end is not None and end <= start:
            return b""
        if request.count_only and at is None:
            count = history.count(start, end)
            return _COUNT + wire.varint(count) if count else b""
        items, count = _collect(history, request, start, end, at)
    if not count or request.count_only:
        return _COUNT + wire.varint(count) if count else b""
    return _encode(_select(items, request), count, request)


def _plain(request: pb.RangeRequest) -> bool:
    """No sorting beyond key order and no filter: a limit can be applied while collecting."""
    return not (
        request.sort_target
        or request.sort_order == pb.RangeRequest.DESCEND
        or request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )


def _collect(
    history: History, request: pb.RangeRequest, start: bytes, end: bytes | None, at: int | None
) -> tuple[list[Item], int]:
    if at is not None:
        items = history.items_at(start, end, at)
        return items, len(items)
    if request.limit > 0 and _plain(request):
        return history.items(start, end, request.limit + 1), history.count(start, end)
    items = history.items(start, end)
    return items, len(items)


_TARGETS: dict[int, Callable[[Item], bytes | int]] = {
    pb.RangeRequest.KEY: lambda item: item.key,
    pb.RangeRequest.VERSION: lambda item: item.version,
    pb.RangeRequest.CREATE: lambda item: item.create_revision,
    pb.RangeRequest.MOD: lambda item: item.mod_revision,
    pb.RangeRequest.VALUE: lambda item: item.value,
}


def _select(items: list[Item], request: pb.RangeRequest) -> list[Item]:
    if _plain(request):
        return items
    if request.min_mod_revision:
        items = [item for item in items if item.mod_revision >= request.min_mod_revision]
    if request.max_mod_revision:
        items = [item for item in items if item.mod_revision <= request.max_mod_revision]
    if request.min_create_revision:
        items = [item for item in items if item.create_revision >= request.min_create_revision]
    if request.max_create_revision:
        items = [item for item in items if item.create_revision <= request.max_create_revision]
    if request.sort_target or request.sort_order == pb.RangeRequest.DESCEND:
        target: Callable[[Item], bytes | int] = _TARGETS[request.sort_target]
        items = sorted(items, key=target, reverse=request.sort_order == pb.RangeRequest.DESCEND)
    return items


def _encode(items: list[Item], count: int, request: pb.RangeRequest) -> bytes:
    more = 0 < request.limit < len(items)
    if more:
        items = items[: request.limit]
    parts = []
    if request.keys_only:
        for item in items:
            parts.append(wire.message(_KV, _without_value(item)))
    else:
        varint = wire.varint
        for item in items:
            encoded = item.encoded
            parts += (_KV, varint(len(encoded)), encoded)
    if more:
        parts.append(_MORE)
    parts += (_COUNT, wire.varint(count))
    return b"".join(parts)


def _without_value(item: Item) -> bytes:
    return pb.KeyValue(
        key=item.key,
        create_revision=item.create_revision,
        mod_revision=item.mod_revision,
        version=item.version,
        lease=item.lease,
    ).SerializeToString()
