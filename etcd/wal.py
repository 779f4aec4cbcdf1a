"""The write-ahead log: Raft's entries on disk, and what makes an answer mean "durable".

It is the Journal that etcd.raft gives to pysyncobj. Entries live in memory and in segment files, which are filled
with zeros beforehand so that an append changes no metadata. `add` only buffers; `flush` hands everything buffered
to the writer as one group, which does one pwrite and one fdatasync, in a thread, or inline where the simulator
allows no threads. `durable` is the index up to which the disk has everything.

A record is `magic | length | crc | type, last-of-group, group, index, term | data`. After a crash the last group
may be torn: its remains are cut off and zeroed. A bad record that a later group follows was durable once, so it is
corruption: `WalCorrupt`, and the member refuses to serve. Term and vote stand in a file of two checksummed slots,
written and synced inline before `setCurrentTerm` returns, for an answer to a vote follows it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import overload

from argosy import logs
from argosy.host import Disk, File
from etcd.writers import Submit

log = logs.get("etcd.wal")

SEGMENT_BYTES = 8 << 20
MAX_BUFFERED_BYTES = 256 << 20

Entry = tuple[bytes, int, int]
"""Command, index, term: pysyncobj's shape."""

_MAGIC = b"\xa7gW1"
_HEAD = struct.Struct("<4sII")
_BODY = struct.Struct("<BBQQQ")
_RECORD_BYTES = _HEAD.size + _BODY.size
_SEGMENT = struct.Struct("<8sQQI")
_SEGMENT_MAGIC = b"ARGWAL01"
_ENTRY, _TRUNCATE, _CLEAR = 1, 2, 3
_SLOT_BYTES = 4096
_SLOT = struct.Struct("<4sIQQH")
_ZEROS = bytes(1 << 20)


class WalCorrupt(Exception):
    """The log on disk is damaged beyond a torn tail, or belongs to another cluster."""


class WalFailed(Exception):
    """The disk refused a write; the member must stop."""


@dataclass
class Segment:
    number: int
    path: str
    file: File
    capacity: int
    before: int
    """No entry of an earlier segment has a higher index."""


@dataclass
class _Record:
    kind: int
    last_of_group: bool
    group: int
    index: int
    term: int
    data: bytes
    size: int


