"""Snapshots of the state machine: written by a thread at a fixed revision, sent to members that lag, loaded at start.

A snapshot file is a row of checksummed frames: a head with the Raft position, revision, leases and alarms, then the
key versions in revision order, then an end mark. It counts once it is synced, renamed and its directory synced;
only then may log segments go. `Snapshots` is what etcd.raft gives to pysyncobj in place of its Serializer (the
camelCase methods are that protocol), so nothing is forked or unpickled.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import cast

import msgspec
from google.protobuf.message import DecodeError

from argosy import logs
from argosy.host import Disk, File
from etcd.compaction import Dropper
from etcd.history import Capture, Item
from etcd.machine import Machine
from etcd.wal import Entry
from etcd.writers import Submit

log = logs.get("etcd.snapshot")

CHUNK_BYTES = 256 << 10
_FRAME = struct.Struct("<II")
_MAX_FRAME_BYTES = 64 << 20
_NOT_SERIALIZING, _SERIALIZING, _SUCCESS, _FAILED = 0, 1, 2, 3


class SnapshotCorrupt(Exception):
    """A snapshot file that cannot be trusted."""


class Head(msgspec.Struct, array_like=True):
    """The first frame."""

    format: int
    cluster_id: int
    last: Entry
    prev: Entry
    revision: int
    compacted: int
    leases: list[tuple[int, int]]
    alarms: list[tuple[int, int]]
    client_urls: list[tuple[int, tuple[str, ...]]]


class End(msgspec.Struct, array_like=True):
    """The last frame."""

    items: int


class Loaded:
    """A snapshot read and checked."""

    def __init__(self, head: Head, items: list[Item]) -> None:
        self.head = head
        self.items = items

    def restore(self, machine: Machine) -> None:
        """Replace the machine's state. Raises ValueError on items out of order."""
        head = self.head
        machine.history.restore(head.revision, head.compacted, self.items)
        attached = [(item.key, item.lease) for item in machine.history.current.values() if item.lease]
        machine.leases.restore(head.leases, attached)
        machine.alarms = dict.fromkeys(head.alarms)
        machine.client_urls = dict(head.client_urls)


def read(disk: Disk, path: str, cluster_id: int) -> Loaded:
    """Read a snapshot file. Raises SnapshotCorrupt, FileNotFoundError, OSError."""
    file = disk.open(path)
    try:
        frames = _frames(path, file)
        try:
            head = msgspec.msgpack.decode(next(frames), type=Head)
            if head.format != 1 or head.cluster_id != cluster_id:
                raise SnapshotCorrupt(f"{path}: of another format or cluster ({head.format}, {head.cluster_id:x})")
            items: list[Item] = []
            for frame in frames:
                if frame[:1] == b"\x91":
                    if msgspec.msgpack.decode(frame, type=End).items != len(items):
                        raise SnapshotCorrupt(f"{path}: items are missing")
                    return Loaded(head, items)
                items.extend(map(Item.decode, msgspec.msgpack.decode(frame, type=tuple[int, list[bytes]])[1]))
        except (msgspec.DecodeError, DecodeError, StopIteration) as error:
            raise SnapshotCorrupt(f"{path}: {error}") from None
        raise SnapshotCorrupt(f"{path}: cut short")
    finally:
        file.close()


def _frames(path: str, file: File) -> Iterator[bytes]:
    offset = 0
    size = file.size()
    while offset < size:
        head = file.pread(_FRAME.size, offset)
        length, crc = _FRAME.unpack(head) if len(head) == _FRAME.size else (0, 0)
        data = file.pread(length, offset + _FRAME.size) if length <= _MAX_FRAME_BYTES else b""
        if not length or len(data) != length or zlib.crc32(data) != crc:
            raise SnapshotCorrupt(f"{path}: the frame at offset {offset} is damaged")
        yield data
        offset += _FRAME.size + length


def write(disk: Disk, path: str, head: Head, capture: Capture) -> int:
    """Write and sync a snapshot file; gives its size. Raises OSError."""
    file = disk.open(path, create=True)
    try:
        file.truncate(0)
        offset = _append(file, 0, msgspec.msgpack.encode(head))
        count = size = 0
        batch: list[bytes] = []
        for item in capture.items():
            batch.append(item.encoded)
            size += len(item.encoded)
            count += 1
            if size >= CHUNK_BYTES:
                offset = _append(file, offset, msgspec.msgpack.encode((0, batch)))
                batch, size = [], 0
        if batch:
            offset = _append(file, offset, msgspec.msgpack.encode((0, batch)))
        offset = _append(file, offset, msgspec.msgpack.encode(End(count)))
        file.datasync()
        return offset
    finally:
        file.close()


def _append(file: File, offset: int, data: bytes) -> int:
    file.pwrite(_FRAME.pack(len(data), zlib.crc32(data)) + data, offset)
    return offset + _FRAME.size + len(data)


