"""The store's errors: etcd's codes and messages (upstream api/v3rpc/rpctypes/error.go).

The state machine raises them without knowing the wire; the services translate them (etcd.service.common).
"""

from __future__ import annotations

INVALID_ARGUMENT = 3
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15


class StoreError(Exception):
    """A request that the store refuses; `code` is gRPC's number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def empty_key() -> StoreError:
    return StoreError(INVALID_ARGUMENT, "etcdserver: key is not provided")


def key_not_found() -> StoreError:
    return StoreError(INVALID_ARGUMENT, "etcdserver: key not found")


def value_provided() -> StoreError:
    return StoreError(INVALID_ARGUMENT, "etcdserver: value is provided")


def lease_provided() -> StoreError:
    return StoreError(INVALID_ARGUMENT, "etcdserver: lease is provided")


def too_many_ops() -> StoreError:
    return StoreError(INVALID_ARGUMENT, "etcdserver: too many operations in txn request")


def duplicate_key() -> StoreError:
    return StoreError(INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")


def invalid_sort() -> StoreError:
    return StoreError(INVALID_ARGUMENT, "etcdserver: invalid sort option")


def too_large() -> StoreError:
    return StoreError(INVALID_ARGUMENT, "etcdserver: request is too large")


def malformed(what: str) -> StoreError:
    return StoreError(INTERNAL, f"grpc: error unmarshalling request: malformed {what}")


def compacted() -> StoreError:
    return StoreError(OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")


def future_revision() -> StoreError:
    return StoreError(OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")


def no_space() -> StoreError:
    return StoreError(RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")


def too_many_requests() -> StoreError:
    return StoreError(RESOURCE_EXHAUSTED, "etcdserver: too many requests")


def lease_not_found() -> StoreError:
    return StoreError(NOT_FOUND, "etcdserver: requested lease not found")


def lease_exists() -> StoreError:
    return StoreError(FAILED_PRECONDITION, "etcdserver: lease already exists")


def lease_ttl_too_large() -> StoreError:
    return StoreError(OUT_OF_RANGE, "etcdserver: too large lease TTL")


def member_not_found() -> StoreError:
    return StoreError(NOT_FOUND, "etcdserver: member not found")


def no_leader() -> StoreError:
    return StoreError(UNAVAILABLE, "etcdserver: no leader")


def leader_changed() -> StoreError:
    return StoreError(UNAVAILABLE, "etcdserver: leader changed")


def not_leader() -> StoreError:
    return StoreError(FAILED_PRECONDITION, "etcdserver: not leader")


def timed_out() -> StoreError:
    return StoreError(UNAVAILABLE, "etcdserver: request timed out")


def stopped() -> StoreError:
    return StoreError(UNAVAILABLE, "etcdserver: server stopped")


def corrupt() -> StoreError:
    return StoreError(DATA_LOSS, "etcdserver: corrupt cluster")
