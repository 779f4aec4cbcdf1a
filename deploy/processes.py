"""The command lines of a cluster's control plane: which processes there are, where they run, with which flags. Pure.

The supervisor starts what `control_plane` lists; a node's own processes are `deploy.node.services`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from deploy.cluster import ClusterConfig
from deploy.lan import UPLINK
from deploy.layout import (
    API_GRPC_PORT,
    API_PORT,
    CLUSTER_CIDR,
    CLUSTER_DOMAIN,
    DNS_PORT,
    ETCD_CLIENT_PORT,
    ETCD_PEER_PORT,
    SERVICE_CIDR,
    UPLINK_DNS,
    Layout,
    control_ip,
    store_ip,
    store_name,
)

NODE_PORT_RANGE: Final = "30000-32767"
HOST_SOCKET: Final = "host"


@dataclass(frozen=True)
class Probe:
    """What completes a TLS handshake when a process is well, in its namespace."""

    host: str
    port: int
    identity: str
    """`PATH` of a client's PATH.crt and PATH.key."""


@dataclass(frozen=True)
class Process:
    """One process that the supervisor keeps running."""

    name: str
    """As `argosy status` shows it."""
    kind: str
    arguments: tuple[str, ...]
    namespace: str = ""
    """Path of the network namespace it runs in; empty: the host's."""
    sockets: tuple[str, ...] = ()
    """Listening sockets handed to it, by the supervisor's names, as `--listen-fds`."""
    stage: int = 1
    """0: started first, as the others wait for it."""
    stop_order: int = 0
    """Lower ones are stopped first."""
    rotates: bool = True
    """It rotates its own log; otherwise the supervisor does."""
    probe: Probe | None = None


def python(module: str, *flags: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *flags)


def control_plane(layout: Layout, config: ClusterConfig) -> list[Process]:
    """Store members, API servers, controllers, scheduler, DNS and uplink of a cluster, in starting order."""
    result = [_store(layout, config, number) for number in range(1, config.stores + 1)]
    if config.api_servers:
        return _uplink(layout, config)
    for number in range(1, config.apiservers + 1):
        result.append(_api_server(layout, config, number))
    for number in range(1, config.apiservers + 1):
        result.append(_controllers(layout, config, number))
        result.append(_scheduler(layout, config, number))
    result.append(_dns(layout, config))
    return result + _uplink(layout, config)


def api_sockets(config: ClusterConfig) -> dict[str, tuple[str, str, int]]:
    """Listening sockets of the API servers: name → member whose namespace it is made in, address, port."""
    if config.api_servers:
        return {}
    result = {HOST_SOCKET: ("", "127.0.0.1", config.port)}
    for number in range(1, config.apiservers + 1):
        result[f"cp-{number}"] = (f"cp-{number}", control_ip(number), API_PORT)
    return result


def etcd_addresses(config: ClusterConfig) -> list[str]:
    """`host:port` of the store's members, as the API server dials them."""
    if config.etcd_servers:
        return [url.removeprefix("https://").removeprefix("http://").rstrip("/") for url in config.etcd_servers]
    return [f"{store_ip(number)}:{ETCD_CLIENT_PORT}" for number in range(1, config.stores + 1)]


def _log(layout: Layout, name: str) -> tuple[str, str]:
    return ("--log-file", layout.log(name))


def _further(config: ClusterConfig, kind: str) -> list[str]:
    return config.flags.get(kind, [])


def _store(layout: Layout, config: ClusterConfig, number: int) -> Process:
    name = store_name(number)
    members = ",".join(
        f"{store_name(other)}={store_ip(other)}:{ETCD_PEER_PORT}" for other in range(1, config.stores + 1)
    )
    return Process(
        name,
        "etcd",
        python(
            "etcd",
            *("--name", name, "--data-dir", layout.store(number)),
            *("--listen-client", f"{store_ip(number)}:{ETCD_CLIENT_PORT}"),
            *("--listen-peer", f"{store_ip(number)}:{ETCD_PEER_PORT}"),
            *("--initial-cluster", members, "--cluster-token", f"argosy-{config.name}"),
            *("--ca", f"{layout.pki}/etcd-ca.crt", "--certificate", f"{layout.pki}/{name}.crt"),
            *("--key", f"{layout.pki}/{name}.key", *_log(layout, name), *_further(config, "etcd")),
        ),
        namespace=layout.namespace_path(name),
        stage=0,
        stop_order=3,
        probe=Probe(store_ip(number), ETCD_CLIENT_PORT, f"{layout.pki}/apiserver-etcd-client"),
    )


