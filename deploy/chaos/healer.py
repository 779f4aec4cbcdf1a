"""`python -m deploy.chaos.healer --name NAME --fault ID`: waits for a fault's end and heals it.

Detached from the command that injected the fault, and independent of the supervisor, which may be what is broken.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass

from argosy import logs
from argosy.config import option, parse
from argosy.host import real_host
from deploy import cluster, netns
from deploy.chaos import inject, journal
from deploy.chaos.fault import FaultError
from deploy.layout import Layout

log = logs.get("deploy.chaos.healer")


@dataclass(frozen=True)
class Config:
    name: str = option(help="the cluster's name")
    fault: str = option(help="the fault's id")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")


def main() -> int:
    config = parse(Config, "deploy.chaos.healer", "Heals a fault when its time is over.")
    logs.setup(config.log_level, config.log_file)
    layout, clock = Layout(config.name), real_host().clock
    until_s = next((item.until_s for item in journal.faults(layout) if item.id == config.fault), 0.0)
    threading.Event().wait(max(0.0, until_s - clock.monotonic()))
    try:
        for fault in inject.heal(inject.site_of(layout), [config.fault]):
            log.info("healed", fault=fault.id, kind=fault.kind)
    except (FaultError, netns.CommandError, cluster.ConfigError, OSError) as error:
        log.error("not healed", fault=config.fault, error=error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
