"""The user's kubeconfig: a context per cluster, merged in at `up` and taken out at `down`, the rest left as it is.

The file is the first of $KUBECONFIG, else ~/.kube/config, as kind chooses it. The command line calls it; nothing else
reads or writes that file.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from argosy.places import context_name as context_name
from deploy import locks
from deploy.layout import Layout

LISTS: Final = ("clusters", "users", "contexts")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class KubeconfigError(Exception):
    """A kubeconfig that cannot be read or written; the message names it."""


def path(environment: Mapping[str, str]) -> str:
    """The file to change."""
    for part in environment.get("KUBECONFIG", "").split(os.pathsep):
        if part:
            return os.path.abspath(part)
    return os.path.join(environment.get("HOME", "/root"), ".kube", "config")


def entry(cluster: str, server: str, layout: Layout) -> dict[str, Any]:
    """A kubeconfig of one cluster with the administrator's credentials. Raises OSError."""
    name = context_name(cluster)

    def data(file_name: str) -> str:
        with open(f"{layout.pki}/{file_name}", "rb") as file:
            return base64.b64encode(file.read()).decode()

    authority, certificate, key = data("ca.crt"), data("admin.crt"), data("admin.key")
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"client-certificate-data": certificate, "client-key-data": key}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def merge(file: str, added: dict[str, Any]) -> None:
    """Put `added`'s entries into `file`, in the place of those with their names, and make its context current."""
    with _locked(file):
        existing = _read(file)
        for key in LISTS:
            names = {item["name"] for item in added[key]}
            existing[key] = [item for item in _items(existing, key) if item.get("name") not in names] + added[key]
        existing["current-context"] = added["current-context"]
        _write(file, existing)


def remove(file: str, cluster: str) -> bool:
    """Take a cluster's entries out; a file that then holds nothing is removed. True when something was there."""
    if not os.path.exists(file):
        return False
    name = context_name(cluster)
    with _locked(file):
        existing = _read(file)
        if not any(item.get("name") == name for key in LISTS for item in _items(existing, key)):
            return False
        for key in LISTS:
            existing[key] = [item for item in _items(existing, key) if item.get("name") != name]
        if existing.get("current-context") == name:
            existing["current-context"] = ""
        if any(existing[key] for key in LISTS):
            _write(file, existing)
        else:
            os.unlink(file)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(file))
    return True


def _items(config: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return [item for item in config.get(key) or [] if isinstance(item, dict)]


def _read(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as stream:
            read = yaml.load(stream, Loader=_Loader)  # noqa: S506  # the C twin of the safe loader
    except FileNotFoundError:
        read = None
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{file} cannot be read: {error}") from None
    if read is None:
        return {"apiVersion": "v1", "kind": "Config", "preferences": {}}
    if not isinstance(read, dict):
        raise KubeconfigError(f"{file} is no kubeconfig")
    return read


def _write(file: str, config: dict[str, Any]) -> None:
    temporary = f"{file}.argosy-new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        yaml.dump(config, stream, Dumper=_Dumper, sort_keys=False)
    os.rename(temporary, file)


@contextlib.contextmanager
def _locked(file: str) -> Iterator[None]:
    """One writer at a time among ours."""
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    with locks.held(f"{file}.argosy-lock"):
        yield
