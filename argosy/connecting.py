"""How the SDK reaches a cluster and as whom: from its name on this machine, or from a kubeconfig.

`Client.from_cluster` and `Client.from_kubeconfig` are the callers.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from argosy import places
from argosy.objects import status as errors
from argosy.rpc import GrpcNetwork, Tls

if TYPE_CHECKING:
    from argosy.client import Client


@dataclass(frozen=True)
class Access:
    addresses: Sequence[str]
    tls: Tls
    token: str = ""


def client(access: Access, field_manager: str, patience_s: float) -> Client:
    from argosy.client import Client

    network = GrpcNetwork()
    return Client(
        network,
        access.addresses,
        access.tls,
        token=access.token,
        field_manager=field_manager,
        patience_s=patience_s,
    )


def of_cluster(name: str) -> Access:
    """As the administrator. Raises ApiError 503 when no such cluster runs here, PermissionError."""
    sockets = places.api_sockets(name)
    if not sockets:
        raise errors.unavailable(f"no cluster {name!r} runs on this machine (argosy up starts one)")
    pki = places.state(name) / "pki"
    tls = Tls.load(str(pki / "ca.crt"), str(pki / "admin.crt"), str(pki / "admin.key"), "localhost")
    return Access([f"unix:{path}" for path in sockets], tls)


def of_kubeconfig(path: str, context: str) -> Access:
    """Raises ValueError."""
    path = path or _default_path()
    config = _read(path)
    chosen = context or str(config.get("current-context") or "")
    if not chosen:
        raise ValueError(f"{path}: there is no current context, and none was asked for")
    where = _named(config, "contexts", "context", chosen, path)
    name, user_name = str(where.get("cluster", "")), str(where.get("user", ""))
    cluster, user = (
        _named(config, "clusters", "cluster", name, path),
        _named(config, "users", "user", user_name, path),
    )
    addresses, server_name = _addresses(name, cluster, path)
    if cluster.get("insecure-skip-tls-verify"):
        raise ValueError(f"{path}: cluster {name}: insecure-skip-tls-verify is not supported: gRPC always verifies")
    folder = os.path.dirname(os.path.abspath(path))
    authority = _bytes(cluster, "certificate-authority", folder, path)
    certificate = _bytes(user, "client-certificate", folder, path)
    key = _bytes(user, "client-key", folder, path)
    if not certificate or not key:
        raise ValueError(f"{path}: user {user_name} has no client certificate, which gRPC asks everybody for")
    tls = Tls(authority, certificate, key, str(cluster.get("tls-server-name") or "") or server_name)
    return Access(addresses, tls, _token(user, folder, path))


def _default_path() -> str:
    for part in os.environ.get("KUBECONFIG", "").split(os.pathsep):
        if part:
            return part
    return os.path.join(os.path.expanduser("~"), ".kube", "config")


def _addresses(name: str, cluster: dict[str, Any], path: str) -> tuple[list[str], str]:
    """(addresses, the name in the server's certificate if that is not the host's)."""
    url = urlsplit(str(cluster.get("server") or ""))
    try:
        host, port = url.hostname, url.port or 443
    except ValueError:
        host, port = None, 0
    if url.scheme != "https" or not host:
        raise ValueError(f"{path}: cluster {name}: server {cluster.get('server')!r} is no https URL")
    if host in ("127.0.0.1", "::1", "localhost"):
        own = places.cluster_name(name)
        sockets = places.api_sockets(own) if own else []
        if sockets:
            return [f"unix:{socket}" for socket in sockets], "localhost"
    shown = f"[{host}]" if ":" in host else host
    return [f"{shown}:{port + 1}"], ""


def _read(path: str) -> dict[str, Any]:
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            read = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(read, dict):
        raise ValueError(f"{path} is no kubeconfig")
    return read


def _named(config: dict[str, Any], listed: str, field: str, name: str, path: str) -> dict[str, Any]:
    items = config.get(listed)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("name") == name:
            found = item.get(field)
            return found if isinstance(found, dict) else {}
    raise ValueError(f"{path}: there is no {field} {name!r}")


def _bytes(entry: dict[str, Any], field: str, folder: str, path: str) -> bytes:
    """PEM of `FIELD-data`, else of the file that `FIELD` names, beside the kubeconfig."""
    if data := entry.get(f"{field}-data"):
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{path}: {field}-data: {error}") from None
    if name := entry.get(field):
        try:
            with open(os.path.join(folder, str(name)), "rb") as file:
                return file.read()
        except OSError as error:
            raise ValueError(f"{path}: {field}: {error}") from None
    return b""


def _token(user: dict[str, Any], folder: str, path: str) -> str:
    for field in ("exec", "auth-provider", "username", "as"):
        if user.get(field):
            raise ValueError(f"{path}: a user's {field!r} is not supported; client certificates and tokens are")
    if token := user.get("token"):
        return str(token)
    return _bytes({"t": user.get("tokenFile")}, "t", folder, path).decode().strip()
