"""`python -m etcd`: one member of the store. Flags: see etcd.config."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import ssl
import sys
from typing import IO

import uvloop

from argosy import config as flags
from argosy import logs
from argosy.host import Host, real_host
from argosy.rpc import GrpcNetwork
from etcd.config import Config
from etcd.member import Member
from etcd.record_disk import RecordingDisk
from etcd.snapshot import SnapshotCorrupt
from etcd.wal import WalCorrupt, WalFailed

log = logs.get("etcd")


def main() -> int:
    config = flags.parse(Config, "etcd", "One member of Argosy's store: etcd v3 over Raft.")
    logs.setup(config.log_level, config.log_file)
    host = real_host()
    if config.record_disk:
        host = Host(host.clock, host.rng, RecordingDisk(host.disk, config.data_dir, config.record_disk))
    try:
        with _lock(config.data_dir):
            uvloop.run(_run(config, host))
    except (WalCorrupt, SnapshotCorrupt) as error:
        log.error("the data on disk cannot be trusted; refusing to serve", error=error)
        return 3
    except WalFailed as error:
        log.error("stopped: the disk failed", error=error)
        return 4
    except (OSError, ValueError, ssl.SSLError) as error:
        log.error("cannot start", error=f"{type(error).__name__}: {error}")
        return 1
    return 0


async def _run(config: Config, host: Host) -> None:
    member = Member(config, host, GrpcNetwork())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, member.stop)
    await member.run()


def _lock(data_dir: str) -> IO[bytes]:
    """One process per data directory. Raises OSError."""
    os.makedirs(data_dir, mode=0o700, exist_ok=True)
    file = open(os.path.join(data_dir, "LOCK"), "wb")  # noqa: SIM115  # held for the process's life
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OSError(f"{data_dir}: another process uses this data directory") from None
    return file


if __name__ == "__main__":
    sys.exit(main())
