"""Prints every change of a namespace's ConfigMaps, also when API servers are restarted meanwhile."""

import asyncio
import sys

from argosy.client import Client


async def main(namespace: str) -> None:
    async with Client.from_kubeconfig(patience_s=120) as client:
        async for event in client.configmaps.follow(namespace=namespace):
            print(event.type.name, event.object["metadata"]["name"], flush=True)


asyncio.run(main(sys.argv[1]))
