"""Network namespaces: made, entered and removed without leaving anything in the caller's.

A thread enters a namespace, does one thing and ends; a process enters by exec (`nsenter`). So the caller's other
threads, and whatever library runs on them, never see a namespace change.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

FOLDER: Final = "/run/netns"
_CLONE_NEWNET: Final = 0x40000000
_BACKLOG: Final = 1024
_CONNECT_S: Final = 2.0


class CommandError(Exception):
    """A system tool failed; the message is the command and what it said."""


def tool(arguments: list[str], *, stdin: str = "") -> str:
    """Run a system tool to its end and give its output. Raises CommandError."""
    try:
        done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{' '.join(arguments)}: {error}") from None
    if done.returncode != 0:
        raise CommandError(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def batch(commands: Iterable[str], namespace: str = "", *, force: bool = False) -> None:
    """`ip -batch` of one command a line, inside `namespace` (a name). With `force`, go on after errors."""
    lines = "\n".join(commands)
    if lines:
        where = ["-n", namespace] if namespace else []
        try:
            tool(["ip", *where, *(["-force"] if force else []), "-batch", "-"], stdin=lines + "\n")
        except CommandError:
            if not force:
                raise


def names() -> list[str]:
    """Named network namespaces of this machine."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(FOLDER))
    return []


def inside(path: str, action: Callable[[], T]) -> T:
    """Run `action` on a thread of its own inside the network namespace at `path`. Raises what it raises, OSError."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(fd, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), path)
            finally:
                os.close(fd)
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def listening(path: str, host: str, port: int) -> socket.socket:
    """A TCP socket listening on host:port inside the namespace at `path`; empty: the caller's. Raises OSError."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(_BACKLOG)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock

    return inside(path, make) if path else make()


def accepts(path: str, host: str, port: int) -> bool:
    """Whether something listens on host:port in the namespace at `path`."""

    def connect() -> bool:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return True

    try:
        return inside(path, connect) if path else connect()
    except OSError:
        return False


def accepts_unix(path: str) -> bool:
    """Whether something listens on a Unix socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_CONNECT_S)
            sock.connect(path)
    except OSError:
        return False
    return True


def set_sysctls(path: str, values: dict[str, str]) -> None:
    """Write settings below /proc/sys/net inside the namespace at `path`; those the kernel lacks are left out."""

    def write() -> None:
        for name, value in values.items():
            with contextlib.suppress(FileNotFoundError), open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
                file.write(value)

    inside(path, write)
