"""The metrics server's process: `python -m control_plane.metrics --api-servers …`."""

from __future__ import annotations

import asyncio
import ssl
import sys

import uvloop

from argosy import config, logs
from argosy.client import Client
from argosy.host import Host, real_host
from argosy.http import StreamHttp
from argosy.process import client_of, until_signalled
from control_plane.metrics.config import Config


def main() -> int:
    options = config.parse(Config, "argosy-metrics", "Argosy's metrics server.")
    logs.setup(options.log_level, options.log_file)
    try:
        options.validate()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    uvloop.run(_run(options, real_host()))
    return 0


async def _run(options: Config, host: Host) -> None:
    async with client_of(options, "metrics-server") as client:
        await until_signalled(_serve(options, host, client))


async def _serve(options: Config, host: Host, client: Client) -> None:
    from control_plane.aggregated.access import Access
    from control_plane.aggregated.identity import Trust
    from control_plane.aggregated.server import AggregatedServer
    from control_plane.metrics.runtime import MetricsRuntime

    to_nodes: ssl.SSLContext | None = None
    if options.ca:
        to_nodes = ssl.create_default_context(cafile=options.ca)
        to_nodes.load_cert_chain(options.certificate, options.key)
    runtime = MetricsRuntime(options, host, client, StreamHttp(), to_nodes)
    trust, access = Trust(client, host.clock), Access(client, host.clock)
    server = AggregatedServer(runtime.api.groups(), runtime.api.answer, trust, access, host.clock)
    working = asyncio.ensure_future(runtime.run())
    try:
        await server.listen([options.listen], options.server_certificate, options.server_key)
        await working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await server.stop()


if __name__ == "__main__":
    sys.exit(main())
