"""A cluster's certificates: made once, completed when members are added, made anew before they end.

Who is who is ARCHITECTURE.md's list. Files: `pki/NAME.crt|.key` in the cluster's state folder, and in `nodes/N/pki`
what is shown to a node. A machine that is a node of a control plane elsewhere has none of this: it got its
certificates from there (`deploy.joining`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial

from argosy import pki
from argosy.host import Host
from deploy.addon_objects import METRICS_SERVICE, NAMESPACE
from deploy.cluster import ClusterConfig, NodeConfig
from deploy.layout import API_SERVICE_IP, Layout
from deploy.place import Place

RENEW_BEFORE_S = 30 * 86400.0

_CLIENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("kubernetes-admin", ("system:masters",)),
    "scheduler": ("system:kube-scheduler", ()),
    "controllers": ("system:kube-controller-manager", ()),
    "dns": ("system:kube-dns", ()),
    "ingress": ("system:argosy-ingress", ()),
    "autoscaler": ("system:argosy-autoscaler", ()),
    "metrics": ("system:metrics-server", ()),
    "apiserver-kubelet-client": ("kube-apiserver-kubelet-client", ("system:masters",)),
}


def ensure(layout: Layout, config: ClusterConfig, place: Place, host: Host) -> None:
    """Make what is missing or about to end, where the control plane is. Raises OSError."""
    if not config.has_control_plane:
        return
    authority = _authority(layout, "ca", f"argosy-{config.name}", host)
    for name, (common_name, groups) in _CLIENTS.items():
        _keep(f"{layout.pki}/{name}", host, partial(authority.issue, common_name, organizations=groups))
    _keep(f"{layout.pki}/apiserver", host, lambda: _api_server(authority, config, place))
    for name, hosts in _served(place).items():
        _keep(
            f"{layout.pki}/{name}", host, partial(authority.issue, hosts[0], hosts=hosts, server=True, client=False)
        )
    # An authority of its own: whoever holds one of its certificates may speak for anybody to aggregated API servers.
    front = _authority(layout, "front-proxy-ca", f"argosy-{config.name}-front-proxy", host)
    _keep(f"{layout.pki}/front-proxy-client", host, lambda: front.issue("front-proxy-client"))
    if not os.path.exists(f"{layout.pki}/sa.key"):
        private, public = pki.key_pair()
        pki.write_file(f"{layout.pki}/sa.pub", public, 0o644)
        pki.write_file(f"{layout.pki}/sa.key", private, 0o600)
    if not config.etcd_servers:
        _ensure_stores(layout, config, place, host)
    for node in config.nodes:
        # The folder of one that leaves may already be gone, and is not to come again.
        if not node.leaving:
            ensure_node(layout, node, place.nodes[node.name].ip, authority, host)


def _served(place: Place) -> dict[str, list[str]]:
    """Names and addresses of the control plane's further servers."""
    return {
        "metrics-server": [f"{METRICS_SERVICE}.{NAMESPACE}.svc"],
        "vpa-webhook": [item.ip for item in place.control],
    }


def ensure_node(layout: Layout, node: NodeConfig, ip: str, authority: pki.Authority, host: Host) -> None:
    """What one node is shown: the agent's and proxy's identities, and the certificate of its HTTPS server."""
    folder = f"{layout.node(node.name)}/pki"
    pki.write_file(f"{folder}/ca.crt", authority.certificate, 0o644)
    user = f"system:node:{node.name}"
    _keep(f"{folder}/agent", host, lambda: authority.issue(user, organizations=["system:nodes"]))
    _keep(f"{folder}/proxy", host, lambda: authority.issue("system:kube-proxy"))
    hosts = [node.name, ip]
    _keep(f"{folder}/server", host, lambda: authority.issue(user, hosts=hosts, server=True, client=False))


def api_hosts(config: ClusterConfig, place: Place) -> list[str]:
    """Every name and address that the API server is called by."""
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    machine = [] if config.is_on_lan else [socket.gethostname()]
    return [
        *("localhost", *service, f"kubernetes.default.svc.{config.cluster_domain}", *machine),
        *("127.0.0.1", API_SERVICE_IP, *(item.ip for item in place.control)),
    ]


def _api_server(authority: pki.Authority, config: ClusterConfig, place: Place) -> pki.Identity:
    """The authority goes along in the handshake: a machine that joins knows only the hash of its key."""
    made = authority.issue("kube-apiserver", hosts=api_hosts(config, place), server=True, client=False)
    return pki.Identity(made.certificate + authority.certificate, made.key)


def _ensure_stores(layout: Layout, config: ClusterConfig, place: Place, host: Host) -> None:
    authority = _authority(layout, "etcd-ca", f"argosy-{config.name}-etcd", host)
    _keep(f"{layout.pki}/apiserver-etcd-client", host, lambda: authority.issue("kube-apiserver-etcd-client"))
    for item in place.stores:
        hosts = sorted({item.name, item.ip, "localhost", "127.0.0.1"})
        _keep(f"{layout.pki}/{item.name}", host, partial(authority.issue, item.name, hosts=hosts, server=True))


def _authority(layout: Layout, name: str, common_name: str, host: Host) -> pki.Authority:
    path = f"{layout.pki}/{name}"
    if os.path.exists(path + ".crt"):
        return pki.Authority(pki.Identity.read(path), host)
    made = pki.Authority.create(common_name, host)
    made.identity.write(path)
    return made


def _keep(path: str, host: Host, make: Callable[[], pki.Identity]) -> None:
    try:
        with open(path + ".crt", "rb") as file:
            if pki.expires(file.read()) - host.clock.now() > RENEW_BEFORE_S and os.path.exists(path + ".key"):
                return
    except (FileNotFoundError, ValueError):
        pass
    make().write(path)
