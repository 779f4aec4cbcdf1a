"""How this machine becomes a node of a control plane elsewhere: from address and token to an identity of its own.

The order: see that the server is of the pinned cluster, read what a node must know, see that the name is free, make a
key, have its certificate issued. Only then is anything written; what fails before leaves nothing behind. `argosy
join` calls it. Upstream: kubeadm's join, and the kubelet's TLS bootstrap.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any, Final

from argosy import certificate_requests as requests
from argosy import pki
from argosy.host import Clock
from argosy.http import HttpClient, HttpError, Request
from argosy.objects import conditions
from argosy.objects.types import JsonObject
from deploy import cluster_info, discovery
from deploy.cluster_info import ClusterInfo
from deploy.layout import API_PORT, Layout
from deploy.tokens import JoinToken

CALL_TIMEOUT_S: Final = 10.0
ISSUE_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.1


class JoinError(Exception):
    """This machine cannot join; the message says why, and what helps."""


@dataclass(frozen=True)
class Identity:
    """What a machine has won by joining."""

    info: ClusterInfo
    key: bytes
    certificate: bytes


def parse_server(text: str) -> tuple[str, int]:
    """`HOST[:PORT]`, a URL too. Raises JoinError."""
    host, colon, port = text.removeprefix("https://").rstrip("/").rpartition(":")
    if not colon:
        host, port = port, str(API_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65_536 or "/" in host:
        raise JoinError(f"{text}: the server is given as HOST:PORT, such as 192.0.2.10:{API_PORT}")
    return host, int(port)


class _Api:
    """The few calls that are made with a token, over HTTPS: gRPC admits certificates only."""

    def __init__(self, http: HttpClient, host: str, port: int, tls: ssl.SSLContext, token: JoinToken) -> None:
        self._http = http
        self._base = f"https://{host}:{port}"
        self._tls = tls
        self._headers = {"authorization": f"Bearer {token.bearer}", "content-type": "application/json"}

    async def call(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject | None:
        """None for 404. Raises JoinError."""
        data = json.dumps(body).encode() if body is not None else b""
        request = Request(method, self._base + path, self._headers, data)
        try:
            response = await self._http.send(request, timeout_s=CALL_TIMEOUT_S, tls=self._tls)
        except HttpError as error:
            raise JoinError(f"the API server cannot be asked: {error}") from None
        if response.status == 404:
            return None
        try:
            found: Any = json.loads(response.body)
        except ValueError:
            found = {}
        if response.status == 401:
            raise JoinError("the token is not known or has expired; `argosy token create` makes another")
        if response.status >= 300:
            message = found.get("message") if isinstance(found, dict) else ""
            raise JoinError(f"{method} {path}: {message or f'HTTP status {response.status}'}")
        if not isinstance(found, dict):
            raise JoinError(f"{method} {path}: the answer is not an object")
        return found


async def join(
    http: HttpClient, clock: Clock, server: tuple[str, int], token: JoinToken, node: str, node_ip: str
) -> Identity:
    """Gives the identity that the cluster issued; nothing is written. Raises JoinError, DiscoveryError."""
    host, port = server
    authority = await asyncio.to_thread(discovery.authority, host, port, token.pin)
    api = _Api(http, host, port, discovery.trusting(authority), token)
    info = await _info(api, authority)
    await _check_name(api, node, node_ip)
    key = pki.private_key()
    request = pki.certificate_request(key, requests.node_user(node), organizations=[requests.NODES_GROUP])
    return Identity(info, key, await _issued(api, clock, request))


async def _info(api: _Api, authority: bytes) -> ClusterInfo:
    obj = await api.call("GET", f"/api/v1/namespaces/{cluster_info.NAMESPACE}/configmaps/{cluster_info.NAME}")
    if obj is None:
        raise JoinError("that cluster takes no machines: it was not started by `argosy server`")
    try:
        info = cluster_info.read(obj)
    except cluster_info.InfoError as error:
        raise JoinError(str(error)) from None
    if pki.fingerprint(info.authority.encode()) != pki.fingerprint(authority):
        raise JoinError("the cluster tells of another authority than the one that its token pins")
    return info


async def _check_name(api: _Api, node: str, node_ip: str) -> None:
    """A name that a living machine has is not taken from it; this machine, back again, has its own."""
    found = await api.call("GET", f"/api/v1/nodes/{node}")
    if found is None or not conditions.is_true(found, "Ready"):
        return
    addresses = {item.get("address") for item in (found.get("status") or {}).get("addresses") or ()}
    if node_ip not in addresses:
        others = ", ".join(sorted(str(address) for address in addresses if address != node)) or "an unknown address"
        raise JoinError(f"the cluster has a node {node!r} that is Ready, at {others}; choose another by --node-name")


async def _issued(api: _Api, clock: Clock, request: bytes) -> bytes:
    """Ask for the node's client certificate and wait for it."""
    path = f"/apis/{requests.GROUP}/v1/{requests.PLURAL}"
    made = await api.call("POST", path, requests.new(requests.CLIENT, request))
    name = made["metadata"]["name"] if made is not None else ""
    deadline_s = clock.monotonic() + ISSUE_TIMEOUT_S
    while clock.monotonic() < deadline_s:
        found = await api.call("GET", f"{path}/{name}")
        if found is None:
            raise JoinError(f"the certificate request {name} was deleted")
        try:
            certificate = requests.answer(found)
        except requests.Refused as error:
            raise JoinError(f"the node's certificate was not issued: {error}") from None
        if certificate is not None:
            return certificate
        await asyncio.sleep(POLL_S)
    raise JoinError(
        f"the certificate request {name} was not answered within {ISSUE_TIMEOUT_S:.0f} s; does the controller run?"
    )


def write(layout: Layout, node: str, identity: Identity) -> None:
    """Put the identity where the node looks for it. Raises OSError."""
    pki.write_file(f"{layout.node(node)}/pki/ca.crt", identity.info.authority.encode(), 0o644)
    pki.Identity(identity.certificate, identity.key).write(f"{layout.node_pki(node)}/agent")
