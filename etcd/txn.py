"""Writes: put, delete and transactions, checked first and then applied at one revision.

The checks that need no store (`check_*`) run where a request arrives, and again where it is applied. A
transaction's comparisons, nested ones too, are evaluated before anything is written, and everything that could
refuse it is checked before its first write: it applies wholly or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.pb import etcd_pb2 as pb
from etcd import errors, wire
from etcd import range as ranges
from etcd.history import History, Item
from etcd.lease import Leases

MAX_TXN_OPS = 128

_PREV_KV = b"\x12"
_PREV_KVS = b"\x1a"
_DELETED = b"\x10"
_SUCCEEDED = b"\x10\x01"
_RESPONSES = b"\x1a"
_OP_RANGE = b"\x0a"
_OP_PUT = b"\x12"
_OP_DELETE = b"\x1a"
_OP_TXN = b"\x22"


def check_put(request: pb.PutRequest) -> None:
    """Raises StoreError."""
    if not request.key:
        raise errors.empty_key()
    if request.ignore_value and request.value:
        raise errors.value_provided()
    if request.ignore_lease and request.lease:
        raise errors.lease_provided()


def check_delete(request: pb.DeleteRangeRequest) -> None:
    """Raises StoreError."""
    if not request.key:
        raise errors.empty_key()


def check_txn(request: pb.TxnRequest) -> None:
    """Raises StoreError."""
    _check_ops(request, MAX_TXN_OPS)
    for ops in (request.success, request.failure):
        if len(ops) > 1 or (ops and ops[0].WhichOneof("request") == "request_txn"):
            _check_intervals(ops)


def is_readonly(request: pb.TxnRequest) -> bool:
    """Whether no branch can write."""
    for op in (*request.success, *request.failure):
        kind = op.WhichOneof("request")
        if kind == "request_txn":
            if not is_readonly(op.request_txn):
                return False
        elif kind != "request_range":
            return False
    return True


def is_serializable(request: pb.TxnRequest) -> bool:
    """Whether a read-only transaction asks for local reads only."""
    return all(
        op.request_range.serializable
        if op.WhichOneof("request") == "request_range"
        else is_serializable(op.request_txn)
        for op in (*request.success, *request.failure)
    )


def _check_ops(request: pb.TxnRequest, budget: int) -> None:
    conditions, success, failure = request.compare, request.success, request.failure
    size = max(len(conditions), len(success), len(failure))
    if size > budget:
        raise errors.too_many_ops()
    for compare in conditions:
        if not compare.key:
            raise errors.empty_key()
    for op in (*success, *failure):
        kind = op.WhichOneof("request")
        if kind == "request_range":
            ranges.check(op.request_range)
        elif kind == "request_put":
            check_put(op.request_put)
        elif kind == "request_delete_range":
            check_delete(op.request_delete_range)
        elif kind == "request_txn":
            _check_ops(op.request_txn, budget - size)
        else:
            raise errors.key_not_found()


Intervals = list[tuple[bytes, "bytes | None"]]


def _check_intervals(ops: Iterable[pb.RequestOp]) -> tuple[set[bytes], Intervals]:
    """A key may be put once and not deleted too; branches of one nested transaction exclude each other."""
    deletes: Intervals = []
    puts: set[bytes] = set()
    nested = []
    own = []
    for op in ops:
        kind = op.WhichOneof("request")
        if kind == "request_delete_range":
            deletes.append(ranges.interval(op.request_delete_range.key, op.request_delete_range.range_end))
        elif kind == "request_txn":
            nested.append(op.request_txn)
        elif kind == "request_put":
            own.append(op.request_put.key)
    for txn in nested:
        then_puts, then_deletes = _check_intervals(txn.success)
        else_puts, else_deletes = _check_intervals(txn.failure)
        both = then_puts | else_puts
        if both & puts or any(_inside(key, deletes) for key in both):
            raise errors.duplicate_key()
        puts |= both
        deletes += then_deletes + else_deletes
    for key in own:
        if key in puts or _inside(key, deletes):
            raise errors.duplicate_key()
        puts.add(key)
    return puts, deletes


def _inside(key: bytes, intervals: Intervals) -> bool:
    return any(start <= key and (end is None or key < end) for start, end in intervals)


def compares(history: History, conditions: Iterable[pb.Compare]) -> bool:
    """Whether all comparisons hold now."""
    return all(_compare(history, condition) for condition in conditions)


_NOTHING = Item(b"", 0, 0, 0, 0, b"")


def _compare(history: History, condition: pb.Compare) -> bool:
    if condition.range_end:
        start, end = ranges.interval(condition.key, condition.range_end)
        items = history.items(start, end)
    else:
        item = history.get(condition.key)
        items = [] if item is None else [item]
    if not items:
        return condition.target != pb.Compare.VALUE and _holds(condition, _NOTHING)
    return all(_holds(condition, item) for item in items)


def _holds(condition: pb.Compare, item: Item) -> bool:
    target = condition.target
    if target == pb.Compare.VALUE:
        value, wanted = item.value, condition.value
        sign = (value > wanted) - (value < wanted)
    else:
        if target == pb.Compare.VERSION:
            have, want = item.version, condition.version
        elif target == pb.Compare.CREATE:
            have, want = item.create_revision, condition.create_revision
        elif target == pb.Compare.MOD:
            have, want = item.mod_revision, condition.mod_revision
        elif target == pb.Compare.LEASE:
            have, want = item.lease, condition.lease
        else:
            return True
        sign = (have > want) - (have < want)
    result = condition.result
    if result == pb.Compare.EQUAL:
        return sign == 0
    if result == pb.Compare.GREATER:
        return sign > 0
    if result == pb.Compare.LESS:
        return sign < 0
    return sign != 0 if result == pb.Compare.NOT_EQUAL else True


class Writer:
    """One write operation: all its changes get the next revision."""

    def __init__(self, history: History, leases: Leases) -> None:
        self._history = history
        self._leases = leases
        self._next = history.revision + 1
        self._changed = False

    @property
    def revision(self) -> int:
        """What a read inside the operation sees, and at the end the store's revision."""
        return self._next if self._changed else self._history.revision

    def commit(self) -> int:
        """The operation is complete. Gives the revision for the answer's header."""
        if self._changed:
            self._history.revision = self._next
        return self._history.revision

    def check_put(self, request: pb.PutRequest) -> None:
        """What depends on the store. Raises StoreError."""
        if request.lease:
            self._leases.require(request.lease)
        if (request.ignore_value or request.ignore_lease) and self._history.get(request.key) is None:
            raise errors.key_not_found()

    def put(self, request: pb.PutRequest) -> bytes:
        """After `check_put`. The PutResponse without its header."""
        key, value, lease = request.key, request.value, request.lease
        old = self._history.current.get(key)
        if old is None:
            item = Item.make(key, value, self._next, self._next, 1, lease)
        else:
            if request.ignore_value:
                value = old.value
            if request.ignore_lease:
                lease = old.lease
            item = Item.make(key, value, old.create_revision, self._next, old.version + 1, lease)
        self._history.put(item)
        self._changed = True
        if lease or (old is not None and old.lease):
            self._leases.move(key, old.lease if old is not None else 0, lease)
        return wire.message(_PREV_KV, old.encoded) if request.prev_kv and old is not None else b""

    def delete(self, request: pb.DeleteRangeRequest) -> bytes:
        """The DeleteRangeResponse without its header."""
        if request.range_end:
            start, end = ranges.interval(request.key, request.range_end)
            keys = [item.key for item in self._history.items(start, end)]
        else:
            keys = [request.key] if request.key in self._history.current else []
        olds = [self.delete_key(key) for key in keys]
        if not olds:
            return b""
        parts = [_DELETED, wire.varint(len(olds))]
        if request.prev_kv:
            parts += [wire.message(_PREV_KVS, old.encoded) for old in olds]
        return b"".join(parts)

    def delete_key(self, key: bytes) -> Item:
        old = self._history.delete(key, self._next)
        self._changed = True
        if old.lease:
            self._leases.move(key, old.lease, 0)
        return old

    def txn(self, request: pb.TxnRequest) -> bytes:
        """Compare, check and apply. The TxnResponse without its header. Raises StoreError before any write."""
        path: list[bool] = []
        self._decide(request, path)
        self._check(request, iter(path))
        return self._run(request, iter(path))

    def _decide(self, request: pb.TxnRequest, path: list[bool]) -> None:
        succeeded = compares(self._history, request.compare)
        path.append(succeeded)
        for op in request.success if succeeded else request.failure:
            if op.WhichOneof("request") == "request_txn":
                self._decide(op.request_txn, path)

    def _check(self, request: pb.TxnRequest, path: Iterable[bool]) -> None:
        path = iter(path)
        for op in request.success if next(path) else request.failure:
            kind = op.WhichOneof("request")
            if kind == "request_range":
                ranges.check_revision(self._history, op.request_range.revision, self._history.revision)
            elif kind == "request_put":
                self.check_put(op.request_put)
            elif kind == "request_txn":
                self._check(op.request_txn, path)

    def _run(self, request: pb.TxnRequest, path: Iterable[bool]) -> bytes:
        path = iter(path)
        succeeded = next(path)
        parts = [_SUCCEEDED] if succeeded else []
        for op in request.success if succeeded else request.failure:
            kind = op.WhichOneof("request")
            if kind == "request_range":
                field, answer = _OP_RANGE, ranges.body(self._history, op.request_range, self.revision)
            elif kind == "request_put":
                field, answer = _OP_PUT, self.put(op.request_put)
            elif kind == "request_delete_range":
                field, answer = _OP_DELETE, self.delete(op.request_delete_range)
            else:
                field, answer = _OP_TXN, self._run(op.request_txn, path)
            header = wire.message(b"\x0a", b"\x18" + wire.varint(self.revision))
            parts.append(wire.message(_RESPONSES, wire.message(field, header + answer)))
        return b"".join(parts)
