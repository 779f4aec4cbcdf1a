"""The command lines of a cluster's control plane: which processes there are, where they run, with which flags. Pure.

The supervisor starts what `control_plane` lists, each where the `Place` says; a node's own processes are
`deploy.node.services`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from deploy import external_store
from deploy.addon_objects import METRICS_PORT, WEBHOOK_PORT
from deploy.cluster import ClusterConfig
from deploy.lan import UPLINK
from deploy.layout import LOAD_BALANCER_POOL, SERVICE_CIDR, Layout
from deploy.place import HOST_SOCKET, INGRESS_SOCKET, RELAY_SOCKET, ControlPlace, DnsPlace, Place, StorePlace

NODE_PORT_RANGE: Final = "30000-32767"


@dataclass(frozen=True)
class Probe:
    """What completes a TLS handshake when a process is well, in its namespace."""

    host: str
    port: int
    identity: str
    """`PATH` of a client's PATH.crt and PATH.key."""
    ca: str
    """PEM file of the authority whose certificate the server must show."""


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


def is_own(spec: Process) -> bool:
    """A process of this project, rather than a program of others: it takes the flags that all of ours take."""
    return spec.arguments[0] == sys.executable


def python(module: str, *flags: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *flags)


def control_plane(layout: Layout, config: ClusterConfig, place: Place) -> list[Process]:
    """Store members, API servers, controllers, scheduler, DNS and uplink of a cluster, in starting order."""
    result = [_store(layout, config, place, item) for item in place.stores]
    result += _relay(layout, config, place)
    groups = list(enumerate(place.control, start=1))
    result += [_api_server(layout, config, place, item, number) for number, item in groups]
    for number, item in groups:
        result.append(_controllers(layout, config, place, item, number))
        result.append(_scheduler(layout, config, place, item, number))
        result.append(_metrics(layout, config, place, item, number))
        result.append(_autoscaler(layout, config, place, item, number))
        result += _ingress(layout, config, place, item, number)
    if place.dns is not None:
        result.append(_dns(layout, config, place, place.dns))
    return result + _ingress_relay(layout, place) + _uplink(layout, config)


def etcd_addresses(config: ClusterConfig, place: Place) -> list[str]:
    """`host:port` of the store's members, as the API server dials them."""
    if config.etcd_servers:
        return [f"{host}:{port}" for host, port in map(external_store.address, config.etcd_servers)]
    return [f"{item.ip}:{item.client_port}" for item in place.stores]


def _log(layout: Layout, name: str) -> tuple[str, str]:
    return ("--log-file", layout.log(name))


def _further(config: ClusterConfig, kind: str, name: str) -> list[str]:
    """Flags that the user added: for all processes of a kind, then for this one."""
    return [*config.flags.get(kind, []), *config.flags.get(name, [])]


def _store(layout: Layout, config: ClusterConfig, place: Place, item: StorePlace) -> Process:
    name = item.name
    members = ",".join(f"{other.name}={other.ip}:{other.peer_port}" for other in place.stores)
    return Process(
        name,
        "etcd",
        python(
            "etcd",
            *("--name", name, "--data-dir", layout.store(name)),
            *("--listen-client", f"{item.ip}:{item.client_port}"),
            *("--listen-peer", f"{item.ip}:{item.peer_port}"),
            *("--initial-cluster", members, "--cluster-token", f"argosy-{config.name}"),
            *("--ca", f"{layout.pki}/etcd-ca.crt", "--certificate", f"{layout.pki}/{name}.crt"),
            *("--key", f"{layout.pki}/{name}.key", *_log(layout, name), *_further(config, "etcd", name)),
        ),
        namespace=item.namespace,
        stage=0,
        stop_order=3,
        probe=Probe(item.ip, item.client_port, f"{layout.pki}/apiserver-etcd-client", f"{layout.pki}/etcd-ca.crt"),
    )


