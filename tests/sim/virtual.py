"""Virtual time and a disk that can lose power: the machine that the simulator runs on.

`run(coroutine, seed)` drives a stock asyncio loop whose clock jumps to the next timer whenever nothing is ready, so
hours pass in seconds and the same seed gives the same run. Nothing in it may touch a real socket, file or thread.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
from collections.abc import Coroutine, Mapping
from typing import TypeVar

from argosy.host import File, Host, SeededRng

T = TypeVar("T")

EPOCH_S = 1_800_000_000.0
"""Wall clock at virtual time 0."""


class Deadlock(Exception):
    """Nothing is ready and no timer is set: the simulated program waits for ever."""


class _JumpingSelector(selectors.BaseSelector):
    """Instead of waiting for `timeout`, moves the loop's clock by it. Only the loop's own wake-up pipe registers."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj, events, data=None):  # type: ignore[no-untyped-def]
        key = selectors.SelectorKey(fileobj, fileobj, events, data)
        if self._keys:
            raise RuntimeError("a real file descriptor was registered in the simulator")
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj):  # type: ignore[no-untyped-def]
        return self._keys.pop(fileobj)

    def close(self) -> None:
        self._keys.clear()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[int, selectors.SelectorKey]:  # type: ignore[override]
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jumping.now

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
        self.synced = b""


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

    def pread(self, size_bytes: int, offset: int) -> bytes:
        return bytes(self._blob.written[offset : offset + size_bytes])

    def size(self) -> int:
        return len(self._blob.written)

    def truncate(self, size_bytes: int) -> None:
        content = self._blob.written
        if size_bytes < len(content):
            del content[size_bytes:]
        else:
            content.extend(bytes(size_bytes - len(content)))

    def datasync(self) -> None:
        if self._disk.lies:
            return
        self._blob.synced = bytes(self._blob.written)

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
            blob.synced = old.synced
        self._names = survivors
        self._durable_names = dict(survivors)


def virtual_host(loop: asyncio.AbstractEventLoop, seed: int | str, disk: SimDisk | None = None) -> Host:
    return Host(VirtualClock(loop), SeededRng(seed), disk or SimDisk())


def run(main: Coroutine[object, object, T]) -> T:
    """Run to the end on a fresh virtual loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_cancel_all())
        loop.close()


async def _cancel_all() -> None:
    pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
