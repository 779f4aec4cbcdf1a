"""One member of the store: state machine, log, consensus, links and services, put together and kept running.

`Member.run` is what `python -m etcd` runs, and the simulator with other seams: links over `argosy.rpc` instead of
TCP, and disk work inline instead of in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from argosy import logs
from argosy.host import Clock, Host, Rng
from argosy.pb import etcd_pb2 as pb
from argosy.rpc import Network, Server, Tls
from etcd import batch, errors, messages, service
from etcd.compaction import Dropper
from etcd.config import Config
from etcd.errors import StoreError
from etcd.lease import LeaseClock
from etcd.machine import Kind, Machine
from etcd.raft import NEVER_APPENDED, Raft
from etcd.reads import TIMEOUT_S, AppliedWaiters, Quorum, Rounds
from etcd.service.common import MemberInfo
from etcd.snapshot import Head, Snapshots, position
from etcd.transport import Peers, TcpPeers, TlsFiles
from etcd.wal import Wal, WalCorrupt, WalFailed
from etcd.watch import WatchHub
from etcd.writers import LoopWriter, Submit, ThreadWriter

log = logs.get("etcd.member")

SINGLE_TICK_S = 0.05
SWEEP_S = 0.25
ROUND_RETRY_S = 0.5
LEADER_RETRY_S = 0.02
HAND_OVER_S = 0.5


class Member:
    """See the module. It is the `Store` that the services stand on."""

    def __init__(
        self,
        config: Config,
        host: Host,
        network: Network,
        peers: Peers | None = None,
        *,
        writer: Callable[[], ThreadWriter | LoopWriter] | None = None,
    ) -> None:
        """`writer` makes who does disk work, a thread each by default.

        Raises ValueError on contradictory flags, OSError and ssl.SSLError on bad TLS files."""
        self.config = config
        self.machine = Machine(config.cluster_id(), config.member_id(config.name))
        self.hub = WatchHub(self.machine.history, self.machine.header)
        self.dropper = Dropper(self.machine.history)
        self.server: Server | None = None
        self.raft: Raft
        self._host = host
        self._network = network
        self._addresses = config.addresses()
        self._names = {config.member_id(name): name for name in self._addresses}
        self._tls = Tls.load(config.ca, config.certificate, config.key) if config.ca else None
        self._peers = peers if peers is not None else self._tcp_peers()
        self._make_writer = writer or (lambda: ThreadWriter(asyncio.get_running_loop().call_soon_threadsafe))
        self._writers: list[ThreadWriter | LoopWriter] = []
        self._ending = asyncio.Event()
        """No new commands: the member hands over and goes."""
        self._stop = asyncio.Event()
        """Nothing is processed any more."""
        self._failure: BaseException | None = None
        self._leases = LeaseClock(self.machine.leases)
        self._batcher = batch.Batcher(self._submit, self._has_leader, NEVER_APPENDED)
        self._quorum = Quorum(len(self._addresses))
        self._rounds = Rounds(self._begin_round)
        self._round_index = 0
        self._applied = AppliedWaiters()
        self._asks: dict[int, asyncio.Future[int]] = {}
        self._ask_number = 0
        self._ticking = False
        self._was_leader = False
        self._leader = ""
        self._announced = False
        self._space_alarm: bool | None = None
        """Whether a NOSPACE alarm is ours to clear: raised by us, or found at start."""
        self._background: dict[asyncio.Task[None], None] = {}

    @property
    def clock(self) -> Clock:
        return self._host.clock

    @property
    def rng(self) -> Rng:
        return self._host.rng

    # Life

    async def run(self) -> None:
        """Until `stop` or cancellation. Raises WalCorrupt, SnapshotCorrupt, WalFailed, OSError."""
        loop = asyncio.get_running_loop()
        try:
            self._open()
            await self._peers.start(self._receive, self._link_up, self._link_down)
            self.server = await self._network.serve(self.config.listen_client, service.methods(self), self._tls)
            log.info("serving", name=self.config.name, clients=self.server.address, members=len(self._addresses))
            next_sweep = loop.time()
            next_progress = loop.time() + self.config.progress_notify_s
            tick_s = SINGLE_TICK_S if self.raft.single else self.config.heartbeat_interval_s
            while not self._ending.is_set():
                self._tick_soon()
                if loop.time() >= next_sweep:
                    next_sweep = loop.time() + SWEEP_S
                    self._sweep()
                if loop.time() >= next_progress:
                    next_progress = loop.time() + self.config.progress_notify_s
                    self.hub.progress_tick()
                await asyncio.sleep(tick_s)
            await self._hand_over()
            if self._failure is not None:
                raise WalFailed(str(self._failure)) from self._failure
        finally:
            await self._close()

    def stop(self) -> None:
        """End `run` cleanly; a leader hands over first."""
        self._ending.set()

    def _open(self) -> None:
        config, disk = self.config, self._host.disk
        disk.makedirs(config.data_dir)
        for folder in ("wal", "snapshot"):
            disk.makedirs(f"{config.data_dir}/{folder}")
        disk.sync_dir(config.data_dir)
        submit = self._writer()
        self._wal = Wal(
            disk,
            f"{config.data_dir}/wal",
            config.owner_id(),
            submit,
            segment_bytes=config.segment_bytes,
            retain_bytes=config.retain_bytes,
        )
        self._wal.on_durable = self._durable
        self._wal.on_failure = self._fail
        path = f"{config.data_dir}/snapshot"
        self._snapshots = Snapshots(disk, path, config.cluster_id(), self.machine, self.dropper, self._writer())
        self._snapshots.on_restored = self.hub.reset
        head = self._snapshots.load()
        self._fit_log(head)
        names = list(self._addresses)
        self.raft = Raft(
            self._host,
            config.name,
            names,
            config.heartbeat_interval_s,
            self._wal,
            self._snapshots,
            head is not None,
            self._apply,
            self._peers.send,
            self._role,
        )
        self._snapshots.congested = lambda node: self._peers.congested(str(node))

    def _fit_log(self, head: Head | None) -> None:
        """The log must begin where the snapshot ends. Raises WalCorrupt when there is a gap."""
        wal = self._wal
        if head is None:
            if wal.first_index > 1:
                raise WalCorrupt(f"the log begins at entry {wal.first_index}, and there is no snapshot before it")
            return
        prev, last = position(head)
        if not len(wal) or wal.first_index > last[1]:
            raise WalCorrupt(f"the snapshot ends at entry {last[1]}, the log begins at {wal.first_index}")
        if wal.term_at(last[1]) == last[2] and wal.term_at(prev[1]) == prev[2]:
            wal.trim(prev[1])
            return
        kept = [entry for entry in wal[:] if entry[1] > last[1]] if wal.term_at(last[1]) == last[2] else []
        log.warning("the log starts anew from the leader's snapshot", index=last[1], kept=len(kept))
        wal.reset([prev, last, *kept])

    def _writer(self) -> Submit:
        writer = self._make_writer()
        self._writers.append(writer)
        return writer.submit

    def _tcp_peers(self) -> Peers:
        config = self.config
        tls = TlsFiles(config.ca, config.certificate, config.key) if config.ca else None
        return TcpPeers(config.name, config.cluster_id(), config.listen_peer, self._addresses, tls)

    async def _close(self) -> None:
        self._stop.set()
        for stream in list(self.hub.streams):
            stream.close()
        self._batcher.close()
        self._rounds.end(None, errors.stopped())
        for task in list(self._background):
            task.cancel()
        if self.server is not None:
            await self.server.stop(0.2)
        await self._peers.stop()
        for writer in self._writers:
            writer.stop()
        if hasattr(self, "_wal"):
            self._wal.close()
        log.info("stopped", name=self.config.name)

    def _fail(self, error: BaseException) -> None:
        """The disk refuses: nothing can be acknowledged any more, so this member goes."""
        self._failure = error
        self._ending.set()
        self._stop.set()

    # Ticks

    def _tick_soon(self) -> None:
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        self._ticking = False
        if self._stop.is_set():
            return
        self.raft.tick()
        self._after()

    def _after(self) -> None:
        """What follows every step of Raft, before anything else runs."""
        raft = self.raft
        self.machine.raft_term = raft.term
        self.hub.advance()
        self._applied.advance(raft.applied_index)
        if raft.leader != self._leader:
            self._leader = raft.leader
            self._rounds.again()
            self._batcher.kick()

    def _durable(self) -> None:
        if hasattr(self, "raft"):
            self.raft.durable()
            if self.raft.due:
                self._tick_soon()

    def _role(self) -> None:
        """pysyncobj changed its role, inside a tick or a message."""
        leads = self.raft.is_leader if hasattr(self, "raft") else False
        if leads != self._was_leader:
            self._was_leader = leads
            log.info("became leader" if leads else "lost leadership", term=self.raft.term)
            if leads:
                self._leases.promote(self.clock.monotonic())
            else:
                self._batcher.fail_in_flight()
            self._rounds.again()

    def _sweep(self) -> None:
        self._batcher.sweep()
        self._applied.sweep()
        age = self._rounds.age_s
        if age > TIMEOUT_S:
            self._rounds.end(None, errors.timed_out())
        elif age > ROUND_RETRY_S:
            self._rounds.again()
        if self.raft.is_leader:
            self._expire_leases()
        if self.raft.leader and not self._announced:
            self._announced = True
            self._spawn(self._announce())
        self._check_room()
        limit = max(self.config.snapshot_bytes, self.machine.history.size_bytes)
        if self._wal.since_snapshot_bytes > limit:
            self.raft.compact()

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._background[task] = None
        task.add_done_callback(lambda done: self._background.pop(done, None))

    async def _announce(self) -> None:
        """Tell the cluster where this member serves clients."""
        assert self.server is not None
        scheme = "https" if self._tls is not None else "http"
        url = f"{scheme}://{self.config.advertise_client or self.server.address}"
        if self.machine.client_urls.get(self.machine.member_id) == (url,):
            return
        member = pb.Member(ID=self.machine.member_id, name=self.config.name, clientURLs=[url])
        try:
            await self.propose(Kind.MEMBER, member.SerializeToString())
        except StoreError:
            self._announced = False

    def _expire_leases(self) -> None:
        now = self.clock.monotonic()
        for lease_id in self._leases.expired(now):
            self._leases.retry(lease_id, now + 2.0)
            self._spawn(self._revoke(lease_id))

    async def _revoke(self, lease_id: int) -> None:
        try:
            await self.propose(Kind.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=lease_id).SerializeToString())
        except StoreError as error:
            log.debug("a lease is not revoked yet", lease=lease_id, error=error.message)

    def _check_room(self) -> None:
        """Raise this member's NOSPACE alarm, and clear it unless somebody else raised it."""
        key = (self.machine.member_id, int(pb.NOSPACE))
        raised = key in self.machine.alarms
        if self._space_alarm is None and self.raft.leader and not self._background:
            self._spawn(self._find_alarm())
        free = self._host.disk.free_bytes(self.config.data_dir)
        need = 2 * self.config.segment_bytes
        full = self.machine.history.size_bytes > self.config.quota_bytes
        if not raised and (full or free < need):
            self._space_alarm = True
            log.error("out of space: writes are refused", free_bytes=free, used_bytes=self.machine.history.size_bytes)
            self._propose_alarm(pb.AlarmRequest.ACTIVATE)
        elif raised and self._space_alarm and not full and free > 2 * need:
            log.info("space again: writes are taken", free_bytes=free)
            self._propose_alarm(pb.AlarmRequest.DEACTIVATE)

    async def _find_alarm(self) -> None:
        """An alarm that was there when this member started is its own; before a read barrier it may not show yet."""
        try:
            await self.read_barrier()
        except StoreError:
            return
        if self._space_alarm is None:
            self._space_alarm = (self.machine.member_id, int(pb.NOSPACE)) in self.machine.alarms

    def _propose_alarm(self, action: pb.AlarmRequest.AlarmAction) -> None:
        if self._background or not self.raft.leader:
            return
        request = pb.AlarmRequest(action=action, memberID=self.machine.member_id, alarm=pb.NOSPACE)
        self._spawn(self._alarm(request.SerializeToString()))

    async def _alarm(self, request: bytes) -> None:
        try:
            await self.propose(Kind.ALARM, request)
        except StoreError as error:
            log.warning("cannot change the space alarm", error=error.message)

    # Commands

    async def propose(self, kind: Kind, request: bytes) -> bytes:
        if self._ending.is_set():
            raise errors.stopped()
        return await self._batcher.put(kind, request)

    def _has_leader(self) -> bool:
        return bool(self.raft.leader)

    def _submit(self, command: bytes, callback: object) -> None:
        self.raft.propose(command, callback)  # type: ignore[arg-type]
        self._tick_soon()

    def _apply(self, command: bytes) -> batch.Answers | None:
        """Called by Raft for every committed command, in order, on every member alike."""
        try:
            requests = batch.decode(command)
        except msgspec.DecodeError as error:
            log.error("a committed command is malformed; every member skips it", error=error)
            return None
        answers: batch.Answers = []
        self.machine.raft_term = self.raft.term
        for kind, request in requests:
            try:
                answers.append(self.machine.apply(kind, request))
            except StoreError as error:
                answers.append(error)
                continue
            except Exception as error:
                log.exception("a command failed", kind=kind)
                answers.append(StoreError(errors.INTERNAL, f"etcdserver: {error}"))
                continue
            if kind == Kind.COMPACT:
                self.dropper.kick()
            elif kind == Kind.LEASE_GRANT and self._was_leader:
                self._leases.touch(pb.LeaseGrantRequest.FromString(request).ID, self.clock.monotonic())
        return answers

    # Reads

    async def read_barrier(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TIMEOUT_S
        while True:
            if self._stop.is_set():
                raise errors.stopped()
            try:
                index = await self._rounds.join()
                break
            except StoreError:
                if loop.time() >= deadline:
                    raise
                await asyncio.sleep(LEADER_RETRY_S)
        if self.raft.applied_index < index:
            await self._applied.wait(index)

    def _begin_round(self) -> None:
        """Start, or start again, the round that all waiting reads share."""
        raft = self.raft
        if not raft.is_leader:
            self._ask_number += 1
            ask = messages.Ask(self._ask_number, "read_index", 0)
            if raft.leader:
                self._peers.send(raft.leader, messages.encode(ask))
            return
        if not raft.term_is_committed:
            asyncio.get_running_loop().call_later(LEADER_RETRY_S, self._rounds.again)
            return
        self._round_index = raft.commit_index
        if raft.single:
            self._rounds.end(self._round_index)
            return
        number = self._quorum.begin(raft.term)
        ping = messages.encode(messages.Ping(raft.term, number))
        for name in self._addresses:
            if name != self.config.name:
                self._peers.send(name, ping)

    # Leases: the leader knows the time

    async def keep_alive(self, lease_id: int) -> int:
        if not self.raft.is_leader:
            return await self._ask("keep_alive", lease_id)
        await self.read_barrier()
        lease = self.machine.leases.get(lease_id)
        if lease is None:
            return 0
        self._leases.touch(lease_id, self.clock.monotonic())
        return lease.ttl_s

    async def lease_left_s(self, lease_id: int) -> float:
        if not self.raft.is_leader:
            return await self._ask("left_ms", lease_id) / 1000
        return self._leases.left_s(lease_id, self.clock.monotonic())

    async def _ask(self, what: str, argument: int) -> int:
        if not self.raft.leader:
            raise errors.no_leader()
        self._ask_number += 1
        number = self._ask_number
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._asks[number] = future
        timer = loop.call_later(TIMEOUT_S, _fail_future, future)
        try:
            if not self._peers.send(self.raft.leader, messages.encode(messages.Ask(number, what, argument))):
                raise errors.no_leader()
            return await future
        finally:
            timer.cancel()
            del self._asks[number]

    async def _answer(self, peer: str, ask: messages.Ask) -> None:
        """As leader, for a follower."""
        answer = messages.Answer(ask.number, True, 0, "")
        try:
            if not self.raft.is_leader:
                raise errors.not_leader()
            if ask.what == "read_index":
                answer.value = await self._rounds.join()
            elif ask.what == "keep_alive":
                answer.value = await self.keep_alive(ask.argument)
            elif ask.what == "left_ms":
                answer.value = int(await self.lease_left_s(ask.argument) * 1000)
            else:
                raise errors.StoreError(errors.UNIMPLEMENTED, f"unknown question {ask.what!r}")
        except StoreError as error:
            answer = messages.Answer(ask.number, False, 0, error.message)
        self._peers.send(peer, messages.encode(answer))

    # Messages

    def _link_up(self, peer: str) -> None:
        self.raft.connected(peer)
        self._tick_soon()

    def _link_down(self, peer: str) -> None:
        self.raft.disconnected(peer)

    def _receive(self, peer: str, message: messages.Any) -> None:
        if self._stop.is_set():
            return
        if isinstance(message, messages.RAFT):
            self.raft.receive(peer, message)
            quiet = isinstance(message, messages.AppendEntries | messages.NextNodeIdx)
            if not quiet or self.raft.due or self.raft.leader != self._leader:
                self._tick_soon()
        elif isinstance(message, messages.Ping):
            if message.term == self.raft.term:
                self._peers.send(peer, messages.encode(messages.Pong(message.term, message.number)))
        elif isinstance(message, messages.Pong):
            leads = self.raft.is_leader and message.term == self.raft.term
            if leads and self._quorum.pong(peer, message.term, message.number):
                self._rounds.end(self._round_index)
        elif isinstance(message, messages.Ask):
            self._spawn(self._answer(peer, message))
        elif isinstance(message, messages.Answer):
            self._answered(message)

    def _answered(self, answer: messages.Answer) -> None:
        future = self._asks.get(answer.number)
        if future is not None:
            if not future.done():
                if answer.ok:
                    future.set_result(answer.value)
                else:
                    future.set_exception(StoreError(errors.UNAVAILABLE, answer.error))
        elif answer.number == self._ask_number and not self.raft.is_leader:
            if answer.ok:
                self._rounds.end(answer.value)
            else:
                asyncio.get_running_loop().call_later(LEADER_RETRY_S, self._rounds.again)

    # What the services show

    def members(self) -> list[MemberInfo]:
        scheme = "https" if self._tls is not None else "http"
        return [
            MemberInfo(
                member_id,
                name,
                (f"{scheme}://{self._addresses[name]}",) if self._addresses[name] else (),
                self.machine.client_urls.get(member_id, ()),
            )
            for member_id, name in self._names.items()
        ]

    def leader_id(self) -> int:
        return self.config.member_id(self.raft.leader) if self.raft.leader else 0

    def raft_index(self) -> tuple[int, int]:
        return self.raft.commit_index, self.raft.applied_index

    def disk_bytes(self) -> int:
        return self._wal.disk_bytes() + self._snapshots.size_bytes

    def problems(self) -> list[str]:
        return [] if self.raft.leader else ["etcdserver: no leader"]

    async def move_leader(self, target_id: int) -> None:
        name = self._names.get(target_id)
        if name is None:
            raise errors.member_not_found()
        if not self.raft.is_leader:
            raise errors.not_leader()
        if name == self.config.name:
            return
        if not await self._transfer(name, TIMEOUT_S):
            raise errors.timed_out()

    async def _transfer(self, name: str, within_s: float) -> bool:
        """Ask a member to take over, as soon as it is caught up, and wait until it leads."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        try:
            while self.raft.leader != name:
                if loop.time() > deadline:
                    return False
                if self.raft.is_leader:
                    self.raft.transfer(name)
                self._tick_soon()
                await asyncio.sleep(LEADER_RETRY_S)
            return True
        finally:
            self.raft.resume()

    async def _hand_over(self) -> None:
        """A stopping leader lets another take over, so that nobody waits for a timeout."""
        for name in self._addresses:
            if self._stop.is_set() or not self.raft.is_leader:
                return
            if name != self.config.name and await self._transfer(name, HAND_OVER_S):
                log.info("leadership handed over", to=name)


def _fail_future(future: asyncio.Future[int]) -> None:
    if not future.done():
        future.set_exception(errors.timed_out())
