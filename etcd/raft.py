"""Consensus: pysyncobj's election and commit rules, with everything unsafe around them replaced. Its only importer.

Stock pysyncobj loses acknowledged writes when killed, diverges when messages are resent, and unpickles what the
network sends. Here its journal is etcd.wal, its serializer etcd.snapshot, its transport the one below, and its
module globals for time, randomness and pickle are exchanged. The transport holds what makes it safe:

- a follower's "success" waits until its log is on disk, and carries the term it was made in; a leader drops those
  of other terms and parks those beyond its own durable index, so that a commit is on disk at a majority;
- entries that a follower has already with the same term are stripped from the message, for pysyncobj would cut off
  everything behind the first one, acknowledged or not; what is left either conflicts or is new;
- the commit index of a message never goes beyond the entries that the message itself vouches for.

And what makes it cheaper: a follower says once what it has, and again only as its leader would miss it for a sign of
life, so that the notice of a commit is not answered.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pysyncobj.syncobj as library
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from argosy import logs
from argosy.host import Clock, Host, Rng
from etcd import messages
from etcd.snapshot import Snapshots
from etcd.wal import Wal, WalFailed

log = logs.get("etcd.raft")

SUCCESS = 0
DENIED = 6
NEVER_APPENDED = (1, 2, 4, 6)
"""Queue full, no leader, not leader, denied: such a command was not logged anywhere and may be tried again."""
MAX_COMMAND_BYTES = 4 << 20
_BATCH_BYTES = 8 << 20
_NEVER = 1 << 60
_FOLLOWER = 0
"""pysyncobj's _RAFT_STATE.FOLLOWER."""

Callback = Callable[[Any, int], None]


class _NoPickle:
    """Commands are bytes for the one replicated method; nothing is ever unpickled."""

    @staticmethod
    def loads(data: bytes) -> tuple[int, tuple[bytes]]:
        return 0, (data,)

    @staticmethod
    def dumps(value: object) -> bytes:
        raise RuntimeError("pickle is not used here")


class _NoSockets:
    """pysyncobj's poller has no sockets to look after, and would ask the system about them at every tick."""

    def poll(self, timeout_s: float) -> None:
        """Nothing came."""


class _Random:
    def __init__(self, rng: Rng) -> None:
        self.random = rng.random


class _SnapshotPath(str):
    """What pysyncobj takes for the dump's file name; it only asks whether such a file exists."""

    snapshots: Snapshots


def _serializer(path: _SnapshotPath, *unused: object) -> Snapshots:
    return path.snapshots


def _exchange_globals(host: Host) -> None:
    library.createJournal = lambda journal: journal
    library.Serializer = _serializer
    library.pickle = _NoPickle
    library.PIPE_NOTIFIER_ENABLED = False
    library.monotonicTime = host.clock.monotonic
    library.random = _Random(host.rng)


class Member(Node):  # type: ignore[misc]  # pysyncobj ships no types
    """A node whose hash does not depend on PYTHONHASHSEED, for sets of them are iterated."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._hash = zlib.crc32(name.encode())

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Member) and self.id == other.id


class _Machine(SyncObj):  # type: ignore[misc]
    """pysyncobj's object; its one replicated method hands a command on."""

    apply_command: Callable[[bytes], object]

    @replicated  # type: ignore[untyped-decorator]
    def apply(self, data: bytes) -> object:
        return self.apply_command(data)


