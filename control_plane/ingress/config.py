"""The ingress process's flags."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.config import option


@dataclass(frozen=True)
class Config:
    api_servers: tuple[str, ...] = option(help="API servers' gRPC addresses, host:port,…")
    folder: str = option(help="folder for nginx's configuration and certificates; it is emptied")
    ca: str = option("", "PEM file of the cluster's certificate authority")
    certificate: str = option("", "PEM file of this process's client certificate")
    key: str = option("", "PEM file of its key")
    identity: str = option("", "name in the leader's lease; empty: a random one")
    listen: str = option("0.0.0.0", "IP that nginx listens on")  # noqa: S104  # it is for everybody
    http_port: int = option(80, "its port for HTTP")
    https_port: int = option(443, "its port for HTTPS")
    publish_address: tuple[str, ...] = option((), "addresses for the status of Ingresses")
    workers: int = option(2, "nginx's worker processes")
    reload_period_s: float = option(0.5, "least time between two reloads, seconds")
    log_level: str = option("info", "debug, info, warning or error")
    log_file: str = option("", "write the log here instead of to stderr")
