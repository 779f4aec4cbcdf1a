"""`python -m deploy.chaos.relay`: delays one member's link, for kernels without netem.

Runs in the LAN's namespace. It takes the member's cable off the bridge and puts a port of its own (a TAP) there; each
frame that comes in at one of the two goes out at the other after its delay. Frames carry their virtio header along,
so that large ones and those whose checksum the receiver's hardware was to fill in pass as they are. It ends, and
plugs the cable back in, on SIGTERM; when its port or the cable goes, it ends too.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Final

from argosy import logs
from argosy.config import option, parse
from argosy.host import Host, real_host
from deploy import netns
from deploy.chaos.delay_line import DelayLine

_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_ANY_OFFLOAD: Final = 1 | 2 | 4
"""TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6."""
_ETH_P_ALL: Final = 0x0003
_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 15, 23
MAX_FRAME_BYTES: Final = (64 << 10) + 256
BATCH: Final = 64
BUFFER_BYTES: Final = 8 << 20

log = logs.get("deploy.chaos.relay")


@dataclass(frozen=True)
class Config:
    cable: str = option(help="the bridge's end of the member's cable")
    port: str = option(help="the port to make in its place")
    bridge: str = option(help="the bridge")
    out_ms: float = option(0.0, "delay of what the member sends, milliseconds")
    out_jitter_ms: float = option(0.0, "give or take, milliseconds")
    into_ms: float = option(0.0, "delay of what the member gets, milliseconds")
    into_jitter_ms: float = option(0.0, "give or take, milliseconds")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")


def open_port(name: str) -> int:
    """A TAP; it is gone when the descriptor is closed. Raises OSError."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    fcntl.ioctl(fd, _TUNSETOFFLOAD, _ANY_OFFLOAD)
    return fd


def open_cable(name: str) -> socket.socket:
    """A socket that gets every frame from the cable and sends into it. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.bind((name, _ETH_P_ALL))
    return sock


class Relay:
    """Both directions of one link."""

    def __init__(self, config: Config, host: Host, port: int, cable: socket.socket) -> None:
        self._clock = host.clock
        self._port = port
        self._cable = cable.fileno()
        self._out = DelayLine(config.out_ms / 1000, config.out_jitter_ms / 1000, host.rng)
        self._into = DelayLine(config.into_ms / 1000, config.into_jitter_ms / 1000, host.rng)

    def run(self, stop: int) -> None:
        """Until `stop`, a descriptor, is readable. Raises OSError when a side is gone."""
        ways = ((self._cable, self._port, self._out), (self._port, self._cable, self._into))
        while True:
            due = [when for _, _, line in ways if (when := line.next_s()) is not None]
            timeout_s = max(0.0, min(due) - self._clock.monotonic()) if due else None
            ready, _, _ = select.select([self._cable, self._port, stop], [], [], timeout_s)
            if stop in ready:
                return
            for source, _, line in ways:
                if source in ready:
                    self._take(source, line)
            for _, target, line in ways:
                for frame in line.pop_due(self._clock.monotonic()):
                    _give(target, frame)

    def _take(self, source: int, line: DelayLine) -> None:
        for _ in range(BATCH):
            try:
                frame = os.read(source, MAX_FRAME_BYTES)
            except BlockingIOError:
                return
            line.push(frame, self._clock.monotonic())


def _give(target: int, frame: bytes) -> None:
    try:
        os.write(target, frame)
    except OSError as error:
        # A full queue, or a link that is just coming up: the frame is lost, as on any link.
        log.debug("a frame was lost", error=error)


def main() -> int:
    config = parse(Config, "deploy.chaos.relay", "Delays one link of a cluster's LAN.")
    logs.setup(config.log_level, config.log_file)
    stop, stopped = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(stopped)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        port, cable = open_port(config.port), open_cable(config.cable)
        netns.batch(
            [
                f"link set {config.port} up",
                f"link set {config.cable} nomaster",
                f"link set {config.port} master {config.bridge}",
            ]
        )
        log.info("delays", cable=config.cable)
        Relay(config, real_host(), port, cable).run(stop)
    except (OSError, netns.CommandError) as error:
        log.error("ended", error=error)
        return 1
    finally:
        netns.batch([f"link set {config.cable} master {config.bridge}"], force=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
