"""Ports on loopback for servers that a test starts, and may start again."""

from __future__ import annotations

import contextlib
import random
import socket

LOWEST = 12_000


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody listens on, different from each other.

    None is of the range from which the kernel takes the ports of outgoing connections: such a one could be taken in
    the moment between this and the server's start, or while the server is down.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        ephemeral = int(file.read().split()[0])
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            sock = stack.enter_context(socket.socket())
            port = random.randrange(LOWEST, ephemeral)
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                found.append(port)
        return found
