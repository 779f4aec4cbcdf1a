"""CertificateSigningRequests as nodes make them: what is sent for a certificate, and how the answer is read.

`argosy join` asks for a node's first client certificate with a bootstrap token, the node agent for its serving
certificate and for both anew before they end. Who approves and signs is `control_plane.controllers`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from argosy.objects import conditions
from argosy.objects.types import JsonObject

GROUP: Final = "certificates.k8s.io"
PLURAL: Final = "certificatesigningrequests"
CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING: Final = "kubernetes.io/kubelet-serving"
NODES_GROUP: Final = "system:nodes"
_USAGES: Final = {CLIENT: ["digital signature", "client auth"], SERVING: ["digital signature", "server auth"]}


class Refused(Exception):
    """The cluster denied a request or could not sign it; the message is its reason."""


def node_user(node: str) -> str:
    """The name that a node's certificates carry."""
    return f"system:node:{node}"


def new(signer: str, request: bytes) -> JsonObject:
    """An object to create, for CLIENT or SERVING; `request` is PKCS #10, PEM."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "csr-" if signer == SERVING else "node-csr-"},
        "spec": {"request": base64.b64encode(request).decode(), "signerName": signer, "usages": _USAGES[signer]},
    }


def answer(obj: JsonObject) -> bytes | None:
    """The certificate, PEM; None as long as there is none. Raises Refused."""
    for kind in ("Denied", "Failed"):
        found = conditions.get(obj, kind)
        if found is not None and found.get("status") == "True":
            raise Refused(f"{kind.lower()}: {found.get('message') or found.get('reason') or 'no reason given'}")
    text = (obj.get("status") or {}).get("certificate")
    if not text:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("the certificate is not base64") from None
