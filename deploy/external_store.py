"""A cluster on somebody else's etcd (`argosy up --etcd-servers`): checked before anything starts, and made reachable.

API servers run in namespaces of their own. An etcd on this machine's loopback is reached through `deploy.relay`, one
on another network through the uplink. The certificates for https are copied into the cluster's folder.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from deploy.cluster import ConfigError
from deploy.layout import ETCD_CLIENT_PORT, LAN_CIDR, Layout

CONNECT_S: Final = 3.0


@dataclass(frozen=True)
class Files:
    """PEM files for https; `certificate` and `key` only where the etcd asks for a client's."""

    ca: str = ""
    certificate: str = ""
    key: str = ""


def address(url: str) -> tuple[str, int]:
    """Host and port of an etcd URL. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or ETCD_CLIENT_PORT
    except ValueError as error:
        raise ConfigError(f"--etcd-servers {url}: {error}") from None
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/"):
        raise ConfigError(f"--etcd-servers {url}: a URL such as http://127.0.0.1:{ETCD_CLIENT_PORT} is needed")
    return host, port


def is_loopback(host: str) -> bool:
    """Whether it names this machine's own loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def on_loopback(urls: Sequence[str]) -> list[tuple[str, int]]:
    """Those that API servers on a LAN of their own reach through the relay."""
    return [item for item in map(address, urls) if is_loopback(item[0])]


def check(urls: Sequence[str], files: Files, *, uplink: bool) -> None:
    """What can be said before anything starts. Raises ConfigError, OSError for a file that cannot be read."""
    schemes = {urlsplit(url).scheme for url in urls}
    for url in urls:
        host, port = address(url)
        _check_reachable(url, host, port, uplink)
    if len(schemes) > 1:
        raise ConfigError("--etcd-servers: either all http or all https")
    if schemes == {"https"} and not files.ca:
        raise ConfigError("--etcd-servers with https needs --etcd-ca, the PEM file of the authority to trust")
    if schemes == {"http"} and (files.ca or files.certificate or files.key):
        raise ConfigError("--etcd-ca, --etcd-certificate and --etcd-key are for https://… in --etcd-servers")
    if bool(files.certificate) != bool(files.key):
        raise ConfigError("--etcd-certificate and --etcd-key belong together")
    for path in (files.ca, files.certificate, files.key):
        if path:
            with open(path, "rb"):
                pass


def install(layout: Layout, files: Files) -> None:
    """Copy the given files to where the API servers read them. Raises OSError."""
    from argosy.pki import write_file

    wanted = (("-ca.crt", files.ca, 0o644), (".crt", files.certificate, 0o644), (".key", files.key, 0o600))
    for suffix, path, mode in wanted:
        if path:
            with open(path, "rb") as file:
                write_file(f"{layout.pki}/external-etcd{suffix}", file.read(), mode)


def _check_reachable(url: str, host: str, port: int, uplink: bool) -> None:
    if ":" in host:
        raise ConfigError(f"--etcd-servers {url}: the cluster's network has IPv4 only")
    if not is_loopback(host):
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(LAN_CIDR):
                return
        except ValueError:
            pass
        if not uplink:
            raise ConfigError(
                f"--etcd-servers {url}: without an uplink only this machine's loopback is reached; "
                "leave out --no-uplink"
            )
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S):
            pass
    except OSError as error:
        raise ConfigError(f"--etcd-servers {url}: nothing answers there ({error})") from None
