"""Virtual time and a disk that can lose power: the machine that the simulator runs on.

`run(coroutine, seed)` drives a stock asyncio loop whose clock jumps to the next timer whenever nothing is ready, so
hours pass in seconds and the same seed gives the same run. Nothing in it may touch a real socket, file or thread.
"""

from __future__ import annotations

import asyncio
import errno
import gc
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import TypeVar

from argosy.host import File, Host, SeededRng

T = TypeVar("T")

EPOCH_S = 1_800_000_000.0
"""Wall clock at virtual time 0."""


class Deadlock(Exception):
    """Nothing is ready and no timer is set: the simulated program waits for ever."""


class _Call(list):  # type: ignore[type-arg]
    """A callback that waits for its turn: [when, number, callback, arguments, context].

    A list, for lists are made and compared without any Python. The callback is None once called or cancelled."""

    __slots__ = ()

    def cancel(self) -> None:
        self[2] = None

    def cancelled(self) -> bool:
        return self[2] is None

    def when(self) -> float:
        return float(self[0])


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop without sockets or threads. Callbacks run in order of arrival, timers by time and then by age.

    A callback that brings no context along, as tasks do, runs in the loop's own: copies of it would all be the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turn: deque[_Call] = deque()
        self._timers: list[_Call] = []
        self._count = 0

    def time(self) -> float:
        return self._now

    def call_soon(self, callback, *args, context=None):  # type: ignore[no-untyped-def, override]
        call = _Call((0.0, 0, callback, args, context))
        self._turn.append(call)
        return call

    def call_later(self, delay, callback, *args, context=None):  # type: ignore[no-untyped-def, override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):  # type: ignore[no-untyped-def, override]
        self._count += 1
        call = _Call((when, self._count, callback, args, context))
        heappush(self._timers, call)
        return call

    def _run_once(self) -> None:
        """Until the loop is stopped, that is: `run_forever` would only call it again."""
        turn, timers = self._turn, self._timers
        while not self._stopping:  # type: ignore[attr-defined]
            if not turn:
                self._advance(turn, timers)
            call = turn.popleft()
            _, _, callback, args, context = call
            if callback is None:
                continue
            call[2] = None
            try:
                if context is None:
                    callback(*args)
                else:
                    context.run(callback, *args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler({"message": f"{callback} failed", "exception": error})

    def _advance(self, turn: deque[_Call], timers: list[_Call]) -> None:
        """To the next timer, and all that are due then. Raises Deadlock."""
        while timers:
            call = heappop(timers)
            if call[2] is None:
                continue
            turn.append(call)
            when = call[0]
            if when > self._now:
                self._now = when
            while timers and timers[0][0] <= when:
                turn.append(heappop(timers))
            return
        raise Deadlock

    def call_soon_threadsafe(self, callback, *args, context=None):  # type: ignore[no-untyped-def, override]
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor, func, *args):  # type: ignore[no-untyped-def]
        raise RuntimeError(f"{func!r} wants a thread; the simulator has none")


class VirtualClock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.skew_s = 0.0

    def now(self) -> float:
        return EPOCH_S + self._loop.time() + self.skew_s

    def monotonic(self) -> float:
        return self._loop.time()