def _relay(layout: Layout, config: ClusterConfig, place: Place) -> list[Process]:
    """Where the store is an etcd on this machine's loopback: what makes it reachable from the namespaces."""
    sockets = tuple(name for name in place.sockets if name.startswith(RELAY_SOCKET))
    if not sockets:
        return []
    name = "etcd-relay"
    targets = ",".join(f"{host}:{port}" for host, port in external_store.on_loopback(config.etcd_servers))
    arguments = python("deploy.relay", "--targets", targets, *_log(layout, name))
    return [Process(name, "relay", arguments, sockets=sockets, stage=0, stop_order=3)]


def _api_server(layout: Layout, config: ClusterConfig, place: Place, item: ControlPlace, number: int) -> Process:
    name, ip, pki = f"apiserver-{number}", item.ip, layout.pki
    store = ["--etcd-servers", ",".join(etcd_addresses(config, place))]
    if config.etcd_servers:
        if config.etcd_servers[0].startswith("https://"):
            store += ["--etcd-ca", f"{pki}/external-etcd-ca.crt"]
        if config.etcd_identity:
            store += ["--etcd-certificate", f"{pki}/external-etcd.crt", "--etcd-key", f"{pki}/external-etcd.key"]
    else:
        store += ["--etcd-ca", f"{pki}/etcd-ca.crt", "--etcd-certificate", f"{pki}/apiserver-etcd-client.crt"]
        store += ["--etcd-key", f"{pki}/apiserver-etcd-client.key"]
    return Process(
        name,
        "apiserver",
        python(
            "control_plane.apiserver",
            *store,
            *("--listen-grpc", f"{ip}:{item.grpc_port},unix:{layout.api_socket(number)}"),
            *("--advertise-address", ip, "--advertise-port", str(item.port)),
            *("--ca", f"{pki}/ca.crt", "--client-ca", f"{pki}/ca.crt"),
            *("--certificate", f"{pki}/apiserver.crt", "--key", f"{pki}/apiserver.key"),
            *("--kubelet-certificate", f"{pki}/apiserver-kubelet-client.crt"),
            *("--kubelet-key", f"{pki}/apiserver-kubelet-client.key"),
            *("--proxy-client-certificate", f"{pki}/front-proxy-client.crt"),
            *("--proxy-client-key", f"{pki}/front-proxy-client.key"),
            *("--requestheader-client-ca", f"{pki}/front-proxy-ca.crt"),
            *("--service-account-key", f"{pki}/sa.key", "--service-cidr", SERVICE_CIDR),
            *("--node-port-range", NODE_PORT_RANGE, *_log(layout, name), *_further(config, "apiserver", name)),
        ),
        namespace=item.namespace,
        sockets=(HOST_SOCKET, item.name),
        stage=0,
        stop_order=2,
        probe=Probe(ip, item.port, f"{pki}/admin", f"{pki}/ca.crt"),
    )


def _client(
    layout: Layout, config: ClusterConfig, place: Place, nearest: ControlPlace, name: str, kind: str
) -> list[str]:
    """Flags of a client of the API servers; its own group's first."""
    order = sorted(place.control, key=lambda other: (other != nearest, other.name))
    servers = ",".join(f"{other.ip}:{other.grpc_port}" for other in order)
    return [
        *("--api-servers", servers, "--ca", f"{layout.pki}/ca.crt"),
        *("--certificate", f"{layout.pki}/{kind}.crt", "--key", f"{layout.pki}/{kind}.key"),
        *_log(layout, name),
        *_further(config, kind, name),
    ]


def _controllers(layout: Layout, config: ClusterConfig, place: Place, item: ControlPlace, number: int) -> Process:
    name, pki = f"controllers-{number}", layout.pki
    return Process(
        name,
        "controllers",
        python(
            "control_plane.controllers",
            *("--cluster-cidr", config.cluster_cidr, "--service-cluster-ip-range", SERVICE_CIDR),
            *("--service-account-key", f"{pki}/sa.key", "--root-ca", f"{pki}/ca.crt"),
            *("--cluster-signing-certificate", f"{pki}/ca.crt", "--cluster-signing-key", f"{pki}/ca.key"),
            *(("--load-balancer-pool", LOAD_BALANCER_POOL) if config.is_on_lan else ()),
            *_client(layout, config, place, item, name, "controllers"),
        ),
        namespace=item.namespace,
    )