class _Transport(Transport):  # type: ignore[misc]
    """See the module."""

    def __init__(
        self, wal: Wal, snapshots: Snapshots, send: Callable[[str, bytes], bool], clock: Clock, silence_s: float
    ) -> None:
        """A follower repeats itself no sooner than after `silence_s`."""
        super().__init__(None, None, None)
        self.raft: Any = None
        self._clock = clock
        self._silence_s = silence_s
        self._said: tuple[str, int, int] = ("", 0, 0)
        """To whom, in which term and up to where success was answered last."""
        self._said_s = 0.0
        self._wal = wal
        self._snapshots = snapshots
        self._send = send
        self.refuses_until_s = 0.0
        """As leader, commands of others are denied until then: a transfer is under way."""
        self._held: list[tuple[str, dict[str, Any]]] = []
        self._parked: dict[str, messages.NextNodeIdx] = {}
        self._vouched: int | None = None

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        """Called by pysyncobj."""
        if self._wal.failed is not None:
            return False
        if message["type"] == "next_node_idx":
            if self._vouched is not None:
                message["next_node_idx"] = min(message["next_node_idx"], self._vouched + 1)
            message["term"] = self.raft.raftCurrentTerm
            undurable = message["success"] and message["next_node_idx"] - 1 > self._wal.durable
            if undurable or self._held:
                self._held.append((node.id, message))
                return True
            if self._repeats(node.id, message):
                return True
        return self._send(node.id, messages.encode(messages.from_raft(message)))

    @property
    def refuses(self) -> bool:
        return self._clock.monotonic() < self.refuses_until_s and self.raft._isLeader()

    def _repeats(self, peer: str, message: dict[str, Any]) -> bool:
        """Whether the leader was told just this, and lately."""
        said = (peer, message["term"], message["next_node_idx"]) if message["success"] else ("", 0, 0)
        now = self._clock.monotonic()
        if message["success"] and said == self._said and now - self._said_s < self._silence_s:
            return True
        self._said, self._said_s = said, now
        return False

    def durable(self) -> None:
        """The log's durable index rose: answer and count what waited for it."""
        durable = self._wal.durable
        ready = 0
        for _, message in self._held:
            if message["success"] and message["next_node_idx"] - 1 > durable:
                break
            ready += 1
        released, self._held = self._held[:ready], self._held[ready:]
        for peer, message in released:
            self._repeats(peer, message)
            self._send(peer, messages.encode(message))
        for peer in list(self._parked):
            self.receive(Member(peer), self._parked.pop(peer))

    def receive(self, node: Member, message: messages.Any) -> None:
        raft = self.raft
        if isinstance(message, messages.NextNodeIdx):
            if message.term != raft.raftCurrentTerm:
                return
            if message.success and message.next_node_idx - 1 > self._wal.durable:
                parked = self._parked.get(node.id)
                if parked is None or parked.term != message.term or parked.next_node_idx < message.next_node_idx:
                    self._parked[node.id] = message
                return
        if isinstance(message, messages.ApplyCommand) and self.refuses:
            denied = messages.ApplyCommandResponse(message.request_id, error=DENIED)
            self._send(node.id, messages.encode(denied))
            return
        decoded = messages.to_raft(message)
        self._vouched = None
        if isinstance(message, messages.AppendEntries) and message.term >= raft.raftCurrentTerm:
            self._strip(decoded)
        elif isinstance(message, messages.Install) and message.term >= raft.raftCurrentTerm:
            decoded["commit_index"] = min(message.commit_index, raft.raftCommitIndex)
            alive = messages.NextNodeIdx(message.term, 0, False, False)
            self._send(node.id, messages.encode(alive))
        try:
            self._onMessageReceived(node, decoded)
        finally:
            self._vouched = None

    def _strip(self, message: dict[str, Any]) -> None:
        """Leave only entries that conflict with ours or are new, and clamp the commit index."""
        wal = self._wal
        previous, entries = message["prevLogIdx"], message["entries"]
        vouched = entries[-1][1] if entries else previous
        if vouched is None:
            return
        message["commit_index"] = min(message["commit_index"], vouched)
        if previous is None or wal.term_at(previous) != message["prevLogTerm"]:
            return
        same = 0
        while same < len(entries) and wal.term_at(entries[same][1]) == entries[same][2]:
            same += 1
        if same == len(entries):
            message["entries"] = []
            message["prevLogIdx"], message["prevLogTerm"] = wal.last_index, wal.last_term
            self._vouched = vouched
        elif same:
            message["entries"] = entries[same:]
            message["prevLogIdx"], message["prevLogTerm"] = entries[same - 1][1], entries[same - 1][2]

    def connected(self, node: Member) -> None:
        self._onNodeConnected(node)

    def disconnected(self, node: Member) -> None:
        self._parked.pop(node.id, None)
        self._said = ("", 0, 0)
        self._held = [(peer, message) for peer, message in self._held if peer != node.id]
        self._onNodeDisconnected(node)


