"""`python -m control_plane.dns`: the cluster's DNS server."""

from __future__ import annotations

import asyncio
import signal

import uvloop

from argosy import logs
from argosy.client import Client
from argosy.config import parse
from argosy.host import real_host
from argosy.rpc import GrpcNetwork, Tls
from control_plane.dns.server import Config, Dns


async def main(config: Config) -> None:
    tls = Tls.load(config.ca, config.certificate, config.key) if config.ca else None
    client = Client(GrpcNetwork(), config.api_servers, tls, field_manager="dns")
    task = asyncio.ensure_future(Dns(config, real_host(), client).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass
    finally:
        await client.close()


if __name__ == "__main__":
    flags = parse(Config, "control_plane.dns", "DNS server of a cluster.")
    logs.setup(flags.log_level, flags.log_file)
    uvloop.run(main(flags))
