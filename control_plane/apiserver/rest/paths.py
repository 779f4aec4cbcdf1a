"""API paths: `/api/v1/namespaces/NS/pods/NAME/log` and its kin, taken apart.

Rules: k8s.io/apiserver `endpoints/request/requestinfo.go`. The old `/watch/` forms are understood too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import unquote

NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True)
class ApiPath:
    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows a proxy subresource."""
    watch: bool = False


def parse(path: str, *, tails: bool = False) -> ApiPath | None:
    """None when the path names no resource. `tails`: anything may follow a subresource, not only of `proxy`."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) >= 3:
        group, version, parts = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = parts[0] == "watch"
    if watch:
        parts = parts[1:]
    if not parts or not all(parts[:5]):
        return None
    found = _resource(group, version, parts, tails)
    return replace(found, watch=True) if watch and found is not None else found


def _resource(group: str, version: str, parts: list[str], tails: bool) -> ApiPath | None:
    namespace = ""
    if parts[0] == "namespaces" and len(parts) >= 3 and (group or parts[2] not in NAMESPACE_SUBRESOURCES):
        namespace, parts = parts[1], parts[2:]
    resource, rest = parts[0], parts[1:]
    name = rest[0] if rest else ""
    subresource = rest[1] if len(rest) > 1 else ""
    tail = "/".join(rest[2:])
    if tail and subresource != "proxy" and not tails:
        return None
    if len(rest) > 1 and not name:
        return None
    return ApiPath(group, version, resource, namespace, name, subresource, tail)
