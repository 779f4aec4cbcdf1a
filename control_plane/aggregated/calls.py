"""What an aggregated server serves and what it is asked. Pure.

Paths are taken apart as Kubernetes does (k8s.io/apiserver `endpoints/request/requestinfo.go`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from argosy.kinds.kind import AGE_COLUMN, NAME_COLUMN, Column

_BY_METHOD: Final = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS: Final = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True)
class ApiResource:
    name: str
    """The plural, or `PLURAL/SUBRESOURCE`."""
    kind: str
    namespaced: bool = True
    verbs: tuple[str, ...] = ("get", "list")
    singular: str = ""
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = (NAME_COLUMN, AGE_COLUMN)
    """What `kubectl get` shows."""


@dataclass(frozen=True)
class GroupVersion:
    group: str
    version: str
    resources: Sequence[ApiResource]
    any_resource: bool = False
    """Also resources that are not listed are the handler's (custom metrics)."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    def resource(self, name: str) -> ApiResource | None:
        return next((item for item in self.resources if item.name == name), None)


@dataclass(frozen=True)
class Call:
    """One request for a resource, by somebody who may make it."""

    user: User
    verb: str
    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""

    def option(self, name: str) -> str:
        """A query parameter; empty when it is not given."""
        return next(iter(self.query.get(name, ())), "")


@dataclass(frozen=True)
class Place:
    """What a path names."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse(path: str) -> Place | None:
    """`/apis/GROUP/VERSION/[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]]`; None for everything else."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if len(parts) < 4 or parts[0] != "apis" or not all(parts):
        return None
    group, version, rest = parts[1], parts[2], parts[3:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3:
        namespace, rest = rest[1], rest[2:]
    name, subresource = (*rest[1:3], "", "")[:2]
    return Place(group, version, rest[0], namespace, name, subresource)


def verb_of(method: str, place: Place, query: Mapping[str, Sequence[str]]) -> str:
    """Empty for a method that has none."""
    if method in ("GET", "HEAD"):
        if place.name or place.subresource:
            return "get"
        return "watch" if next(iter(query.get("watch", ())), "false").lower() not in ("0", "false") else "list"
    if method == "DELETE":
        return "delete" if place.name else "deletecollection"
    return _BY_METHOD.get(method, "")
