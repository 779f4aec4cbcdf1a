"""What a cluster tells machines that join: the ConfigMap kube-public/cluster-info, and who may do what before they
are nodes.

As kubeadm lays it out (`cmd/kubeadm/app/phases/bootstraptoken`), with two differences: nobody reads cluster-info
without a token, and it also holds what a node of ours must know. `argosy server` writes it, `deploy.joining` reads.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from argosy.objects.types import JsonObject
from deploy.tokens import GROUP

NAMESPACE: Final = "kube-public"
NAME: Final = "cluster-info"
RBAC: Final = "rbac.authorization.k8s.io"

Resource = tuple[str, str, str, JsonObject]
"""Group, version, plural and the object."""


class InfoError(Exception):
    """A cluster-info that cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class ClusterInfo:
    """What a node must know."""

    authority: str
    """PEM."""
    server: str
    """URL of the API for people and pods."""
    grpc_servers: tuple[str, ...]
    """The API for nodes, host:port."""
    cluster_cidr: str
    cluster_dns: str
    cluster_domain: str


def config_map(info: ClusterInfo) -> JsonObject:
    """The ConfigMap; its `kubeconfig` is kubeadm's: an authority and a server, without credentials."""
    authority = base64.b64encode(info.authority.encode()).decode()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "", "cluster": {"certificate-authority-data": authority, "server": info.server}}],
        "contexts": [],
        "current-context": "",
        "preferences": {},
        "users": [],
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {
            "kubeconfig": json.dumps(kubeconfig, indent=2),
            "grpc-servers": ",".join(info.grpc_servers),
            "cluster-cidr": info.cluster_cidr,
            "cluster-dns": info.cluster_dns,
            "cluster-domain": info.cluster_domain,
        },
    }


def read(obj: JsonObject) -> ClusterInfo:
    """Raises InfoError for one that `config_map` did not make."""
    data: dict[str, str] = obj.get("data") or {}
    try:
        cluster: dict[str, Any] = json.loads(data["kubeconfig"])["clusters"][0]["cluster"]
        return ClusterInfo(
            base64.b64decode(cluster["certificate-authority-data"], validate=True).decode(),
            str(cluster["server"]),
            tuple(part for part in data["grpc-servers"].split(",") if part),
            data["cluster-cidr"],
            data["cluster-dns"],
            data["cluster-domain"],
        )
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise InfoError(f"{NAMESPACE}/{NAME} is not of an Argosy cluster that machines can join: {error}") from None


def rules() -> list[Resource]:
    """Who holds a token may read cluster-info, see whether its name is taken and ask for a node's certificate, which
    is approved at once; nodes may ask for it anew, and work as their own proxies."""
    info = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get"]}
    nodes = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}
    requests = "system:certificates.k8s.io:certificatesigningrequests"
    return [
        _object("Role", "argosy:bootstrap-cluster-info", NAMESPACE, rules=[info]),
        _bound("argosy:bootstrap-cluster-info", "argosy:bootstrap-cluster-info", GROUP, NAMESPACE),
        _object("ClusterRole", "argosy:get-nodes", rules=[nodes]),
        _bound("argosy:get-nodes", "argosy:get-nodes", GROUP),
        _bound("argosy:node-bootstrapper", "system:node-bootstrapper", GROUP),
        _bound("argosy:node-autoapprove-bootstrap", f"{requests}:nodeclient", GROUP),
        _bound("argosy:node-autoapprove-certificate-rotation", f"{requests}:selfnodeclient", "system:nodes"),
        _bound("argosy:node-proxier", "system:node-proxier", "system:nodes"),
        _bound("argosy:node-network-policy", "argosy:network-policy", "system:nodes"),
    ]


def _object(kind: str, name: str, namespace: str = "", **fields: object) -> Resource:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    obj: JsonObject = {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, **fields}
    return RBAC, "v1", f"{kind.lower()}s", obj


def _bound(name: str, role: str, group: str, namespace: str = "") -> Resource:
    """A binding of a role to a group; in a namespace of a role there."""
    prefix = "" if namespace else "Cluster"
    return _object(
        f"{prefix}RoleBinding",
        name,
        namespace,
        roleRef={"apiGroup": RBAC, "kind": f"{prefix}Role", "name": role},
        subjects=[{"apiGroup": RBAC, "kind": "Group", "name": group}],
    )
