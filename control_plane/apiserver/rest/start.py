"""Puts the REST edge together and binds its sockets; imported only when REST is asked for."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

from argosy.host import Host
from control_plane.apiserver.aggregation.discovery import MergedDiscovery
from control_plane.apiserver.aggregation.openapi import MergedOpenApi
from control_plane.apiserver.assembly import Parts
from control_plane.apiserver.config import Config
from control_plane.apiserver.discovery import Discovery
from control_plane.apiserver.request import User
from control_plane.apiserver.rest.aggregated import Aggregated
from control_plane.apiserver.rest.app import Rest, server_tls
from control_plane.apiserver.rest.documents import Documents
from control_plane.apiserver.rest.endpoints import Check, Endpoints
from control_plane.apiserver.rest.paths import ApiPath
from control_plane.apiserver.rest.streams import Streams

BACKLOG = 1024


async def listen(parts: Parts, config: Config, host: Host) -> tuple[Rest, list[tuple[str, int]]]:
    """The running edge and its addresses. Raises OSError, ValueError."""
    if not config.certificate or not config.key:
        raise ValueError("REST is served over TLS: --certificate and --key are needed")
    tls = server_tls(config.client_ca or config.ca, config.certificate, config.key)
    address = f"{config.advertise_address or '127.0.0.1'}:{config.advertise_port}"
    aggregation = parts.aggregation
    own = Discovery(parts.resources, address)
    discovery = MergedDiscovery(own, aggregation.services, aggregation.documents)
    checks: dict[str, Check] = {
        "etcd": parts.feeder.ready.is_set,
        "informer-sync": parts.feeder.ready.is_set,
        "kms-providers": parts.encryption.is_healthy,
        "shutdown": lambda: parts.healthy,
    }
    documents = Documents(parts.kinds, parts.catalog, parts.resources, parts.custom.versions_served)
    openapi = MergedOpenApi(documents.get, aggregation.services, aggregation.documents)
    endpoints = Endpoints(discovery, lambda: openapi, parts.tokens, parts.metrics, checks)
    streams: Callable[[web.BaseRequest, ApiPath, User], Awaitable[web.StreamResponse]] = Streams(parts, config).handle
    aggregated = Aggregated(aggregation, parts.authorization)
    rest = Rest(
        *(parts.pipeline, parts.authentication, endpoints, streams, aggregated, parts.metrics, parts.custom),
        host.clock,
        host.rng,
    )
    sockets = [_bound(item) for item in config.listen]
    sockets += [_handed_over(item) for item in config.listen_fds]
    await rest.listen(sockets, tls)
    return rest, [item.getsockname()[:2] for item in sockets]


def _bound(address: str) -> socket.socket:
    name, _, port = address.rpartition(":")
    name = name.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    item = socket.socket(family, socket.SOCK_STREAM)
    try:
        item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        item.bind((name, int(port)))
        item.listen(BACKLOG)
        item.setblocking(False)
    except OSError:
        item.close()
        raise
    return item


def _handed_over(number: str) -> socket.socket:
    item = socket.socket(fileno=int(number))
    item.setblocking(False)
    return item
