"""The controller manager's process: `python -m control_plane.controllers --api-servers …`."""

from __future__ import annotations

import dataclasses
import socket
import sys

import uvloop

from argosy import config, logs
from argosy.host import Host, real_host
from argosy.process import client_of, until_signalled
from control_plane.controllers.config import Config
from control_plane.controllers.manager import ControllerManager, select


def main() -> int:
    options = config.parse(Config, "argosy-controllers", "Argosy's controller manager.")
    logs.setup(options.log_level, options.log_file)
    try:
        options.validate()
        select(options.controllers)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    uvloop.run(_run(options, real_host()))
    return 0


async def _run(options: Config, host: Host) -> None:
    if not options.identity:
        options = dataclasses.replace(options, identity=f"{socket.gethostname()}_{host.rng.uuid()}")
    async with client_of(options, "kube-controller-manager") as client:
        await until_signalled(ControllerManager(options, host, client).run())


if __name__ == "__main__":
    sys.exit(main())
