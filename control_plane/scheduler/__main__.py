"""`python -m control_plane.scheduler`: flags, log, and the scheduler until SIGTERM."""

from __future__ import annotations

import uvloop

from argosy import config as flags
from argosy import logs
from argosy.host import real_host
from argosy.process import client_of, until_signalled
from control_plane.scheduler.config import Config
from control_plane.scheduler.scheduler import Scheduler

log = logs.get("scheduler")


async def serve(config: Config) -> None:
    async with client_of(config, "kube-scheduler") as client:
        await until_signalled(Scheduler(config, real_host(), client).run())
    log.info("stopped")


def main() -> None:
    config = flags.parse(Config, "scheduler", "Gives each pod a node.")
    logs.setup(config.log_level, config.log_file)
    uvloop.run(serve(config))


if __name__ == "__main__":
    main()
