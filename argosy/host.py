"""The seams to the machine: clock, randomness and disk, and the real ones.

Everything that needs the time, a random number or a durable file takes a `Host`; the seeded simulator
(tests/sim) and the crash tests hand in others. No other module imports time, random or uuid (ruff checks it).
Waiting is `asyncio.sleep`: the simulator's event loop runs on virtual time.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    def now(self) -> float:
        """Wall clock, Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""


class Rng(Protocol):
    def random(self) -> float:
        """Uniform in [0, 1)."""

    def randrange(self, stop: int) -> int:
        """Uniform integer in [0, stop)."""

    def choice(self, items: Sequence[T]) -> T: ...

    def token(self, size_bytes: int) -> bytes:
        """Random bytes; unpredictable on the real host."""

    def uuid(self) -> str:
        """A random (version 4) UUID in its 36-character form."""


class File(Protocol):
    """An open file of a Disk. Nothing is durable before `datasync` returns."""

    def pwrite(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`. Raises OSError (ENOSPC, EIO)."""

    def pread(self, size_bytes: int, offset: int) -> bytes:
        """Read up to `size_bytes`; shorter only at the end of the file."""

    def size(self) -> int: ...

    def truncate(self, size_bytes: int) -> None: ...

    def datasync(self) -> None:
        """fdatasync: what was written, and the size, survive a power cut. Thread-safe."""

    def close(self) -> None: ...


class Disk(Protocol):
    """A directory tree. Creation, rename and unlink are durable once `sync_dir` of their directory returned."""

    def makedirs(self, path: str) -> None: ...

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing, mode 0600. Raises FileNotFoundError unless `create`."""

    def rename(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def listdir(self, path: str) -> list[str]:
        """Sorted names."""

    def exists(self, path: str) -> bool: ...

    def sync_dir(self, path: str) -> None: ...

    def free_bytes(self, path: str) -> int: ...


class RealClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class RealRng:
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def random(self) -> float:
        return self._random.random()

    def randrange(self, stop: int) -> int:
        return self._random.randrange(stop)

    def choice(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def token(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.token(16), version=4))


class SeededRng:
    """The same sequence for the same seed; for tests and the simulator, never for secrets."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def randrange(self, stop: int) -> int:
        return self._random.randrange(stop)

    def choice(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.token(16), version=4))


class RealFile:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pwrite(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written

    def pread(self, size_bytes: int, offset: int) -> bytes:
        parts: list[bytes] = []
        while size_bytes > 0:
            part = os.pread(self._fd, size_bytes, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size_bytes -= len(part)
        return b"".join(parts)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def truncate(self, size_bytes: int) -> None:
        os.ftruncate(self._fd, size_bytes)

    def datasync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class RealDisk:
    def makedirs(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)

    def open(self, path: str, *, create: bool = False) -> File:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return RealFile(os.open(path, flags, 0o600))

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def sync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, path: str) -> int:
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize


@dataclass(frozen=True)
class Host:
    """The seams of one process, handed down from its entry point."""

    clock: Clock
    rng: Rng
    disk: Disk


_real: Host | None = None


def real_host() -> Host:
    """This machine, or what this process was told to take in its place."""
    return _real or Host(RealClock(), RealRng(), RealDisk())


def replace_real(host: Host) -> None:
    """What `real_host` gives from now on; for `argosy.fault_controls`, before anything has asked."""
    global _real  # noqa: PLW0603  # one machine per process
    _real = host


def rfc3339(seconds: float) -> str:
    """Unix seconds as a metav1.Time: `2026-01-02T03:04:05Z`."""
    return _rfc3339(int(seconds))


@lru_cache(256)
def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """Unix seconds as a metav1.MicroTime: six decimals."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Unix seconds of a metav1.Time or MicroTime. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
