"""`python -m control_plane.ingress`: keeps an nginx by the cluster's Ingresses."""

from __future__ import annotations

import uvloop

from argosy import logs
from argosy.config import parse
from argosy.host import real_host
from argosy.process import client_of, until_signalled
from control_plane.ingress.config import Config
from control_plane.ingress.controller import Ingress
from control_plane.ingress.nginx import Nginx


async def main(config: Config) -> None:
    async with client_of(config, "argosy-ingress") as client:
        await until_signalled(Ingress(config, real_host(), client, Nginx(config.folder)).run())


if __name__ == "__main__":
    flags = parse(Config, "control_plane.ingress", "Ingress controller of a cluster.")
    logs.setup(flags.log_level, flags.log_file)
    uvloop.run(main(flags))