def _scheduler(layout: Layout, config: ClusterConfig, place: Place, item: ControlPlace, number: int) -> Process:
    name = f"scheduler-{number}"
    flags = ("--identity", name, *_client(layout, config, place, item, name, "scheduler"))
    arguments = python("control_plane.scheduler", *flags)
    return Process(name, "scheduler", arguments, namespace=item.namespace)


def _metrics(layout: Layout, config: ClusterConfig, place: Place, item: ControlPlace, number: int) -> Process:
    name, pki = f"metrics-{number}", layout.pki
    arguments = python(
        "control_plane.metrics",
        *("--listen", f"{item.ip}:{METRICS_PORT}", "--server-certificate", f"{pki}/metrics-server.crt"),
        *("--server-key", f"{pki}/metrics-server.key"),
        *_client(layout, config, place, item, name, "metrics"),
    )
    probe = Probe(item.ip, METRICS_PORT, f"{pki}/admin", f"{pki}/ca.crt")
    return Process(name, "metrics", arguments, namespace=item.namespace, probe=probe)


def _autoscaler(layout: Layout, config: ClusterConfig, place: Place, item: ControlPlace, number: int) -> Process:
    name, pki = f"autoscaler-{number}", layout.pki
    flags = [
        *("--webhook-listen", f"{item.ip}:{WEBHOOK_PORT}"),
        *("--webhook-certificate", f"{pki}/vpa-webhook.crt", "--webhook-key", f"{pki}/vpa-webhook.key"),
        *(("--node-provider", f"unix:{layout.node_groups_socket}") if config.node_groups else ()),
        *_client(layout, config, place, item, name, "autoscaler"),
    ]
    return Process(name, "autoscaler", python("control_plane.autoscaler", *flags), namespace=item.namespace)


def _ingress(layout: Layout, config: ClusterConfig, place: Place, item: ControlPlace, number: int) -> list[Process]:
    if not config.ingress:
        return []
    name = f"ingress-{number}"
    arguments = python(
        "control_plane.ingress",
        *("--listen", item.ip, "--publish-address", ",".join(other.ip for other in place.control)),
        *("--folder", layout.ingress(number)),
        *_client(layout, config, place, item, name, "ingress"),
    )
    return [Process(name, "ingress", arguments, namespace=item.namespace)]


def _ingress_relay(layout: Layout, place: Place) -> list[Process]:
    """The host's port: its socket is the host's, what it leads to is in the first group's namespace."""
    if INGRESS_SOCKET not in place.sockets:
        return []
    name, first = "ingress-relay", place.control[0]
    arguments = python("deploy.relay", "--targets", f"{first.ip}:80", *_log(layout, name))
    return [Process(name, "relay", arguments, namespace=first.namespace, sockets=(INGRESS_SOCKET,))]


def _dns(layout: Layout, config: ClusterConfig, place: Place, item: DnsPlace) -> Process:
    name = "dns-1"
    upstream = ["--upstream", ",".join(item.upstream)] if item.upstream else []
    arguments = python(
        "control_plane.dns",
        *("--listen", f"{item.ip}:{item.port}", "--cluster-domain", config.cluster_domain, *upstream),
        *_client(layout, config, place, place.control[0], name, "dns"),
    )
    return Process(name, "dns", arguments, namespace=item.namespace, stop_order=1)


def _uplink(layout: Layout, config: ClusterConfig) -> list[Process]:
    """slirp4netns: the LAN's way out, as an ordinary process of the host; nothing of the host's network changes."""
    if not config.uplink:
        return []
    arguments = (
        *("slirp4netns", "--configure", "--mtu=1500", "--disable-host-loopback", "--netns-type=path"),
        *(layout.namespace_path("lan"), UPLINK),
    )
    return [Process("uplink", "uplink", arguments, stop_order=4, rotates=False)]