class Wal:
    """See the module. Methods in camelCase are pysyncobj's Journal protocol. Use from one thread."""

    def __init__(
        self,
        disk: Disk,
        path: str,
        owner_id: int,
        submit: Submit,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        retain_bytes: int = 0,
    ) -> None:
        """Open or create the log in the directory `path`. Raises WalCorrupt and OSError.

        `retain_bytes` of entries are kept in front of a snapshot, for members that are a little behind.

        `submit(work, done)` runs disk work in order and calls `done` on the loop with what it raised, if anything.
        """
        self.durable = 0
        self.on_durable: Callable[[], None] = lambda: None
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self.committed: Callable[[], int] = lambda: 0
        """The commit index: what must never be cut off."""
        self.failed: BaseException | None = None
        self.since_snapshot_bytes = 0
        self.syncs = 0
        self._disk = disk
        self._path = path
        self._owner_id = owner_id
        self._submit = submit
        self._segment_bytes = segment_bytes
        self._retain_bytes = retain_bytes
        self._entries: list[Entry] = []
        self._segments: list[Segment] = []
        self._offset = 0
        self._group = 0
        self._epoch = 0
        self._buffer: list[tuple[int, int, int, bytes]] = []
        self._buffered_bytes = 0
        self._busy = False
        self._written_last = 0
        disk.makedirs(path)
        self._term, self._vote, self._slot = 0, "", 0
        self._vote_file = self._open_vote()
        self._load()
        self.durable = self.last_index

    # Reading

    @property
    def first_index(self) -> int:
        return self._entries[0][1] if self._entries else 0

    @property
    def last_index(self) -> int:
        return self._entries[-1][1] if self._entries else 0

    @property
    def last_term(self) -> int:
        return self._entries[-1][2] if self._entries else 0

    def term_at(self, index: int) -> int | None:
        """The term of an entry that the log holds."""
        at = index - self.first_index
        return self._entries[at][2] if 0 <= at < len(self._entries) else None

    @property
    def idle(self) -> bool:
        """Nothing buffered and nothing being written."""
        return not self._buffer and not self._busy

    @property
    def buffered(self) -> bool:
        """Something waits for `flush`, and the writer is free to take it."""
        return bool(self._buffer) and not self._busy

    def disk_bytes(self) -> int:
        return sum(segment.capacity for segment in self._segments)

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...
    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        return self._entries[at]

    def __len__(self) -> int:
        return len(self._entries)

    # Writing

    def add(self, command: bytes, index: int, term: int) -> None:
        command = bytes(command)
        self._entries.append((command, index, term))
        self._record(_ENTRY, index, term, command)

    def clear(self) -> None:
        self._entries.clear()
        self._cut(0)
        self._record(_CLEAR, 0, 0, b"")

    def deleteEntriesFrom(self, at: int) -> None:
        if at < len(self._entries):
            index = self._entries[at][1]
            if index <= self.committed():
                error = OSError(
                    f"a leader wants committed entries gone, from {index} on; the cluster is inconsistent"
                )
                self._fail(error)
                raise WalFailed(str(error))
            del self._entries[at:]
            self._cut(index - 1)
            self._record(_TRUNCATE, index, 0, b"")

    def deleteEntriesTo(self, at: int) -> None:
        """A durable snapshot covers everything before position `at`."""
        keep = at
        size = 0
        while keep > 0 and size + len(self._entries[keep - 1][0]) <= self._retain_bytes:
            keep -= 1
            size += len(self._entries[keep][0])
        del self._entries[:keep]
        self._drop_segments()

    def reset(self, entries: list[Entry]) -> None:
        """A snapshot replaces the whole log; durable on return. Raises OSError."""
        self.clear()
        for entry in entries:
            self.add(*entry)
        self.sync()

    def trim(self, index: int) -> None:
        """At start: the in-memory log begins at `index`, where the snapshot wants it."""
        at = index - self.first_index
        if at > 0:
            del self._entries[:at]

    def setCurrentTerm(self, term: int, vote: str | None) -> None:
        """Durable on return: an answer to the vote is sent next. Raises WalFailed."""
        self._term, self._vote, self._slot = term, vote or "", self._slot + 1
        name = self._vote.encode()
        content = struct.pack("<QQH", self._slot, term, len(name)) + name
        data = _MAGIC + struct.pack("<I", zlib.crc32(content)) + content
        try:
            self._vote_file.pwrite(data.ljust(_SLOT_BYTES, b"\0"), self._slot % 2 * _SLOT_BYTES)
            self._vote_file.datasync()
        except OSError as error:
            self._fail(error)
            raise WalFailed(f"term and vote cannot be stored: {error}") from error

    def getCurrentTerm(self) -> int:
        return self._term

    def getVotedForNodeId(self) -> str | None:
        return self._vote or None

    def setRaftCommitIndex(self, index: int) -> None:
        """Not stored: after a restart the leader tells."""

    def getRaftCommitIndex(self) -> int:
        return 1

    def onOneSecondTimer(self) -> None:
        """Nothing is done by time."""

    def _destroy(self) -> None:
        """Nothing: `close` is called by the owner."""

    def flush(self) -> None:
        """Hand what is buffered to the writer as one group; while it is busy, what comes joins the next group."""
        if not self._buffer or self._busy or self.failed is not None:
            return
        data, epoch, last = self._take()
        self._busy = True

        def done(error: BaseException | None) -> None:
            self._busy = False
            if error is not None:
                self._fail(error)
                return
            self._synced(epoch, last)
            self.flush()

        self._submit(lambda: self._write(data, last), done)

    def sync(self) -> None:
        """Write what is buffered, here and now. Only while the writer is idle. Raises OSError."""
        if self._buffer:
            data, epoch, last = self._take()
            self._write(data, last)
            self._synced(epoch, last)

    def close(self) -> None:
        """After the writer has stopped."""
        for segment in self._segments:
            segment.file.close()
        self._vote_file.close()

    def _synced(self, epoch: int, last: int) -> None:
        """A group is on disk; if the log was cut since, what was cut does not count."""
        self.syncs += 1
        if epoch == self._epoch and last > self.durable:
            self.durable = last
        self.on_durable()

    def _cut(self, last: int) -> None:
        self._epoch += 1
        self.durable = min(self.durable, last)

    def _record(self, kind: int, index: int, term: int, data: bytes) -> None:
        self._buffer.append((kind, index, term, data))
        self.since_snapshot_bytes += len(data) + _RECORD_BYTES
        self._buffered_bytes += len(data)
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            self._fail(OSError("the disk is too slow: too many bytes wait to be written"))

    def _take(self) -> tuple[bytes, int, int]:
        buffer, self._buffer = self._buffer, []
        self._buffered_bytes = 0
        self._group += 1
        parts: list[bytes] = []
        final = len(buffer) - 1
        for at, (kind, index, term, data) in enumerate(buffer):
            body = _BODY.pack(kind, at == final, self._group, index, term)
            parts += (_HEAD.pack(_MAGIC, len(data), zlib.crc32(data, zlib.crc32(body))), body, data)
        return b"".join(parts), self._epoch, self.last_index

    def _fail(self, error: BaseException) -> None:
        if self.failed is None:
            self.failed = error
            log.error("the write-ahead log failed; this member stops", error=error)
            self.on_failure(error)

    # On disk: called by the writer

    def _write(self, data: bytes, last: int) -> None:
        segment = self._segments[-1]
        if self._offset + len(data) > segment.capacity:
            segment = self._begin_segment(segment.number + 1, len(data))
        segment.file.pwrite(data, self._offset)
        segment.file.datasync()
        self._offset += len(data)
        self._written_last = max(self._written_last, last)

    def _begin_segment(self, number: int, need_bytes: int) -> Segment:
        """Zero-filled and durable before its name counts. Raises OSError (ENOSPC)."""
        capacity = max(self._segment_bytes, _SEGMENT.size + need_bytes)
        path = f"{self._path}/{number:016d}.wal"
        temporary = f"{self._path}/next.tmp"
        before = self._written_last
        file = self._disk.open(temporary, create=True)
        try:
            file.truncate(0)
            for offset in range(0, capacity, len(_ZEROS)):
                file.pwrite(_ZEROS[: capacity - offset], offset)
            head = struct.pack("<QQ", number, self._owner_id)
            file.pwrite(_SEGMENT_MAGIC + head + struct.pack("<I", zlib.crc32(head)), 0)
            file.datasync()
            self._disk.rename(temporary, path)
            self._disk.sync_dir(self._path)
        except BaseException:
            file.close()
            raise
        segment = Segment(number, path, file, capacity, before)
        self._segments.append(segment)
        self._offset = _SEGMENT.size
        return segment

    def _drop_segments(self) -> None:
        """Unlink segments whose entries all lie before the log's first; the last one stays."""
        while len(self._segments) > 1 and self._segments[1].before < self.first_index:
            segment = self._segments.pop(0)
            segment.file.close()
            try:
                self._disk.unlink(segment.path)
            except OSError as error:
                log.warning("cannot unlink a log segment", path=segment.path, error=error)
        self.since_snapshot_bytes = sum(len(entry[0]) for entry in self._entries)

    # Loading

    def _open_vote(self) -> File:
        path = f"{self._path}/vote"
        existed = self._disk.exists(path)
        file = self._disk.open(path, create=True)
        best = -1
        damaged = False
        for slot in (0, 1):
            data = file.pread(_SLOT_BYTES, slot * _SLOT_BYTES)
            if not data.strip(b"\0"):
                continue
            crc = struct.unpack_from("<I", data, 4)[0] if len(data) >= 26 else 0
            number, term, size = struct.unpack_from("<QQH", data, 8) if len(data) >= 26 else (0, 0, 0)
            if data[:4] != _MAGIC or zlib.crc32(data[8 : 26 + size]) != crc:
                damaged = True
            elif number > best:
                best = number
                self._term, self._vote, self._slot = term, data[26 : 26 + size].decode(), number
        if best < 0 and damaged:
            file.close()
            raise WalCorrupt(f"{path}: term and vote are unreadable")
        if not existed:
            file.pwrite(bytes(2 * _SLOT_BYTES), 0)
            file.datasync()
            self._disk.sync_dir(self._path)
        return file

    def _load(self) -> None:
        names = [name for name in self._disk.listdir(self._path) if name.endswith(".wal")]
        if not names:
            self._begin_segment(1, 0)
            return
        loader = _Loader(self._entries, int(names[0].partition(".")[0]))
        for at, name in enumerate(names):
            path = f"{self._path}/{name}"
            file = self._disk.open(path)
            size = file.size()
            data = file.pread(size, 0)
            number = self._check_segment(path, data)
            if self._segments and number != self._segments[-1].number + 1:
                raise WalCorrupt(f"{path}: segment {self._segments[-1].number + 1} is missing")
            self._segments.append(Segment(number, path, file, size, loader.high))
            self._offset = loader.read(path, data, _SEGMENT.size)
            if loader.torn and at < len(names) - 1:
                raise WalCorrupt(f"{path}: damaged at offset {self._offset}, and later segments follow")
            if loader.torn:
                self._erase_tail(file, size)
        self._group = loader.group or 0
        self._written_last = loader.high
        self.since_snapshot_bytes = sum(len(entry[0]) for entry in self._entries)

    def _check_segment(self, path: str, data: bytes) -> int:
        if len(data) < _SEGMENT.size or data[:8] != _SEGMENT_MAGIC:
            raise WalCorrupt(f"{path}: not a log segment")
        number, owner_id = struct.unpack_from("<QQ", data, 8)
        if zlib.crc32(data[8:24]) != struct.unpack_from("<I", data, 24)[0]:
            raise WalCorrupt(f"{path}: the segment's header is damaged")
        if owner_id != self._owner_id:
            raise WalCorrupt(f"{path}: written by another member or cluster ({owner_id:x}, not {self._owner_id:x})")
        return int(number)

    def _erase_tail(self, file: File, size: int) -> None:
        log.warning("the log's last write was torn by a crash; cutting it off", offset=self._offset)
        for offset in range(self._offset, size, len(_ZEROS)):
            file.pwrite(_ZEROS[: size - offset], offset)
        file.datasync()


