"""The replicated state machine: apply(command) gives an answer, and nothing else changes the store.

Pure and deterministic: no clock, no randomness, no I/O; every member that applies the same commands holds the same
keys, leases and alarms. Raft (etcd.raft) and the single-process store (etcd.local) are its callers; reads are
answered from it directly. Requests come as their protobuf bytes and answers leave as theirs, with this member's
header spliced in front (its ids are not part of the replicated state).
"""

from __future__ import annotations

import enum
import zlib

from google.protobuf.message import DecodeError

from argosy.pb import etcd_pb2 as pb
from etcd import errors, wire
from etcd import range as ranges
from etcd.compaction import check_compaction
from etcd.history import History
from etcd.lease import Leases
from etcd.txn import Writer, check_delete, check_put, check_txn


class Kind(enum.IntEnum):
    """What a command's bytes are. The numbers are in logs and snapshots on disk: never reuse one."""

    PUT = 1
    DELETE_RANGE = 2
    TXN = 3
    COMPACT = 4
    LEASE_GRANT = 5
    LEASE_REVOKE = 6
    ALARM = 7
    MEMBER = 8


class Machine:
    """Keys, leases and alarms of one member."""

    def __init__(self, cluster_id: int = 1, member_id: int = 1) -> None:
        self.history = History()
        self.leases = Leases()
        self.alarms: dict[tuple[int, int], None] = {}
        """(member id, AlarmType) pairs, in the order they were raised."""
        self.client_urls: dict[int, tuple[str, ...]] = {}
        """Where each member serves clients, as it told the others."""
        self.raft_term = 0
        self.cluster_id = cluster_id
        self.member_id = member_id
        self._identity = b"\x08" + wire.varint(cluster_id) + b"\x10" + wire.varint(member_id) + b"\x18"
        self._apply = {
            Kind.PUT: self._put,
            Kind.DELETE_RANGE: self._delete_range,
            Kind.TXN: self._txn,
            Kind.COMPACT: self._compact,
            Kind.LEASE_GRANT: self._lease_grant,
            Kind.LEASE_REVOKE: self._lease_revoke,
            Kind.ALARM: self._alarm,
            Kind.MEMBER: self._member,
        }

    def header(self, revision: int | None = None) -> bytes:
        """The `header` field, encoded, that every response begins with."""
        content = self._identity + wire.varint(self.history.revision if revision is None else revision)
        if self.raft_term:
            content += b"\x20" + wire.varint(self.raft_term)
        return wire.message(b"\x0a", content)

    def apply(self, kind: int, request: bytes) -> bytes:
        """Apply one command. Raises StoreError, and then nothing has changed."""
        handler = self._apply.get(kind)  # type: ignore[call-overload]  # an int that may be no Kind
        if handler is None:
            raise errors.StoreError(errors.UNIMPLEMENTED, f"etcdserver: unknown command kind {kind}")
        try:
            answer: bytes = handler(request)
        except DecodeError:
            raise errors.malformed("command") from None
        return answer

    def range(self, request: pb.RangeRequest) -> bytes:
        """Answer a read. Raises StoreError."""
        revision = self.history.revision
        return self.header(revision) + ranges.body(self.history, request, revision)

    def read_txn(self, request: pb.TxnRequest) -> bytes:
        """Answer a transaction that cannot write. Raises StoreError."""
        answer = Writer(self.history, self.leases).txn(request)
        return self.header() + answer

    def hash(self, revision: int) -> int:
        """CRC of all versions visible at or after the compacted revision, up to `revision`. Raises StoreError."""
        ranges.check_revision(self.history, revision, self.history.revision)
        until = revision if revision > 0 else self.history.revision
        checksum = zlib.crc32(b"%d" % self.history.compacted)
        for item in self.history.capture().items():
            if item.mod_revision <= until and (item.version or item.mod_revision > self.history.compacted):
                checksum = zlib.crc32(item.encoded, checksum)
        return checksum

    def _put(self, data: bytes) -> bytes:
        request = pb.PutRequest.FromString(data)
        check_put(request)
        writer = Writer(self.history, self.leases)
        writer.check_put(request)
        answer = writer.put(request)
        return self.header(writer.commit()) + answer

    def _delete_range(self, data: bytes) -> bytes:
        request = pb.DeleteRangeRequest.FromString(data)
        check_delete(request)
        writer = Writer(self.history, self.leases)
        answer = writer.delete(request)
        return self.header(writer.commit()) + answer

    def _txn(self, data: bytes) -> bytes:
        request = pb.TxnRequest.FromString(data)
        check_txn(request)
        writer = Writer(self.history, self.leases)
        answer = writer.txn(request)
        return self.header(writer.commit()) + answer

    def _compact(self, data: bytes) -> bytes:
        revision = pb.CompactionRequest.FromString(data).revision
        check_compaction(self.history, revision)
        self.history.compact(revision)
        return self.header()

    def _lease_grant(self, data: bytes) -> bytes:
        request = pb.LeaseGrantRequest.FromString(data)
        lease = self.leases.grant(request.ID, request.TTL)
        answer = pb.LeaseGrantResponse(ID=lease.id, TTL=lease.ttl_s).SerializeToString()
        return self.header() + answer

    def _lease_revoke(self, data: bytes) -> bytes:
        lease = self.leases.require(pb.LeaseRevokeRequest.FromString(data).ID)
        writer = Writer(self.history, self.leases)
        for key in sorted(lease.keys):
            writer.delete_key(key)
        self.leases.remove(lease.id)
        return self.header(writer.commit())

    def _alarm(self, data: bytes) -> bytes:
        request = pb.AlarmRequest.FromString(data)
        key = (request.memberID, int(request.alarm))
        if request.action == pb.AlarmRequest.ACTIVATE:
            self.alarms[key] = None
            changed = [key]
        else:
            changed = [
                alarm
                for alarm in self.alarms
                if (not request.memberID or alarm[0] == request.memberID)
                and (request.alarm == pb.NONE or alarm[1] == request.alarm)
            ]
            for alarm in changed:
                del self.alarms[alarm]
        return self.header() + alarm_body(changed)

    def _member(self, data: bytes) -> bytes:
        member = pb.Member.FromString(data)
        self.client_urls[member.ID] = tuple(member.clientURLs)
        return self.header()


def alarm_body(alarms: list[tuple[int, int]]) -> bytes:
    """An AlarmResponse without its header."""
    members = [pb.AlarmMember(memberID=member, alarm=pb.AlarmType.Name(alarm)) for member, alarm in alarms]
    return pb.AlarmResponse(alarms=members).SerializeToString()
