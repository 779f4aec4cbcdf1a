"""`python -m control_plane.scheduler`: flags, log, and the scheduler until SIGTERM."""

from __future__ import annotations

import asyncio
import signal

import uvloop

from argosy import config as flags
from argosy import logs
from argosy.client import Client
from argosy.host import real_host
from argosy.rpc import GrpcNetwork, Tls
from control_plane.scheduler.config import Config
from control_plane.scheduler.scheduler import Scheduler

log = logs.get("scheduler")


async def serve(config: Config) -> None:
    tls = Tls.load(config.ca, config.certificate, config.key) if config.ca else None
    client = Client(GrpcNetwork(), config.api_servers, tls, field_manager="kube-scheduler")
    running = asyncio.ensure_future(Scheduler(config, real_host(), client).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        log.info("stopped")
    finally:
        await client.close()


def main() -> None:
    config = flags.parse(Config, "scheduler", "Gives each pod a node.")
    logs.setup(config.log_level, config.log_file)
    uvloop.run(serve(config))


if __name__ == "__main__":
    main()
