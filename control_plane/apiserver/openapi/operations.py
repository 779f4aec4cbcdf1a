"""What can be done on which path: one neutral list, rendered as OpenAPI v3 and v2.

Clients read it for three things: whether PATCH of a kind takes `fieldValidation` and `dryRun`, which patch types it
takes, and which kind an operation is about (x-kubernetes-group-version-kind).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from argosy.kinds.kind import Kind, Subresource

PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
WRITE = ("dryRun", "fieldManager", "fieldValidation")
DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
QUERY_TYPES = {
    "allowWatchBookmarks": "boolean",
    "force": "boolean",
    "gracePeriodSeconds": "integer",
    "limit": "integer",
    "orphanDependents": "boolean",
    "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer",
    "watch": "boolean",
}
"""Query parameters that are no strings."""

STATUS = ("", "v1", "Status")
DELETE_OPTIONS = ("", "v1", "DeleteOptions")
PATCH = ("", "v1", "Patch")

GroupVersionKind = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Operation:
    path: str
    method: str
    """get, put, post, patch or delete."""
    action: str
    """x-kubernetes-action: get, list, post, put, patch, delete, deletecollection, connect."""
    id: str
    about: GroupVersionKind
    tag: str
    query: tuple[str, ...] = ()
    body: GroupVersionKind | None = None
    result: GroupVersionKind | None = None
    """None: text."""
    consumes: tuple[str, ...] = ("*/*",)
    path_parameters: tuple[str, ...] = field(default=())


def patch_types(kind: Kind) -> tuple[str, ...]:
    """Custom kinds know no strategic merge."""
    return tuple(each for each in PATCH_TYPES if not (kind.custom and "strategic" in each))


def group_path(group: str, version: str) -> str:
    """`api/v1` or `apis/apps/v1`."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def group_versions(kinds: Iterable[Kind]) -> list[tuple[str, str]]:
    """Every served (group, version), in discovery's order."""
    found: dict[tuple[str, str], None] = {}
    for kind in kinds:
        for pair in served_as(kind):
            found.setdefault(pair)
    return list(found)


def served_as(kind: Kind) -> list[tuple[str, str]]:
    return [
        (kind.group, kind.version),
        *((kind.group if v.group is None else v.group, v.version) for v in kind.versions),
    ]


def operations(kinds: Sequence[Kind], group: str, version: str) -> list[Operation]:
    """All operations of a group and version."""
    result: list[Operation] = []
    for kind in kinds:
        if (group, version) in served_as(kind):
            result.extend(_of_kind(kind, group, version))
    return result


def _tag(group: str, version: str) -> str:
    """`coreV1`, `appsV1`, `rbacAuthorizationV1`, as upstream's generated clients are named."""
    stem = group.removesuffix(".k8s.io") or "core"
    head, *rest = stem.replace("-", ".").split(".")
    return head + "".join(part.capitalize() for part in rest) + version[:1].upper() + version[1:]


def _of_kind(kind: Kind, group: str, version: str) -> Iterable[Operation]:
    about = (group, version, kind.kind)
    listed = (group, version, kind.list_kind)
    tag = _tag(group, version)
    name = tag[:1].upper() + tag[1:] + ("Namespaced" if kind.namespaced else "") + kind.kind
    root = "/" + group_path(group, version)
    collection = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    space = ("namespace",) if kind.namespaced else ()
    item, named = f"{collection}/{{name}}", ("name", *space)
    verbs = kind.verbs
    patches = patch_types(kind)

    if "list" in verbs:
        yield Operation(
            collection, "get", "list", f"list{name}", about, tag, LIST, None, listed, path_parameters=space
        )
    if "create" in verbs:
        yield Operation(
            collection, "post", "post", f"create{name}", about, tag, WRITE, about, about, path_parameters=space
        )
    if "deletecollection" in verbs:
        yield Operation(
            collection, "delete", "deletecollection", f"deleteCollection{name}", about, tag, LIST + DELETE,
            DELETE_OPTIONS, STATUS, path_parameters=space,
        )  # fmt: skip
    if "get" in verbs:
        yield Operation(item, "get", "get", f"read{name}", about, tag, (), None, about, path_parameters=named)
    if "update" in verbs:
        yield Operation(item, "put", "put", f"replace{name}", about, tag, WRITE, about, about, path_parameters=named)
    if "patch" in verbs:
        yield Operation(
            item, "patch", "patch", f"patch{name}", about, tag, (*WRITE, "force"), PATCH, about, patches, named
        )
    if "delete" in verbs:
        result = about if kind.delete_returns_object else STATUS
        yield Operation(
            item,
            "delete",
            "delete",
            f"delete{name}",
            about,
            tag,
            DELETE,
            DELETE_OPTIONS,
            result,
            path_parameters=named,
        )
    if kind.namespaced and "list" in verbs:
        everywhere = f"list{tag[:1].upper()}{tag[1:]}{kind.kind}ForAllNamespaces"
        yield Operation(f"{root}/{kind.plural}", "get", "list", everywhere, about, tag, LIST, None, listed)
    for sub in kind.subresources:
        yield from _of_subresource(sub, item, named, name, tag, (group, version), patches)


_METHODS = {
    "get": ("get", "read"),
    "update": ("put", "replace"),
    "patch": ("patch", "patch"),
    "create": ("post", "create"),
}
_CONNECT = frozenset(("exec", "attach", "portforward", "proxy"))


def _of_subresource(
    sub: Subresource,
    item: str,
    named: tuple[str, ...],
    name: str,
    tag: str,
    served: tuple[str, str],
    patches: tuple[str, ...],
) -> Iterable[Operation]:
    about = (sub.group, sub.version, sub.kind)
    if sub.kind in name and not sub.group:
        about = (*served, sub.kind)
    suffix = sub.name[:1].upper() + sub.name[1:]
    for verb in sub.verbs:
        if verb not in _METHODS:
            continue
        method, word = _METHODS[verb]
        if sub.name in _CONNECT:
            identity = f"connect{method.capitalize()}{name}{suffix}"
            yield Operation(f"{item}/{sub.name}", method, "connect", identity, about, tag, path_parameters=named)
            continue
        identity = f"{word}{name}{suffix}"
        path = f"{item}/{sub.name}"
        action = {"get": "get", "update": "put", "patch": "patch", "create": "post"}[verb]
        result = None if sub.name == "log" else about
        if verb == "get":
            yield Operation(path, method, action, identity, about, tag, (), None, result, path_parameters=named)
        elif verb == "patch":
            yield Operation(
                path, method, action, identity, about, tag, (*WRITE, "force"), PATCH, result, patches, named
            )
        else:
            yield Operation(path, method, action, identity, about, tag, WRITE, about, result, path_parameters=named)
