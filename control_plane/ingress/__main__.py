"""`python -m control_plane.ingress`: keeps an nginx by the cluster's Ingresses."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import uvloop

from argosy import logs
from argosy.client import Client
from argosy.config import parse
from argosy.host import real_host
from argosy.rpc import GrpcNetwork, Tls
from control_plane.ingress.config import Config
from control_plane.ingress.controller import Ingress
from control_plane.ingress.nginx import Nginx


async def main(config: Config) -> None:
    tls = Tls.load(config.ca, config.certificate, config.key) if config.ca else None
    client = Client(GrpcNetwork(), config.api_servers, tls, field_manager="argosy-ingress")
    task = asyncio.ensure_future(Ingress(config, real_host(), client, Nginx(config.folder)).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await client.close()


if __name__ == "__main__":
    flags = parse(Config, "control_plane.ingress", "Ingress controller of a cluster.")
    logs.setup(flags.log_level, flags.log_file)
    uvloop.run(main(flags))
