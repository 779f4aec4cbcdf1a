"""Role-based access control over the cached RBAC objects.

Bindings are kept by subject and follow the cache change by change, so that a decision looks at the caller's own
bindings only, and one changed binding costs one change. Aggregated ClusterRoles are joined when they are asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from argosy.objects import meta, selectors
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth import rules
from control_plane.apiserver.auth.attributes import NO_OPINION, Action, Decision
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.cache.events import Change
from control_plane.apiserver.cache.resource import ALL, ResourceCache
from control_plane.apiserver.cache.watcher import Watcher
from control_plane.apiserver.request import User
from control_plane.apiserver.resources import Resources

GROUP: Final = "rbac.authorization.k8s.io"
MASTERS: Final = "system:masters"

Subject = tuple[str, str]
"""("User" | "Group", name); service accounts are users."""


@dataclass(frozen=True)
class Binding:
    key: str
    namespace: str
    """Empty: everywhere."""
    role_kind: str
    role_name: str


class _Follower(Watcher):
    """Hears every change of the bindings of one cache; told to start anew when the cache was read afresh."""

    def __init__(self, index: Rbac, cache: ResourceCache) -> None:
        super().__init__(None)
        self._index = index
        self._cache = cache

    def push(self, change: Change) -> None:
        if change.old is not None:
            self._index.forget(change.old, self._cache)
        if change.new is not None:
            self._index.learn(change.new, self._cache)

    def close(self) -> None:
        self._index.rebuild(self._cache)


class Rbac:
    def __init__(self, resources: Resources) -> None:
        self._roles = resources.require(GROUP, "roles").cache
        self._cluster_roles = resources.require(GROUP, "clusterroles").cache
        self._bindings = resources.require(GROUP, "rolebindings").cache
        self._cluster_bindings = resources.require(GROUP, "clusterrolebindings").cache
        self._by_subject: dict[Subject, dict[tuple[str, str], Binding]] = {}
        self._aggregated: dict[str, tuple[int, list[JsonObject]]] = {}
        for cache in (self._bindings, self._cluster_bindings):
            cache.watch(_Follower(self, cache), (ALL, ""), None)

    # the index

    def learn(self, entry: Entry, cache: ResourceCache) -> None:
        binding = _binding(entry)
        for subject in _subjects(entry.obj):
            self._by_subject.setdefault(subject, {})[cache.prefix, entry.key] = binding

    def forget(self, entry: Entry, cache: ResourceCache) -> None:
        for subject in _subjects(entry.obj):
            held = self._by_subject.get(subject)
            if held is not None:
                held.pop((cache.prefix, entry.key), None)
                if not held:
                    del self._by_subject[subject]

    def rebuild(self, cache: ResourceCache) -> None:
        for subject in list(self._by_subject):
            held = self._by_subject[subject]
            for key in [key for key in held if key[0] == cache.prefix]:
                del held[key]
            if not held:
                del self._by_subject[subject]
        for entry in cache.entries():
            self.learn(entry, cache)

    # decisions

    def decide(self, action: Action) -> Decision:
        if MASTERS in action.user.groups:
            return Decision(True)
        for binding in self._bindings_of(action.user):
            if binding.namespace and (action.path or binding.namespace != action.namespace):
                continue
            if rules.allows(self._rules_of(binding), action):
                kind = "RoleBinding" if binding.namespace else "ClusterRoleBinding"
                reason = f'RBAC: allowed by {kind} "{binding.key}" of {binding.role_kind} "{binding.role_name}"'
                return Decision(True, reason)
        return NO_OPINION

    def rules_for(self, user: User, namespace: str) -> list[JsonObject]:
        """Every rule that holds for a user in a namespace (SelfSubjectRulesReview, escalation checks)."""
        if MASTERS in user.groups:
            return [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ]
        found: list[JsonObject] = []
        for binding in self._bindings_of(user):
            if not binding.namespace or binding.namespace == namespace:
                found += self._rules_of(binding)
        return found

    def role_rules(self, kind: str, namespace: str, name: str) -> list[JsonObject] | None:
        """The rules of a role; None when there is no such role."""
        if kind == "ClusterRole":
            entry = self._cluster_roles.get(name)
            return None if entry is None else self._cluster_rules(entry)
        entry = self._roles.get(f"{namespace}/{name}")
        return None if entry is None else list(entry.obj.get("rules") or ())

    def _bindings_of(self, user: User) -> Iterator[Binding]:
        yield from list(self._by_subject.get(("User", user.name), {}).values())
        for group in user.groups:
            yield from list(self._by_subject.get(("Group", group), {}).values())

    def _rules_of(self, binding: Binding) -> list[JsonObject]:
        return self.role_rules(binding.role_kind, binding.namespace, binding.role_name) or []

    def _cluster_rules(self, entry: Entry) -> list[JsonObject]:
        aggregation = entry.obj.get("aggregationRule")
        if not aggregation:
            return list(entry.obj.get("rules") or ())
        known = self._aggregated.get(entry.key)
        if known is None or known[0] != self._cluster_roles.changed_revision:
            known = (self._cluster_roles.changed_revision, self.aggregate(entry.obj))
            self._aggregated[entry.key] = known
        return known[1]

    def aggregate(self, role: JsonObject, seen: frozenset[str] = frozenset()) -> list[JsonObject]:
        """The joint rules of the ClusterRoles that an aggregationRule selects, themselves perhaps aggregated."""
        wanted = [selectors.from_object(item) for item in role["aggregationRule"].get("clusterRoleSelectors") or ()]
        found: list[JsonObject] = []
        inner = seen | {meta.name(role)}
        for entry in self._cluster_roles.select():
            if entry.key in inner or not any(item.matches(meta.labels(entry.obj)) for item in wanted):
                continue
            more = self.aggregate(entry.obj, inner) if entry.obj.get("aggregationRule") else entry.obj.get("rules")
            found += [rule for rule in more or () if rule not in found]
        return found


def _binding(entry: Entry) -> Binding:
    reference = entry.obj.get("roleRef") or {}
    return Binding(
        entry.key, meta.namespace(entry.obj), str(reference.get("kind", "")), str(reference.get("name", ""))
    )


def _subjects(obj: JsonObject) -> Iterator[Subject]:
    for subject in obj.get("subjects") or ():
        kind, name = subject.get("kind"), str(subject.get("name", ""))
        if kind == "ServiceAccount":
            namespace = subject.get("namespace") or meta.namespace(obj)
            yield "User", f"system:serviceaccount:{namespace}:{name}"
        elif kind in ("User", "Group"):
            yield kind, name
