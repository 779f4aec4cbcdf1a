"""Faults of a process's own clock and disk, switched on from outside while it runs.

A process that is started with `--fault-controls FILE` maps FILE, 32 bytes, and reads from it at every use how far its
wall clock is off, how long a sync to disk takes and whether the disk is full. Whoever injects a fault writes there
(`deploy.chaos`); zeros are no fault. Both sit behind the seams of `argosy.host`, so they are true of everything that
the process decides by its Clock (leases, tokens, certificates that it issues, heartbeats) and keeps by its Disk; TLS
checks certificates by the machine's own clock, inside of OpenSSL.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
from dataclasses import dataclass
from typing import Final

from argosy import host
from argosy.host import Clock, Disk, File, Host

_FORM: Final = struct.Struct("<ddd8x")
_SKEW: Final = struct.Struct("<d")
SIZE_BYTES: Final = _FORM.size


@dataclass(frozen=True)
class Controls:
    """What is wrong with a process's clock and disk."""

    skew_s: float = 0.0
    """Added to the wall clock."""
    sync_s: float = 0.0
    """What each sync takes longer."""
    disk_full: bool = False


def read(path: str) -> Controls:
    """Those of a file; none when it is not there."""
    try:
        with open(path, "rb") as file:
            return _parsed(file.read(SIZE_BYTES))
    except FileNotFoundError:
        return Controls()


def write(path: str, controls: Controls) -> None:
    """Change them in place, as the file is mapped. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, _FORM.pack(controls.skew_s, controls.sync_s, float(controls.disk_full)), 0)
    finally:
        os.close(fd)


def ensure(path: str) -> None:
    """A file without faults, where there is none. Raises OSError."""
    if not os.path.exists(path):
        write(path, Controls())


def use(path: str) -> None:
    """From now on `argosy.host.real_host` gives what these controls are for. Raises OSError, ValueError."""
    if path:
        host.replace_real(faulty(host.real_host(), path))


def faulty(real: Host, path: str) -> Host:
    """`real`, with a clock and a disk that go by the file. Raises OSError, ValueError."""
    mapped = Mapped(path)
    return Host(SkewedClock(real.clock, mapped), real.rng, FaultyDisk(real.disk, mapped))


class Mapped:
    """The file, mapped: reading it is reading memory."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self._memory = mmap.mmap(file.fileno(), SIZE_BYTES, access=mmap.ACCESS_READ)

    def now(self) -> Controls:
        return _parsed(self._memory)

    def skew_s(self) -> float:
        """The clock's alone: it is asked for often."""
        return float(_SKEW.unpack_from(self._memory)[0])


class SkewedClock:
    def __init__(self, real: Clock, mapped: Mapped) -> None:
        self._real = real
        self._mapped = mapped

    def now(self) -> float:
        return self._real.now() + self._mapped.skew_s()

    def monotonic(self) -> float:
        return self._real.monotonic()


class FaultyDisk:
    """A disk that may be full (no file grows, none is made) and slow to sync."""

    def __init__(self, real: Disk, mapped: Mapped) -> None:
        self._real = real
        self._mapped = mapped

    def makedirs(self, path: str) -> None:
        if not self._real.exists(path):
            self._need_room(path)
        self._real.makedirs(path)

    def open(self, path: str, *, create: bool = False) -> File:
        if create and not self._real.exists(path):
            self._need_room(path)
        return FaultyFile(self._real.open(path, create=create), path, self._mapped)

    def rename(self, source: str, target: str) -> None:
        self._real.rename(source, target)

    def unlink(self, path: str) -> None:
        self._real.unlink(path)

    def listdir(self, path: str) -> list[str]:
        return self._real.listdir(path)

    def exists(self, path: str) -> bool:
        return self._real.exists(path)

    def sync_dir(self, path: str) -> None:
        _linger(self._mapped)
        self._real.sync_dir(path)

    def free_bytes(self, path: str) -> int:
        return 0 if self._mapped.now().disk_full else self._real.free_bytes(path)

    def _need_room(self, path: str) -> None:
        if self._mapped.now().disk_full:
            raise _no_space(path)


class FaultyFile:
    def __init__(self, real: File, path: str, mapped: Mapped) -> None:
        self._real = real
        self._path = path
        self._mapped = mapped

    def pwrite(self, data: bytes, offset: int) -> None:
        if self._mapped.now().disk_full and offset + len(data) > self._real.size():
            raise _no_space(self._path)
        self._real.pwrite(data, offset)

    def pread(self, size_bytes: int, offset: int) -> bytes:
        return self._real.pread(size_bytes, offset)

    def size(self) -> int:
        return self._real.size()

    def truncate(self, size_bytes: int) -> None:
        if self._mapped.now().disk_full and size_bytes > self._real.size():
            raise _no_space(self._path)
        self._real.truncate(size_bytes)

    def datasync(self) -> None:
        _linger(self._mapped)
        self._real.datasync()

    def close(self) -> None:
        self._real.close()


def _parsed(raw: bytes | mmap.mmap) -> Controls:
    skew_s, sync_s, full = _FORM.unpack(raw[:SIZE_BYTES])
    return Controls(skew_s, sync_s, full != 0.0)


def _linger(mapped: Mapped) -> None:
    sync_s = mapped.now().sync_s
    if sync_s > 0:
        # As a slow disk does: the thread that syncs waits, whichever that is.
        threading.Event().wait(sync_s)


def _no_space(path: str) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
