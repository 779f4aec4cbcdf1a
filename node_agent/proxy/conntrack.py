"""Which connection tracking entries a change of a service leaves behind, and forgetting them.

A UDP flow has no end that the kernel could see: while a client keeps sending from one port, its entry leads to the
endpoint chosen first, even when that is gone, and a flow that was sent before the service had endpoints stays
unrouted. TCP connections to a dead endpoint end by themselves. But one that began before its address had rules, with
an address that others route to this node, was forwarded as it came (mostly back to the router, and round and round),
and all its further attempts follow its entry: it would never reach the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from argosy import logs
from node_agent.proxy.command import CommandError, run
from node_agent.proxy.model import ServicePort

log = logs.get("node_agent.proxy.conntrack")

MAX_COMMANDS: Final = 512
"""Entries beyond are left to expire by themselves (30 to 120 s)."""

Deletion = tuple[str, ...]
"""Arguments of one `conntrack -D`."""


def deletions(old: Iterable[ServicePort], new: Iterable[ServicePort]) -> list[Deletion]:
    """What to forget when the ports of one service turn from `old` into `new`."""
    old, new = tuple(old), tuple(new)
    return [*_udp(old, new), *_lost(old, new)]


def _lost(old: Sequence[ServicePort], new: Sequence[ServicePort]) -> list[Deletion]:
    """TCP connections in the making to addresses from outside that are new here. Those that already lead to an
    endpoint answer from there (--reply-src), and stay."""
    known = {(ip, port.port) for port in old for ip in port.external_ips + port.load_balancer_ips}
    return [
        (*_start(port), "--orig-dst", ip, "--reply-src", ip, "--dport", str(port.port), "--state", "SYN_SENT")
        for port in new
        if port.protocol == "tcp"
        for ip in port.external_ips + port.load_balancer_ips
        if (ip, port.port) not in known
    ]


def _udp(old: Sequence[ServicePort], new: Sequence[ServicePort]) -> list[Deletion]:
    before = {(port.name, port.family): port for port in old if port.protocol == "udp"}
    after = {(port.name, port.family): port for port in new if port.protocol == "udp"}
    result: dict[Deletion, None] = {}
    for key, port in before.items():
        now = after.get(key)
        alive = _endpoints(now) if now else set()
        gone = _endpoints(port) - alive
        for destination in _destinations(port):
            for ip, number in sorted(gone):
                result[(*destination, "--dst-nat", ip, "--reply-port-src", str(number))] = None
    for key, port in after.items():
        was = before.get(key)
        if port.has_endpoints and (was is None or not was.has_endpoints or _moved(was, port)):
            for destination in _destinations(port):
                result[destination] = None
    return list(result)


def _endpoints(port: ServicePort) -> set[tuple[str, int]]:
    """With their port: a pod stays where it is when only the targetPort changes."""
    return {(endpoint.ip, endpoint.port) for endpoint in port.cluster_endpoints + port.local_endpoints}


def _moved(old: ServicePort, new: ServicePort) -> bool:
    return set(_destinations(new)) != set(_destinations(old))


def _start(port: ServicePort) -> Deletion:
    return ("-D", "-f", "ipv4" if port.family == "IPv4" else "ipv6", "-p", port.protocol)


def _destinations(port: ServicePort) -> list[Deletion]:
    start = _start(port)
    ips = (port.cluster_ip, *port.external_ips, *port.load_balancer_ips)
    result: list[Deletion] = [(*start, "--orig-dst", ip, "--dport", str(port.port)) for ip in ips]
    if port.node_port:
        result.append((*start, "--dport", str(port.node_port)))
    return result


class Conntrack:
    """Runs the deletions; without the `conntrack` tool it says so once and does nothing."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        self._command = [*prefix, "conntrack"]
        self._missing = False

    async def forget(self, entries: Sequence[Deletion]) -> None:
        if len(entries) > MAX_COMMANDS:
            log.warning("too many connection tracking entries to forget at once", entries=len(entries))
        for arguments in entries[:MAX_COMMANDS]:
            if self._missing:
                return
            try:
                await run([*self._command, *arguments], allowed=(0, 1))
            except CommandError as error:
                self._missing = "No such file" in str(error)
                log.warning("connection tracking entries stay", error=error)
