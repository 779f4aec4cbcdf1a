"""ClusterRole aggregation: roles with an aggregationRule get the rules of all roles that it selects.

Upstream: `pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from argosy.objects import meta, selectors
from argosy.objects.types import JsonObject
from control_plane.controllers.base import CLUSTER_ROLES, Context, Controller

AGGREGATING_INDEX = "aggregating"


def by_aggregation(role: JsonObject) -> list[str]:
    return [""] if role.get("aggregationRule") else []


class ClusterRoleController(Controller):
    name = "clusterrole-aggregation-controller"
    watches = (CLUSTER_ROLES,)
    writes = (CLUSTER_ROLES,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._roles = self.informer(CLUSTER_ROLES)
        self._roles.add_index(AGGREGATING_INDEX, by_aggregation)
        self._roles.add_handler(added=self._changed, updated=self._updated, deleted=self._changed)

    def _updated(self, old: JsonObject, new: JsonObject) -> None:
        self._changed(old)
        self._changed(new)

    def _changed(self, role: JsonObject) -> None:
        """Those that select it, and itself."""
        labels = meta.labels(role)
        for each in self._roles.by_index(AGGREGATING_INDEX, ""):
            if meta.name(each) == meta.name(role) or any(item.matches(labels) for item in _selectors(each)):
                self.enqueue(each)

    async def reconcile(self, key: str) -> float | None:
        role = self._roles.get(key)
        if role is None or not role.get("aggregationRule"):
            return None
        rules = aggregated(role, self._roles.list())
        if rules == (role.get("rules") or []):
            return None
        version = {"uid": meta.uid(role), "resourceVersion": meta.resource_version(role)}
        await self.writer(CLUSTER_ROLES).patch(key, {"metadata": version, "rules": rules})
        return None


def _selectors(role: JsonObject) -> list[selectors.Selector]:
    found = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    try:
        return [selectors.from_object(each) for each in found]
    except selectors.SelectorError:
        return []


def aggregated(role: JsonObject, roles: Iterable[JsonObject]) -> list[JsonObject]:
    """The rules of all selected roles, selector by selector, roles by name, each rule once."""
    ordered = sorted(roles, key=meta.name)
    rules: dict[str, JsonObject] = {}
    for selector in _selectors(role):
        for each in ordered:
            if meta.name(each) != meta.name(role) and selector.matches(meta.labels(each)):
                for rule in each.get("rules") or ():
                    rules.setdefault(json.dumps(rule, sort_keys=True), rule)
    return list(rules.values())
