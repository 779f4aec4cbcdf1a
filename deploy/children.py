"""Processes that outlive whoever started them: started in a session of their own, watched by pidfd, found again by
pid and start time.

The supervisor uses it for its children and for those that a supervisor before it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_SYS_PIDFD_GETFD: Final = 438
_PR_SET_CHILD_SUBREAPER: Final = 36
_STATE_FIELD, _START_FIELD = 0, 19
"""In /proc/PID/stat after the command's closing parenthesis."""


FRUGAL: Final = {
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    # Children are made by vfork and exec, which gRPC's handlers for fork know nothing of but log at each.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}
"""Variables of every Python process: little memory, few threads, no noise."""


class SpawnError(Exception):
    """A process could not be started; the message says which and why."""


def inherited(names: Sequence[str]) -> dict[str, str]:
    """Those variables of this process's environment that are set, for a child's."""
    return {name: os.environ[name] for name in names if name in os.environ}


def become_subreaper() -> None:
    """Orphans below this process become its children, so that none stays as a zombie."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it is not running. With the pid it is unique."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[_STATE_FIELD] in (b"Z", b"X") else int(fields[_START_FIELD])


@dataclass(frozen=True)
class Running:
    """A running process: its pidfd becomes readable when it ends."""

    pid: int
    ticks: int
    pidfd: int
    fds: Mapping[str, int]
    """Listening sockets it was handed, by name: their numbers in it."""
    popen: subprocess.Popen[bytes] | None = None
    adopted: bool = False

    def kill(self, number: signal.Signals) -> None:
        """Send a signal; no effect on one that ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> str:
        """How it ended, after its pidfd became readable; closes that. An adopted one's end is not known."""
        os.close(self.pidfd)
        status: int | None = None
        if self.popen is not None:
            status = self.popen.wait()
        else:
            with contextlib.suppress(ChildProcessError):
                _, raw = os.waitpid(self.pid, os.WNOHANG)
                status = os.waitstatus_to_exitcode(raw)
        if status is None:
            return "unknown"
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"code {status}"


def spawn(
    arguments: Sequence[str],
    *,
    namespace: str,
    log: str,
    sockets: Mapping[str, socket.socket],
    environment: Mapping[str, str],
) -> Running:
    """Start a process in a network namespace, its output appended to `log`. Raises SpawnError."""
    fds = {name: sock.fileno() for name, sock in sockets.items()}
    line = list(arguments)
    if fds:
        line += ["--listen-fds", ",".join(str(fd) for fd in fds.values())]
    if namespace:
        line = ["nsenter", f"--net={namespace}", "--", *line]
    try:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "ab") as output:
            popen = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=tuple(fds.values()),
                start_new_session=True,
                env=dict(environment),
                cwd="/",
            )
        return Running(popen.pid, start_ticks(popen.pid), os.pidfd_open(popen.pid), fds, popen)
    except OSError as error:
        raise SpawnError(f"{arguments[0]}: {error}") from None


def watch(pid: int, *, ticks: int = 0, fds: Mapping[str, int] | None = None) -> Running | None:
    """A process that somebody else started: None when it is not running, or another one has its pid by now."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    found = start_ticks(pid)
    if found == 0 or (ticks and found != ticks):
        os.close(pidfd)
        return None
    return Running(pid, found, pidfd, fds or {}, None, adopted=True)


def take_socket(running: Running, name: str) -> socket.socket:
    """A copy of a listening socket that a process was handed. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_PIDFD_GETFD, running.pidfd, running.fds[name], 0)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    sock = socket.socket(fileno=fd)
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise OSError("not a listening socket any more")
    return sock
