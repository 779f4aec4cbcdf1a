"""`python -m control_plane.dns`: the cluster's DNS server."""

from __future__ import annotations

import uvloop

from argosy import logs
from argosy.config import parse
from argosy.host import real_host
from argosy.process import client_of, until_signalled
from control_plane.dns.server import Config, Dns


async def main(config: Config) -> None:
    async with client_of(config, "dns") as client:
        await until_signalled(Dns(config, real_host(), client).run())


if __name__ == "__main__":
    flags = parse(Config, "control_plane.dns", "DNS server of a cluster.")
    logs.setup(flags.log_level, flags.log_file)
    uvloop.run(main(flags))
