"""The API server's connections to node agents (or kubelets): where a node listens, and proof that it is that node.

Used by everything in this package. The certificate of a node's API must belong to the cluster's authority and name
the node: by the address that was dialled, by host name, or as `system:node:NAME`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from argosy.objects import status
from argosy.objects.types import JsonObject
from argosy.streaming import http1
from argosy.streaming.http1 import HeaderList, HttpFailure, Response, Target

KUBELET_PORT: Final = 10250
ADDRESS_TYPES: Final = ("InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS")


@dataclass(frozen=True)
class Dialer:
    """TLS towards nodes: PEM file names of the authority and of our client certificate and key."""

    ca: str
    certificate: str
    key: str

    @cached_property
    def context(self) -> ssl.SSLContext:
        """Read once; raises OSError and ssl.SSLError."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca)
        context.check_hostname = False
        context.load_cert_chain(self.certificate, self.key)
        return context

    async def send(self, node: JsonObject, method: str, path: str, headers: HeaderList = ()) -> Response:
        """One request to a node's API. Raises ApiError 500 or 503."""
        host, port = address_of(node)
        target = Target(host, port, self.context, checker(node, host))
        try:
            return await http1.send(target, method, path, headers)
        except HttpFailure as error:
            raise status.internal(f"error dialing backend: {error}") from None


def address_of(node: JsonObject) -> tuple[str, int]:
    """Raises ApiError when the node has told no address."""
    state = node.get("status") or {}
    found = {item.get("type"): item.get("address") for item in reversed(state.get("addresses") or ())}
    host = next((found[kind] for kind in ADDRESS_TYPES if found.get(kind)), None)
    if not host:
        raise status.internal(f"no preferred addresses found; known addresses: {list(found.values())}")
    endpoint = (state.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    return str(host), int(endpoint.get("Port") or KUBELET_PORT)


def checker(node: JsonObject, host: str) -> Callable[[ssl.SSLObject], None]:
    """Refuses a certificate of the cluster that belongs to somebody else."""
    name = node["metadata"]["name"]
    names = {host, name, f"system:node:{name}"}
    names |= {str(item.get("address")) for item in (node.get("status") or {}).get("addresses") or ()}

    def check(connection: ssl.SSLObject) -> None:
        shown = names_of(connection.getpeercert() or {})
        if not names & shown:
            raise HttpFailure(f"certificate is valid for {', '.join(sorted(shown)) or 'nobody'}, not {host}")

    return check


def names_of(certificate: Mapping[str, Any]) -> set[str]:
    """Everybody whom a certificate, as ssl gives it, stands for."""
    subject = {value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"}
    return subject | {value for _, value in certificate.get("subjectAltName", ())}
