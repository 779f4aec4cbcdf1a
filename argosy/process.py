"""What entry points of API clients share: the client that their flags name, and running until told to end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Protocol

from argosy.client import Client
from argosy.rpc import GrpcNetwork, Tls


class ApiFlags(Protocol):
    """The flags of every client of the API servers."""

    @property
    def api_servers(self) -> tuple[str, ...]: ...
    @property
    def ca(self) -> str: ...
    @property
    def certificate(self) -> str: ...
    @property
    def key(self) -> str: ...


def client_of(flags: ApiFlags, field_manager: str) -> Client:
    """Raises OSError for files that cannot be read. Close it."""
    tls = Tls.load(flags.ca, flags.certificate, flags.key) if flags.ca else None
    return Client(GrpcNetwork(), flags.api_servers, tls, field_manager=field_manager)


async def until_signalled(work: Coroutine[object, object, None]) -> None:
    """Run it until it ends or raises, or is cancelled by SIGTERM or SIGINT."""
    running = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
