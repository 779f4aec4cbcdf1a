"""`python -m deploy.relay`: carries connections from inside a cluster's namespaces to an etcd on the machine itself.

An API server runs in a namespace of its own, whose loopback is not the machine's. For `argosy up --etcd-servers
http://127.0.0.1:2379` the supervisor makes a listening socket of that address inside the namespace and hands it to
this process, which runs in the machine's own network and dials the same address there. Bytes pass as they are, so TLS
is between the API server and etcd.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from dataclasses import dataclass

import uvloop

from argosy import logs
from argosy.config import option, parse

CONNECT_TIMEOUT_S = 5.0

log = logs.get("deploy.relay")


@dataclass(frozen=True)
class Config:
    targets: tuple[str, ...] = option(help="host:port,… of this machine's network")
    listen_fds: tuple[str, ...] = option(help="listening sockets; the n-th is for the n-th target, over and over")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")


class _End(asyncio.Protocol):
    """One end of a carried connection; what it receives goes to `other`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.early = b""
        """What came before there was another end: a transport may read once more after it was told to pause."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are of their own class

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        else:
            self.early += data

    def pause_writing(self) -> None:
        """The peer at this end reads slower than the other end sends."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Accepted(_End):
    """The end inside the namespace: dials the target, and reads nothing before that has answered."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._target = (host, port)
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._dialling = asyncio.get_running_loop().create_task(self._dial(self.transport))

    async def _dial(self, own: asyncio.Transport) -> None:
        host, port = self._target
        outer = _End()
        outer.other = self
        try:
            connecting = asyncio.get_running_loop().create_connection(lambda: outer, host, port)
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            log.warning("the target cannot be reached", host=host, port=port, error=error or type(error).__name__)
            own.abort()
            return
        self.other = outer
        assert outer.transport is not None
        if own.is_closing() or _is_itself(outer.transport):
            outer.transport.abort()
            own.abort()
            return
        if self.early:
            outer.transport.write(self.early)
            self.early = b""
        own.resume_reading()


def _is_itself(transport: asyncio.Transport) -> bool:
    """Dialled while nobody listened, the kernel may take the very port dialled for our end, and connect it to itself.

    Kept, such a connection would keep the port from the server that is to listen there.
    """
    return bool(transport.get_extra_info("sockname") == transport.get_extra_info("peername"))


async def run(config: Config) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    targets = [split(target) for target in config.targets]
    servers = []
    for at, fd in enumerate(config.listen_fds):
        host, port = targets[at % len(targets)]
        sock = socket.socket(fileno=int(fd))
        sock.setblocking(False)
        servers.append(await loop.create_server(lambda host=host, port=port: _Accepted(host, port), sock=sock))  # type: ignore[misc]
    log.info("carrying", targets=",".join(config.targets))
    await stopping.wait()
    for server in servers:
        server.close()


def split(target: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises ValueError."""
    host, _, port = target.rpartition(":")
    return host, int(port)


def main() -> None:
    config = parse(Config, "deploy.relay", "Carries connections out of a cluster's namespaces.")
    logs.setup(config.log_level, config.log_file)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(run(config))


if __name__ == "__main__":
    main()
