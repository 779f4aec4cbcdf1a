"""Lock files that their holder removes: nothing stays behind, and whoever got a removed file's lock tries again.

Used where several `argosy` commands may run at once: on one cluster, on the choice of a port, on a kubeconfig.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator


@contextlib.contextmanager
def held(path: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock `path`, whose folder exists. Raises BlockingIOError when somebody else does and not `wait`."""
    mode = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, mode)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(fd).st_ino:
                    break
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(fd)
