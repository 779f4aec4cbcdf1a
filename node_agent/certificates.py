"""A node's own certificates on a machine that joined: asked of the cluster, and anew before they end.

The keys were made on this machine and never leave it. A renewal keeps the key and replaces the certificate's file at
once, so that the two always fit whatever dies when; the node's PID 1 starts what uses the file again. Upstream: the
kubelet's `rotateCertificates` and `serverTLSBootstrap`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from argosy import certificate_requests as requests
from argosy import logs
from argosy.client import Client
from argosy.host import Host
from argosy.objects import meta
from argosy.objects.status import ApiError
from node_agent.config import Config

log = logs.get("node_agent.certificates")

RENEW_AT: Final = 0.7
RENEW_SPREAD: Final = 0.2
"""A certificate is renewed after 70 to 90 % of its life; at random, lest nodes of one age all come at once."""
LOOK_MAX_S: Final = 3600.0
POLL_MIN_S: Final = 0.2
POLL_MAX_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 900.0
RETRY_S: Final = 10.0


@dataclass(frozen=True)
class Kept:
    """One certificate."""

    signer: str
    certificate: str
    key: str
    hosts: tuple[str, ...] = ()


class NodeCertificates:
    """`run` until cancelled; `serving` is set once there is a serving certificate."""

    def __init__(self, config: Config, host: Host, client: Client, registered: asyncio.Event) -> None:
        self._user = requests.node_user(config.node_name)
        self._host = host
        self._requests = client.resource(requests.GROUP, "v1", requests.PLURAL)
        self._registered = registered
        self._client = Kept(requests.CLIENT, config.certificate, config.key)
        names = (config.node_name, *config.node_ips)
        self._serving = Kept(requests.SERVING, config.server_certificate, config.server_key, names)
        self._share = RENEW_AT + RENEW_SPREAD * host.rng.random()
        self.serving = asyncio.Event()

    async def run(self) -> None:
        if await self._usable(self._serving):
            self.serving.set()
        # The serving certificate is approved for the addresses that the Node has.
        await self._registered.wait()
        while True:
            pauses_s = [await self._keep(item) for item in (self._client, self._serving)]
            self.serving.set()
            await asyncio.sleep(min(LOOK_MAX_S, *pauses_s))

    async def _keep(self, item: Kept) -> float:
        """Have a good certificate; gives how many seconds until it is to be renewed."""
        while (left_s := await self._left_s(item)) <= 0:
            try:
                await self._renew(item)
            except (ApiError, requests.Refused, OSError) as error:
                log.warning("certificate was not issued", signer=item.signer, error=error)
                if await self._usable(item):
                    return RETRY_S
                await asyncio.sleep(RETRY_S * (0.5 + self._host.rng.random()))
        return left_s

    async def _left_s(self, item: Kept) -> float:
        """Until the time to renew it; not above 0: now."""
        span = await asyncio.to_thread(_validity, item.certificate)
        if span is None:
            return 0.0
        begin_s, end_s = span
        return begin_s + self._share * (end_s - begin_s) - self._host.clock.now()

    async def _usable(self, item: Kept) -> bool:
        span = await asyncio.to_thread(_validity, item.certificate)
        return span is not None and self._host.clock.now() < span[1]

    async def _renew(self, item: Kept) -> None:
        """Raises ApiError, Refused, OSError."""
        request = await asyncio.to_thread(_request, item, self._user)
        obj = await self._requests.create(requests.new(item.signer, request))
        certificate = await self._answer(meta.name(obj))
        await asyncio.to_thread(_write, item.certificate, certificate)
        log.info("certificate issued", signer=item.signer, request=meta.name(obj))

    async def _answer(self, name: str) -> bytes:
        clock = self._host.clock
        deadline_s = clock.monotonic() + ANSWER_TIMEOUT_S
        pause_s = POLL_MIN_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(POLL_MAX_S, pause_s * 1.5)
            try:
                certificate = requests.answer(await self._requests.get(name))
            except ApiError as error:
                if error.code == 404 or clock.monotonic() >= deadline_s:
                    raise
                continue
            if certificate is not None:
                return certificate
            if clock.monotonic() >= deadline_s:
                raise requests.Refused(f"{name} was not approved within {ANSWER_TIMEOUT_S:.0f} s")


# The cryptography package is loaded by what follows: in a thread, and only on a node that joined.


def _validity(path: str) -> tuple[float, float] | None:
    from argosy import pki

    try:
        with open(path, "rb") as file:
            return pki.validity(file.read())
    except (FileNotFoundError, ValueError):
        return None


def _request(item: Kept, user: str) -> bytes:
    """Signed with the key that is there, else with a new one."""
    from argosy import pki

    try:
        with open(item.key, "rb") as file:
            key = file.read()
    except FileNotFoundError:
        key = pki.private_key()
        pki.write_file(item.key, key, 0o600)
    return pki.certificate_request(key, user, organizations=[requests.NODES_GROUP], hosts=item.hosts)


def _write(path: str, certificate: bytes) -> None:
    from argosy import pki

    pki.write_file(path, certificate, 0o644)