class Raft:
    """One member's consensus. Every method is to be called on the event loop; `tick` by the owner's timer."""

    def __init__(
        self,
        host: Host,
        name: str,
        names: list[str],
        heartbeat_s: float,
        wal: Wal,
        snapshots: Snapshots,
        has_snapshot: bool,
        apply: Callable[[bytes], object],
        send: Callable[[str, bytes], bool],
        on_role: Callable[[], None],
    ) -> None:
        """The log and the snapshot's state must be loaded and fit. `on_role` follows every change of role.

        With other members `tick` is to be called every `heartbeat_s`, and when `due`.
        """
        _exchange_globals(host)
        self.name = name
        self.single = len(names) == 1
        self._wal = wal
        self._snapshots = snapshots
        self._nodes = {other: Member(other) for other in names}
        self._transport = _Transport(wal, snapshots, send, host.clock, heartbeat_s / 2)
        path = _SnapshotPath(__file__ if has_snapshot else "")
        path.snapshots = snapshots
        fast = {"appendEntriesPeriod": 0.01, "raftMinTimeout": 0.04, "raftMaxTimeout": 0.05}
        beat = heartbeat_s
        usual = {"appendEntriesPeriod": 0.9 * beat, "raftMinTimeout": 6 * beat, "raftMaxTimeout": 13 * beat}
        conf = SyncObjConf(
            autoTick=False,
            journalFile=wal,
            fullDumpFile=path,
            appendEntriesUseBatch=False,
            appendEntriesBatchSizeBytes=_BATCH_BYTES,
            logCompactionMinEntries=_NEVER,
            logCompactionMinTime=_NEVER,
            leaderFallbackTimeout=20 * beat,
            connectionTimeout=20 * beat,
            commandsWaitLeader=False,
            commandsQueueSize=256,
            onStateChanged=lambda old, new: on_role(),
            **(fast if self.single else usual),
        )
        others = [node for other, node in self._nodes.items() if other != name]
        self._clock = host.clock
        self._transfer_s = conf.raftMaxTimeout
        self._target = ""
        self._denied: list[Callback] = []
        self._raft = _Machine(self._nodes[name], others, conf, transport=self._transport)
        self._raft.apply_command = apply
        self._raft._poller = _NoSockets()
        self._transport.raft = self._raft
        wal.committed = lambda: int(self._raft.raftCommitIndex)
        snapshots.applied = lambda: int(self._raft.raftLastApplied)
        snapshots.cluster = set(self._nodes.values())

    @property
    def term(self) -> int:
        return int(self._raft.raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        return int(self._raft.raftCommitIndex)

    @property
    def applied_index(self) -> int:
        return int(self._raft.raftLastApplied)

    @property
    def is_leader(self) -> bool:
        return bool(self._raft._isLeader())

    @property
    def leader(self) -> str:
        """The last known leader's name; empty when there is none."""
        node = self._raft._getLeader()
        return "" if node is None else str(node.id)

    @property
    def term_is_committed(self) -> bool:
        """Whether an entry of the current term is committed: only then a leader knows what is."""
        return self._wal.term_at(self.commit_index) == self.term

    @property
    def due(self) -> bool:
        """Whether a tick would do more now than watch the clock."""
        raft, wal = self._raft, self._wal
        commit = raft.raftCommitIndex
        return bool(wal.buffered or raft.raftLastApplied < commit or (wal.last_index > commit and raft._isLeader()))

    def tick(self) -> None:
        """One step of Raft, then the log to disk. A single member steps only while its log is on disk."""
        if self._wal.failed is not None:
            return
        denied, self._denied = self._denied, []
        for callback in denied:
            callback(None, DENIED)
        if self.single and not self._wal.idle:
            self._wal.flush()
            return
        if not self._follows_idly:
            try:
                self._raft.doTick(0)
            except WalFailed as error:
                log.error("raft stopped", error=error)
                return
        self._wal.flush()

    @property
    def _follows_idly(self) -> bool:
        """Whether pysyncobj's tick would find nothing: a follower mostly waits, or has a log to write."""
        raft = self._raft
        return bool(
            raft._SyncObj__raftState == _FOLLOWER
            and self._clock.monotonic() <= raft._SyncObj__raftElectionDeadline
            and raft.raftLastApplied == raft.raftCommitIndex
            and not raft._SyncObj__forceLogCompaction
            and not raft._SyncObj__needLoadDumpFile
            and self._snapshots.is_idle
            and not raft._SyncObj__commandsQueue._FastQueue__queue
        )

    def durable(self) -> None:
        self._transport.durable()

    def propose(self, command: bytes, callback: Callback) -> None:
        """`callback(results, 0)` once applied here, `callback(None, reason)` on failure, or never."""
        assert len(command) <= MAX_COMMAND_BYTES
        if self._transport.refuses:
            self._denied.append(callback)
            return
        self._raft._applyCommand(command, callback, 0)

    def receive(self, peer: str, message: messages.Any) -> None:
        """A Raft message from a peer."""
        if self._wal.failed is not None:
            return
        try:
            self._transport.receive(self._nodes[peer], message)
        except WalFailed as error:
            log.error("raft stopped", error=error)

    def connected(self, peer: str) -> None:
        self._transport.connected(self._nodes[peer])

    def disconnected(self, peer: str) -> None:
        self._transport.disconnected(self._nodes[peer])

    def compact(self) -> None:
        """Take a snapshot at the next tick."""
        self._raft.forceLogCompaction()

    def transfer(self, peer: str) -> bool:
        """Ask a member to take over; False when it is not caught up. To be called until another leads, then `resume`.

        From the first call on commands are denied, so that the member can catch up and its log stays new enough to be
        elected, but for no longer than an election would take (Raft dissertation 3.10).
        """
        if peer != self._target:
            self._target = peer
            self._transport.refuses_until_s = self._clock.monotonic() + self._transfer_s
            return False
        reasons: list[int] = []
        self._raft.transferLeadership(self._nodes[peer], lambda _, reason: reasons.append(reason))
        return reasons == [SUCCESS]

    def resume(self) -> None:
        """The transfer is over, whether it came to anything or not."""
        self._target = ""
        self._transport.refuses_until_s = 0.0

    def status(self) -> Mapping[str, object]:
        return dict(self._raft.getStatus())
