"""The autoscalers' process: `python -m control_plane.autoscaler --api-servers …`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import socket
import sys

import uvloop

from argosy import config, logs
from argosy.client import Client
from argosy.host import Host, real_host
from argosy.rpc import GrpcNetwork, Tls
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
    tls = Tls.load(options.ca, options.certificate, options.key) if options.ca else None
    client = Client(GrpcNetwork(), options.api_servers, tls, field_manager="argosy-autoscaler")
    if not options.identity:
        options = dataclasses.replace(options, identity=f"{socket.gethostname()}_{host.rng.uuid()}")
    running = asyncio.ensure_future(AutoscalerManager(options, host, client).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await client.close()


if __name__ == "__main__":
    sys.exit(main())
