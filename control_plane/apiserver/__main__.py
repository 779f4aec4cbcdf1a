"""The API server as a process: `python -m control_plane.apiserver --etcd-servers … --listen …`."""

from __future__ import annotations

import asyncio
import signal

import uvloop

from argosy import config as configuration
from argosy import logs
from argosy.host import real_host
from argosy.rpc import GrpcNetwork
from control_plane.apiserver.config import Config
from control_plane.apiserver.server import ApiServer


async def _serve(config: Config) -> None:
    server = ApiServer(config, real_host(), GrpcNetwork())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.run()


def main() -> None:
    config = configuration.parse(Config, "apiserver", "Serves the Kubernetes API from an etcd store.")
    logs.setup(config.log_level, config.log_file)
    uvloop.run(_serve(config))


if __name__ == "__main__":
    main()
