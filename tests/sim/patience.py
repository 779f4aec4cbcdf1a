"""Trying again and waiting, within limits: what takes longer than `PATIENCE_S` is a violation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from argosy.objects.status import ApiError
from tests.sim.world import World

PATIENCE_S = 300.0


async def insist(world: World, what: str, attempt: Callable[[], Awaitable[object]]) -> None:
    """Again until it is done; a conflict with oneself is as good."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while True:
        try:
            async with asyncio.timeout(10):
                await attempt()
            return
        except (ApiError, TimeoutError) as error:
            if isinstance(error, ApiError) and error.code in (404, 409):
                return
            if loop.time() > deadline:
                world.violation(f"{what}: {error}")
                return
        await asyncio.sleep(0.5)


async def until(world: World, what: str, check: Callable[[], Awaitable[str]]) -> bool:
    """Wait until `check` has nothing to say any more; otherwise it is a violation."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    said = ""
    while loop.time() < deadline:
        try:
            said = await check()
        except ApiError as error:
            said = str(error)
        if not said:
            return True
        await asyncio.sleep(1.0)
    world.violation(f"{what} after {PATIENCE_S:.0f} s: {said}")
    return False