class _Blob:
    """One file's content: what was written, and what a power cut leaves."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.synced = bytearray()
        self.dirty: list[tuple[int, int]] = []
        """Ranges written since the last sync."""


class _SimFile:
    def __init__(self, disk: SimDisk, blob: _Blob) -> None:
        self._disk = disk
        self._blob = blob

    def pwrite(self, data: bytes, offset: int) -> None:
        self._disk.check_space(len(data))
        content = self._blob.written
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
        self._blob.dirty.append((offset, offset + len(data)))

    def pread(self, size_bytes: int, offset: int) -> bytes:
        return bytes(self._blob.written[offset : offset + size_bytes])

    def size(self) -> int:
        return len(self._blob.written)

    def truncate(self, size_bytes: int) -> None:
        content = self._blob.written
        if size_bytes < len(content):
            del content[size_bytes:]
        else:
            self._blob.dirty.append((len(content), size_bytes))
            content.extend(bytes(size_bytes - len(content)))

    def datasync(self) -> None:
        if self._disk.lies:
            return
        blob = self._blob
        if len(blob.synced) != len(blob.written):
            blob.synced = bytearray(blob.written)
        else:
            for start, end in blob.dirty:
                blob.synced[start:end] = blob.written[start:end]
        blob.dirty.clear()

    def close(self) -> None:
        """Nothing to release."""


class SimDisk:
    """A Disk in memory. `power_cut` drops what was not synced: content without datasync, names without sync_dir."""

    def __init__(self) -> None:
        self._names: dict[str, _Blob] = {}
        self._durable_names: dict[str, _Blob] = {}
        self._dirs: dict[str, None] = {}
        self.full = False
        """Every write fails with ENOSPC."""
        self.lies = False
        """datasync returns without doing anything: what a test must be able to notice."""

    def copy(self) -> SimDisk:
        """Another disk with the same files, all of them durable."""
        other = SimDisk()
        other._dirs = dict(self._dirs)
        for name, old in self._names.items():
            blob = other._names[name] = _Blob()
            blob.written = bytearray(old.written)
            blob.synced = bytearray(old.written)
        other._durable_names = dict(other._names)
        return other

    def check_space(self, _size_bytes: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def makedirs(self, path: str) -> None:
        self._dirs[path] = None

    def open(self, path: str, *, create: bool = False) -> File:
        blob = self._names.get(path)
        if blob is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
            self.check_space(0)
            blob = self._names[path] = _Blob()
        return _SimFile(self, blob)

    def rename(self, source: str, target: str) -> None:
        self._names[target] = self._names.pop(source)

    def unlink(self, path: str) -> None:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        del self._names[path]

    def listdir(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        if path not in self._dirs and not any(name.startswith(prefix) for name in self._names):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return sorted({name[len(prefix) :].split("/")[0] for name in self._names if name.startswith(prefix)})

    def exists(self, path: str) -> bool:
        return path in self._names or path in self._dirs

    def sync_dir(self, path: str) -> None:
        prefix = path.rstrip("/") + "/"
        for name in [name for name in self._durable_names if name.startswith(prefix)]:
            if name not in self._names:
                del self._durable_names[name]
        for name, blob in self._names.items():
            if name.startswith(prefix):
                self._durable_names[name] = blob

    def free_bytes(self, _path: str) -> int:
        return 0 if self.full else 1 << 40

    def power_cut(self) -> None:
        """What a disk holds after the power went: only what was made durable."""
        survivors: dict[str, _Blob] = {}
        for name, old in self._durable_names.items():
            blob = survivors[name] = _Blob()
            blob.written = bytearray(old.synced)
            blob.synced = bytearray(old.synced)
        self._names = survivors
        self._durable_names = dict(survivors)


def virtual_host(loop: asyncio.AbstractEventLoop, seed: int | str, disk: SimDisk | None = None) -> Host:
    return Host(VirtualClock(loop), SeededRng(seed), disk or SimDisk())


def run(main: Coroutine[object, object, T]) -> T:
    """Run to the end on a fresh virtual loop. No garbage is collected meanwhile: finalizers would run at its whim.

    With the collector off it is left for the process's end.
    """
    loop = VirtualLoop()
    collects = gc.isenabled()
    gc.disable()
    try:
        with _the_only_loop(loop):
            try:
                return loop.run_until_complete(main)
            finally:
                loop.run_until_complete(_cancel_all())
    finally:
        loop.close()
        if collects:
            gc.enable()
            gc.collect()


@contextmanager
def _the_only_loop(loop: VirtualLoop) -> Iterator[None]:
    """asyncio (until 3.12) makes a system call whenever it is asked for the running loop, 150,000 times in a seed."""
    before = asyncio.get_running_loop
    asyncio.get_running_loop = asyncio.events.get_running_loop = lambda: loop  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        asyncio.get_running_loop = asyncio.events.get_running_loop = before


async def _cancel_all() -> None:
    pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
