"""The webhooks of a cluster's configurations, by the resources that they want to hear of.

Made anew when a configuration has changed, and per resource when a request for it comes: a request that no webhook
wants costs one look-up (upstream: k8s.io/apiserver `pkg/admission/configuration`, `webhook/predicates/rules`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from argosy.kinds.webhook_configuration import GROUP
from argosy.objects import meta, selectors
from argosy.objects.selectors import Selector
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes
from control_plane.apiserver.resources import Resources, Served

NEVER_ASKED: Final = (
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
)
"""A webhook that could refuse these could not be taken away again."""


@dataclass(frozen=True)
class Hook:
    """One webhook of a configuration."""

    configuration: str
    name: str
    spec: JsonObject
    namespaces: Selector
    objects: Selector

    @property
    def uid(self) -> tuple[str, str]:
        return self.configuration, self.name

    @property
    def ignores_failures(self) -> bool:
        return bool(self.spec.get("failurePolicy") == "Ignore")


@dataclass(frozen=True)
class Wanted:
    """A hook that wants a request, and the version of the resource in which."""

    hook: Hook
    served: Served


class Hooks:
    """The webhooks of one kind of configuration."""

    def __init__(self, resources: Resources, plural: str) -> None:
        served = resources.stored(GROUP, plural)
        self._cache = served.cache if served is not None else None
        self._resources = resources
        self._seen = (-1, -1, -1)
        self._all: list[Hook] = []
        self._by_resource: dict[tuple[str, str], list[Hook]] = {}

    def candidates(self, attributes: Attributes) -> list[Hook]:
        """Those with a rule that names the resource, in whatever version, in order."""
        cache = self._cache
        if cache is None or not len(cache):
            return []
        state = (cache.changed_revision, cache.oldest, self._resources.generation)
        if state != self._seen:
            self._seen = state
            self._by_resource.clear()
            self._all = list(_hooks(entry.obj for entry in cache.select()))
        served = attributes.request.served
        if served.group == GROUP and served.plural in NEVER_ASKED:
            return []
        key = (served.group, served.plural)
        found = self._by_resource.get(key)
        if found is None:
            pairs = {(item.group, item.plural) for item in self._equivalents(served)}
            found = self._by_resource[key] = [hook for hook in self._all if _names(hook, pairs)]
        return found

    def wanted(self, hook: Hook, attributes: Attributes, namespace: Mapping[str, str] | None) -> Wanted | None:
        """Whether a hook wants a request, match conditions aside. `namespace` holds the labels of its namespace."""
        if namespace is not None and not hook.namespaces.matches(namespace):
            return None
        if not _selects(hook.objects, attributes):
            return None
        served = attributes.request.served
        if any(_matches(rule, attributes, served) for rule in hook.spec.get("rules") or ()):
            return Wanted(hook, served)
        if hook.spec.get("matchPolicy") == "Exact":
            return None
        for other in self._equivalents(served):
            if other.api_version != served.api_version and any(
                _matches(rule, attributes, other) for rule in hook.spec.get("rules") or ()
            ):
                return Wanted(hook, other)
        return None

    def _equivalents(self, served: Served) -> list[Served]:
        """The same objects in every version and group; a request may hold what is no longer in the table."""
        prefix = served.cache.prefix
        found = [item for item in self._resources.all() if item.cache.prefix == prefix]
        return found if served in found else [served, *found]


def _hooks(configurations: Iterable[JsonObject]) -> Iterable[Hook]:
    for configuration in configurations:
        for spec in configuration.get("webhooks") or ():
            yield Hook(
                meta.name(configuration),
                str(spec.get("name")),
                spec,
                selectors.from_object(spec.get("namespaceSelector") or {}),
                selectors.from_object(spec.get("objectSelector") or {}),
            )


def _names(hook: Hook, resources: set[tuple[str, str]]) -> bool:
    for rule in hook.spec.get("rules") or ():
        groups = rule.get("apiGroups") or ()
        plurals = {text.partition("/")[0] for text in rule.get("resources") or ()}
        for group, plural in resources:
            if ("*" in groups or group in groups) and ("*" in plurals or plural in plurals):
                return True
    return False


def _matches(rule: JsonObject, attributes: Attributes, served: Served) -> bool:
    for key, value in (
        ("operations", attributes.operation.value),
        ("apiGroups", served.group),
        ("apiVersions", served.version),
    ):
        listed = rule.get(key) or ()
        if "*" not in listed and value not in listed:
            return False
    return _in_scope(rule.get("scope"), attributes, served) and any(
        _is_resource(text, served.plural, attributes.subresource) for text in rule.get("resources") or ()
    )


def _is_resource(text: str, plural: str, subresource: str) -> bool:
    resource, _, sub = text.partition("/")
    return resource in ("*", plural) and sub in ("*", subresource)


def _in_scope(scope: str | None, attributes: Attributes, served: Served) -> bool:
    if scope in (None, "*"):
        return True
    is_namespace = not served.group and served.plural == "namespaces"
    return (bool(attributes.namespace) and not is_namespace) == (scope == "Namespaced")


def _selects(selector: Selector, attributes: Attributes) -> bool:
    """The object before or after is enough."""
    if selector.everything:
        return True
    return any(obj is not None and selector.matches(meta.labels(obj)) for obj in (attributes.obj, attributes.old))