def _api_server(layout: Layout, config: ClusterConfig, number: int) -> Process:
    name, ip, pki = f"apiserver-{number}", control_ip(number), layout.pki
    if config.etcd_servers:
        store = ["--etcd-servers", ",".join(etcd_addresses(config))]
        if config.etcd_servers[0].startswith("https://"):
            store += ["--etcd-ca", f"{pki}/external-etcd-ca.crt"]
            store += ["--etcd-certificate", f"{pki}/external-etcd.crt", "--etcd-key", f"{pki}/external-etcd.key"]
    else:
        store = ["--etcd-servers", ",".join(etcd_addresses(config)), "--etcd-ca", f"{pki}/etcd-ca.crt"]
        store += ["--etcd-certificate", f"{pki}/apiserver-etcd-client.crt"]
        store += ["--etcd-key", f"{pki}/apiserver-etcd-client.key"]
    return Process(
        name,
        "apiserver",
        python(
            "control_plane.apiserver",
            *store,
            *("--listen-grpc", f"{ip}:{API_GRPC_PORT},unix:{layout.api_socket(number)}"),
            *("--advertise-address", ip, "--ca", f"{pki}/ca.crt", "--client-ca", f"{pki}/ca.crt"),
            *("--certificate", f"{pki}/apiserver.crt", "--key", f"{pki}/apiserver.key"),
            *("--kubelet-certificate", f"{pki}/apiserver-kubelet-client.crt"),
            *("--kubelet-key", f"{pki}/apiserver-kubelet-client.key"),
            *("--service-account-key", f"{pki}/sa.key", "--service-cidr", SERVICE_CIDR),
            *("--node-port-range", NODE_PORT_RANGE, *_log(layout, name), *_further(config, "apiserver")),
        ),
        namespace=layout.namespace_path(f"cp-{number}"),
        sockets=(HOST_SOCKET, f"cp-{number}"),
        stage=0,
        stop_order=2,
        probe=Probe(ip, API_PORT, f"{pki}/admin"),
    )


def _client(layout: Layout, config: ClusterConfig, name: str, kind: str) -> list[str]:
    """Flags of a client of the API servers; its own group's first."""
    number = int(name.rpartition("-")[2])
    order = sorted(range(1, config.apiservers + 1), key=lambda other: (other != number, other))
    servers = ",".join(f"{control_ip(other)}:{API_GRPC_PORT}" for other in order)
    return [
        *("--api-servers", servers, "--ca", f"{layout.pki}/ca.crt"),
        *("--certificate", f"{layout.pki}/{kind}.crt", "--key", f"{layout.pki}/{kind}.key"),
        *_log(layout, name),
        *_further(config, kind),
    ]


def _controllers(layout: Layout, config: ClusterConfig, number: int) -> Process:
    name, pki = f"controllers-{number}", layout.pki
    return Process(
        name,
        "controllers",
        python(
            "control_plane.controllers",
            *("--cluster-cidr", CLUSTER_CIDR, "--service-cluster-ip-range", SERVICE_CIDR),
            *("--service-account-key", f"{pki}/sa.key", "--root-ca", f"{pki}/ca.crt"),
            *("--cluster-signing-certificate", f"{pki}/ca.crt", "--cluster-signing-key", f"{pki}/ca.key"),
            *_client(layout, config, name, "controllers"),
        ),
        namespace=layout.namespace_path(f"cp-{number}"),
    )


def _scheduler(layout: Layout, config: ClusterConfig, number: int) -> Process:
    name = f"scheduler-{number}"
    flags = ("--identity", name, *_client(layout, config, name, "scheduler"))
    arguments = python("control_plane.scheduler", *flags)
    return Process(name, "scheduler", arguments, namespace=layout.namespace_path(f"cp-{number}"))


def _dns(layout: Layout, config: ClusterConfig) -> Process:
    name = "dns-1"
    upstream = ["--upstream", UPLINK_DNS] if config.uplink else []
    arguments = python(
        "control_plane.dns",
        *("--listen", f"{control_ip(1)}:{DNS_PORT}", "--cluster-domain", CLUSTER_DOMAIN, *upstream),
        *_client(layout, config, name, "dns"),
    )
    return Process(name, "dns", arguments, namespace=layout.namespace_path("cp-1"), stop_order=1)


def _uplink(layout: Layout, config: ClusterConfig) -> list[Process]:
    """slirp4netns: the LAN's way out, as an ordinary process of the host; nothing of the host's network changes."""
    if not config.uplink:
        return []
    arguments = (
        *("slirp4netns", "--configure", "--mtu=1500", "--disable-host-loopback", "--netns-type=path"),
        *(layout.namespace_path("lan"), UPLINK),
    )
    return [Process("uplink", "uplink", arguments, stop_order=4, rotates=False)]