class Snapshots:
    """The snapshot on disk, the one being written, and those on their way to or from other members."""

    def __init__(
        self, disk: Disk, path: str, cluster_id: int, machine: Machine, dropper: Dropper, submit: Submit
    ) -> None:
        """`path` is a directory of its own. `submit` runs work in a thread, or inline."""
        self.congested: Callable[[object], bool] = lambda node: False
        self.applied: Callable[[], int] = lambda: 0
        self.on_restored: Callable[[], None] = lambda: None
        self.cluster: set[object] = set()
        self.size_bytes = 0
        self._disk = disk
        self._directory = path
        self._file = f"{path}/snapshot"
        self._cluster_id = cluster_id
        self._machine = machine
        self._dropper = dropper
        self._submit = submit
        self._state = _NOT_SERIALIZING
        self._id = 0
        self._generation = 0
        self._loaded: Loaded | None = None
        self._outgoing: dict[object, tuple[File, int]] = {}
        self._incoming: tuple[File, int] | None = None
        disk.makedirs(path)

    def load(self) -> Head | None:
        """At start: restore the machine; None without a snapshot. Raises SnapshotCorrupt, OSError."""
        for name in self._disk.listdir(self._directory):
            if name.endswith(".tmp"):
                self._disk.unlink(f"{self._directory}/{name}")
        if not self._disk.exists(self._file):
            return None
        loaded = self._loaded = read(self._disk, self._file, self._cluster_id)
        self._restore(loaded)
        return loaded.head

    # pysyncobj's Serializer

    @property
    def is_idle(self) -> bool:
        """None is being made, and none was made that `checkSerializing` has yet to tell of."""
        return self._state == _NOT_SERIALIZING

    def checkSerializing(self) -> tuple[int, int]:
        state = self._state
        if state in (_SUCCESS, _FAILED):
            self._state = _NOT_SERIALIZING
        return state, self._id

    def serialize(self, data: tuple[object, Entry, Entry, object], snapshot_id: int) -> None:
        """Called inside a tick, when exactly the entries up to data[1] are applied."""
        if self._state == _SERIALIZING:
            return
        machine = self._machine
        history = machine.history
        _, last, prev, _ = data
        leases = [(lease.id, lease.ttl_s) for lease in machine.leases.all()]
        capture = history.capture()
        head = Head(
            format=1,
            cluster_id=self._cluster_id,
            last=last,
            prev=prev,
            revision=history.revision,
            compacted=history.compacted,
            leases=leases,
            alarms=list(machine.alarms),
            client_urls=list(machine.client_urls.items()),
        )
        self._state = _SERIALIZING
        self._id = snapshot_id
        generation = self._generation
        temporary = f"{self._directory}/writing.tmp"
        self._dropper.pause()

        def work() -> None:
            write(self._disk, temporary, head, capture)

        def done(error: BaseException | None) -> None:
            self._dropper.resume()
            self._state = _FAILED
            if error is None and generation == self._generation:
                try:
                    self._publish(temporary)
                    self._state = _SUCCESS
                    log.debug("snapshot written", index=head.last[1], bytes=self.size_bytes)
                except OSError as caught:
                    error = caught
            if error is not None:
                log.error("cannot write a snapshot", error=error)

        self._submit(work, done)

    def deserialize(self) -> tuple[None, Entry, Entry, set[object]]:
        """pysyncobj wants the snapshot that `load` or `setTransmissionData` has just checked."""
        loaded = self._loaded
        assert loaded is not None
        self._loaded = None
        head = loaded.head
        return None, head.last, head.prev, self.cluster

    def getTransmissionData(self, node: object) -> tuple[bytes, bool, bool] | None:
        """The next piece for a member that lags; None while it cannot take more."""
        if self._state == _SERIALIZING or self.congested(node) or not self._disk.exists(self._file):
            return None
        found = self._outgoing.get(node)
        file, offset = found if found is not None else (self._disk.open(self._file), 0)
        data = file.pread(CHUNK_BYTES, offset)
        self._outgoing[node] = (file, offset + len(data))
        if not data:
            self.cancelTransmisstion(node)
        return data, offset == 0, not data

    def cancelTransmisstion(self, node: object) -> None:
        found = self._outgoing.pop(node, None)
        if found is not None:
            found[0].close()

    def setTransmissionData(self, data: tuple[bytes, bool, bool] | None) -> bool:
        """A piece arrived; True when it was the last, and the snapshot is sound, durable and newer than our state."""
        if data is None:
            return False
        piece, first, last = data
        path = f"{self._directory}/incoming.tmp"
        try:
            if first:
                self._drop_incoming()
                file = self._disk.open(path, create=True)
                file.truncate(0)
                self._incoming = (file, 0)
            if self._incoming is None:
                return False
            file, offset = self._incoming
            if piece:
                file.pwrite(piece, offset)
                self._incoming = (file, offset + len(piece))
            if not last:
                return False
            file.datasync()
            self._drop_incoming()
            return self._accept(path)
        except (OSError, SnapshotCorrupt) as error:
            log.error("cannot take the leader's snapshot", error=error)
            self._drop_incoming()
            return False

    def _accept(self, path: str) -> bool:
        loaded = read(self._disk, path, self._cluster_id)
        if loaded.head.last[1] <= self.applied():
            return False
        self._generation += 1
        self._publish(path)
        log.info("took a snapshot from the leader", index=loaded.head.last[1], revision=loaded.head.revision)
        self._loaded = loaded
        self._restore(loaded)
        return True

    def _restore(self, loaded: Loaded) -> None:
        try:
            loaded.restore(self._machine)
        except ValueError as error:
            raise SnapshotCorrupt(str(error)) from None
        self.on_restored()

    def _publish(self, path: str) -> None:
        self._disk.rename(path, self._file)
        self._disk.sync_dir(self._directory)
        file = self._disk.open(self._file)
        self.size_bytes = file.size()
        file.close()
        for node in list(self._outgoing):
            self.cancelTransmisstion(node)

    def _drop_incoming(self) -> None:
        if self._incoming is not None:
            self._incoming[0].close()
            self._incoming = None


def position(head: Head) -> list[Entry]:
    """The two log entries that a log over this snapshot begins with."""
    return [cast(Entry, tuple(head.prev)), cast(Entry, tuple(head.last))]
