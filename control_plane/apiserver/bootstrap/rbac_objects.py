"""The default roles and bindings, created at start and brought up to date unless their owner opted out.

The policy itself is data in `policy.py`. Rules of reconciliation: pkg/registry/rbac/reconciliation and the
annotation rbac.authorization.kubernetes.io/autoupdate.
"""

from __future__ import annotations

from typing import Final

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth.rules import covers
from control_plane.apiserver.bootstrap import objects, policy
from control_plane.apiserver.pipeline import Pipeline

AUTOUPDATE: Final = "rbac.authorization.kubernetes.io/autoupdate"
LABELS: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}


async def ensure(pipeline: Pipeline) -> None:
    """Raises ApiError."""
    wanted = [*_cluster_roles(), *_cluster_bindings(), *_roles(), *_bindings()]
    missing: list[JsonObject] = []
    for obj in wanted:
        served = pipeline.context.resources.by_kind("rbac.authorization.k8s.io", "v1", obj["kind"])
        if served is None:
            continue
        entry = served.cache.get(served.cache_key(meta.namespace(obj), meta.name(obj)))
        if entry is None:
            missing.append(obj)
        elif meta.annotations(entry.obj).get(AUTOUPDATE) == "true":
            changed = _reconciled(entry.obj, obj)
            if changed is not None:
                await objects.update(pipeline, changed)
    await objects.ensure(pipeline, missing)


def _reconciled(present: JsonObject, wanted: JsonObject) -> JsonObject | None:
    """The present object with what is missing put in; None when nothing is."""
    new = dict(present)
    if wanted.get("rules") and not wanted.get("aggregationRule"):
        lost = covers(present.get("rules") or [], wanted["rules"])
        if lost:
            new["rules"] = [*(present.get("rules") or ()), *lost]
    if wanted.get("subjects"):
        held = present.get("subjects") or []
        lost_subjects = [item for item in wanted["subjects"] if item not in held]
        if lost_subjects:
            new["subjects"] = [*held, *lost_subjects]
    return new if new != present else None


def _meta(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> JsonObject:
    metadata: JsonObject = {
        "name": name,
        "annotations": {AUTOUPDATE: "true"},
        "labels": {**LABELS, **(labels or {})},
    }
    if namespace:
        metadata["namespace"] = namespace
    return metadata


def _object(kind: str, metadata: JsonObject, **fields: object) -> JsonObject:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, **fields}


def _cluster_roles() -> list[JsonObject]:
    found = [_object("ClusterRole", _meta(name), rules=list(rules)) for name, rules in policy.CLUSTER_ROLES.items()]
    for name, (into, rules) in policy.AGGREGATED.items():
        label = {f"rbac.authorization.k8s.io/aggregate-to-{into}": "true"}
        found.append(_object("ClusterRole", _meta(name, labels=label), rules=list(rules)))
    for name, into in (("admin", ""), ("edit", "admin"), ("view", "edit")):
        labels = {f"rbac.authorization.k8s.io/aggregate-to-{into}": "true"} if into else {}
        selector = {"matchLabels": {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"}}
        rule = {"clusterRoleSelectors": [selector]}
        found.append(
            _object("ClusterRole", _meta(name, labels=labels), aggregationRule=rule, rules=policy.aggregate(name))
        )
    for name, rules in policy.CONTROLLER_ROLES.items():
        found.append(_object("ClusterRole", _meta(f"system:controller:{name}"), rules=list(rules)))
    return found


def _reference(kind: str, name: str) -> JsonObject:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}


def _subject(text: str) -> JsonObject:
    """`User:x`, `Group:x` or `ServiceAccount:ns/x`."""
    kind, _, name = text.partition(":")
    if kind == "ServiceAccount":
        namespace, _, short = name.partition("/")
        return {"kind": kind, "name": short, "namespace": namespace}
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}


def _cluster_bindings() -> list[JsonObject]:
    found = [
        _object(
            "ClusterRoleBinding",
            _meta(name),
            roleRef=_reference("ClusterRole", role),
            subjects=[_subject(item) for item in subjects],
        )
        for name, (role, subjects) in policy.CLUSTER_BINDINGS.items()
    ]
    for name in policy.CONTROLLER_ROLES:
        full = f"system:controller:{name}"
        subject = _subject(f"ServiceAccount:kube-system/{name}")
        found.append(
            _object("ClusterRoleBinding", _meta(full), roleRef=_reference("ClusterRole", full), subjects=[subject])
        )
    return found


def _roles() -> list[JsonObject]:
    return [
        _object("Role", _meta(name, namespace), rules=list(rules))
        for (namespace, name), rules in policy.ROLES.items()
    ]


def _bindings() -> list[JsonObject]:
    return [
        _object(
            "RoleBinding",
            _meta(name, namespace),
            roleRef=_reference("Role", role),
            subjects=[_subject(item) for item in subjects],
        )
        for (namespace, name), (role, subjects) in policy.BINDINGS.items()
    ]
