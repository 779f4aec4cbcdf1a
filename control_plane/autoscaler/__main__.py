"""The autoscalers' process: `python -m control_plane.autoscaler --api-servers …`."""

from __future__ import annotations

import dataclasses
import socket
import sys

import uvloop

from argosy import config, logs
from argosy.host import Host, real_host
from argosy.process import client_of, until_signalled
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.manager import AutoscalerManager


def main() -> int:
    options = config.parse(Config, "argosy-autoscaler", "Argosy's autoscalers.")
    logs.setup(options.log_level, options.log_file)
    try:
        options.validate()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    uvloop.run(_run(options, real_host()))
    return 0


async def _run(options: Config, host: Host) -> None:
    if not options.identity:
        options = dataclasses.replace(options, identity=f"{socket.gethostname()}_{host.rng.uuid()}")
    async with client_of(options, "argosy-autoscaler") as client:
        await until_signalled(AutoscalerManager(options, host, client).run())


if __name__ == "__main__":
    sys.exit(main())
