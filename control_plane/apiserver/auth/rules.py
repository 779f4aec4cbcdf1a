"""How a policy rule matches an action: verbs, groups, resources with subresources, names, and paths.

Rules: k8s.io/component-helpers `auth/rbac/validation` and pkg/apis/rbac/v1 evaluation helpers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy.objects.types import JsonObject
from control_plane.apiserver.auth.attributes import Action


def allows(rules: Iterable[JsonObject] | None, action: Action) -> bool:
    return any(rule_allows(rule, action) for rule in rules or ())


def rule_allows(rule: JsonObject, action: Action) -> bool:
    verbs = rule.get("verbs") or ()
    if action.verb not in verbs and "*" not in verbs:
        return False
    if action.path:
        return path_matches(rule.get("nonResourceURLs") or (), action.path)
    groups = rule.get("apiGroups") or ()
    if action.group not in groups and "*" not in groups:
        return False
    if not resource_matches(rule.get("resources") or (), action.resource, action.subresource):
        return False
    names = rule.get("resourceNames") or ()
    return not names or action.name in names


def resource_matches(resources: Sequence[str], resource: str, subresource: str) -> bool:
    """`pods`, `pods/log`, `*`, and `*/scale` for one subresource of everything."""
    full = f"{resource}/{subresource}" if subresource else resource
    if "*" in resources or full in resources:
        return True
    return bool(subresource) and f"*/{subresource}" in resources


def path_matches(paths: Sequence[str], path: str) -> bool:
    """Exact, or with a trailing `*`."""
    return any(item in ("*", path) or (item.endswith("*") and path.startswith(item[:-1])) for item in paths)


def covers(owner: Sequence[JsonObject], wanted: Sequence[JsonObject]) -> list[JsonObject]:
    """The rules of `wanted` that nobody with `owner`'s rules holds: what would be an escalation."""
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(own, part) for own in owner)]


def _parts(rule: JsonObject) -> list[JsonObject]:
    """A rule as rules of one verb, one group, one resource, one name, or one path each."""
    found: list[JsonObject] = []
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            found.append({"verbs": [verb], "nonResourceURLs": [path]})
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                base: JsonObject = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                names = rule.get("resourceNames") or ()
                found += [{**base, "resourceNames": [name]} for name in names] if names else [base]
    return found


def _covers(own: JsonObject, part: JsonObject) -> bool:
    def has(key: str) -> bool:
        held, wanted = own.get(key) or (), part.get(key) or ()
        return "*" in held or all(item in held for item in wanted)

    if not has("verbs"):
        return False
    if part.get("nonResourceURLs"):
        return path_matches(own.get("nonResourceURLs") or (), part["nonResourceURLs"][0])
    if not own.get("apiGroups") or not has("apiGroups"):
        return False
    resource, _, subresource = part["resources"][0].partition("/")
    if not resource_matches(own.get("resources") or (), resource, subresource):
        return False
    names = own.get("resourceNames") or ()
    wanted = part.get("resourceNames") or ()
    return not names or (bool(wanted) and all(name in names for name in wanted))