class _Loader:
    """Replays segments into a list of entries, telling a torn tail from corruption."""

    def __init__(self, entries: list[Entry], first_segment: int) -> None:
        self._entries = entries
        self.group: int | None = 0 if first_segment == 1 else None
        """The last complete group; unknown before the first record of a log whose beginning was dropped."""
        self.high = 0
        """The highest index seen, also of entries cut off since."""
        self.torn = False

    def read(self, path: str, data: bytes, offset: int) -> int:
        """Replay one segment's complete groups; gives the offset behind the last. Raises WalCorrupt."""
        complete = offset
        pending: list[tuple[int, _Record]] = []
        while (record := _parse(data, offset)) is not None:
            expected = pending[0][1].group if pending else record.group if self.group is None else self.group + 1
            if self.torn or record.group != expected:
                raise WalCorrupt(f"{path}: the record at offset {offset} is out of order")
            pending.append((offset, record))
            offset += record.size
            if record.last_of_group:
                self.group = record.group
                for at, ready in pending:
                    self._replay(path, at, ready)
                pending.clear()
                complete = offset
        self._look_behind(path, data, complete)
        return complete

    def _look_behind(self, path: str, data: bytes, offset: int) -> None:
        """What stands behind the last complete group must be zeros or the remains of one torn group."""
        remains: int | None = None
        at = data.find(_MAGIC, offset)
        while at >= 0:
            record = _parse(data, at)
            if record is not None:
                torn = remains if self.group is None else self.group + 1
                if torn is not None and record.group != torn:
                    raise WalCorrupt(f"{path}: the record at offset {offset} is damaged, and later ones are not")
                remains = record.group
            at = data.find(_MAGIC, at + 1)
        if data[offset:].strip(b"\0"):
            self.torn = True

    def _replay(self, path: str, offset: int, record: _Record) -> None:
        entries = self._entries
        if record.kind == _CLEAR:
            entries.clear()
        elif record.kind == _TRUNCATE:
            if entries and record.index >= entries[0][1]:
                del entries[record.index - entries[0][1] :]
            else:
                entries.clear()
        elif record.kind == _ENTRY:
            if entries and record.index != entries[-1][1] + 1:
                raise WalCorrupt(f"{path}: entry {record.index} at offset {offset} follows {entries[-1][1]}")
            entries.append((record.data, record.index, record.term))
            self.high = max(self.high, record.index)
        else:
            raise WalCorrupt(f"{path}: unknown record type {record.kind} at offset {offset}")


def _parse(data: bytes, offset: int) -> _Record | None:
    if offset + _RECORD_BYTES > len(data):
        return None
    magic, size, crc = _HEAD.unpack_from(data, offset)
    end = offset + _RECORD_BYTES + size
    if magic != _MAGIC or end > len(data):
        return None
    start = offset + _HEAD.size
    if zlib.crc32(memoryview(data)[start:end]) != crc:
        return None
    kind, last, group, index, term = _BODY.unpack_from(data, start)
    return _Record(kind, bool(last), group, index, term, data[start + _BODY.size : end], end - offset)
