"""Terms by which pods ask for, or shun, the company of other pods.

Rules: k8s.io/kube-scheduler `framework/types.go` (AffinityTerm) and the InterPodAffinity plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argosy.objects import meta, selectors
from argosy.objects.selectors import Operator, Requirement, Selector
from argosy.objects.types import JsonObject

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True)
class PodGroup:
    """A set of pods: those in certain namespaces that a selector matches. Hashable, to be an index's key."""

    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector
    """Namespaces by their labels, besides those by name."""

    def matches(self, pod: JsonObject, namespace_labels: Mapping[str, Mapping[str, str]]) -> bool:
        space = meta.namespace(pod)
        if space not in self.namespaces and (
            self.namespace_selector.nothing or not self.namespace_selector.matches(namespace_labels.get(space, {}))
        ):
            return False
        return self.selector.matches(meta.labels(pod))


@dataclass(frozen=True)
class Term:
    group: PodGroup
    topology_key: str
    weight: int = 0
    """Of preferred terms."""


def with_label_keys(selector: Selector, pod: JsonObject, same: list[str], other: list[str]) -> Selector:
    """matchLabelKeys and mismatchLabelKeys: the pod's own values of some labels join the selector."""
    labels = meta.labels(pod)
    extra = [Requirement(key, Operator.IN, frozenset({labels[key]})) for key in same if key in labels]
    extra += [Requirement(key, Operator.NOT_IN, frozenset({labels[key]})) for key in other if key in labels]
    if not extra or selector.nothing:
        return selector
    present = set(selector.requirements)
    return Selector((*selector.requirements, *(item for item in extra if item not in present)))


def term(pod: JsonObject, written: JsonObject, weight: int = 0) -> Term:
    """A PodAffinityTerm of `pod`. Without namespaces it means the pod's own. Raises SelectorError."""
    space_selector = written.get("namespaceSelector")
    spaces = frozenset(written.get("namespaces") or ())
    if not spaces and space_selector is None:
        spaces = frozenset({meta.namespace(pod)})
    selector = with_label_keys(
        selectors.from_object(written.get("labelSelector")),
        pod,
        written.get("matchLabelKeys") or [],
        written.get("mismatchLabelKeys") or [],
    )
    group = PodGroup(selector, spaces, selectors.from_object(space_selector))
    return Term(group, str(written.get("topologyKey", "")), weight)


@dataclass(frozen=True)
class Terms:
    """Everything that a pod says about others."""

    required: tuple[Term, ...] = ()
    required_anti: tuple[Term, ...] = ()
    preferred: tuple[Term, ...] = ()
    preferred_anti: tuple[Term, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.required or self.required_anti or self.preferred or self.preferred_anti)


NO_TERMS = Terms()


def terms(pod: JsonObject) -> Terms:
    """Raises SelectorError."""
    affinity = (pod.get("spec") or {}).get("affinity")
    if not affinity:
        return NO_TERMS

    def hard(kind: str) -> tuple[Term, ...]:
        return tuple(term(pod, item) for item in (affinity.get(kind) or {}).get(REQUIRED) or ())

    def soft(kind: str) -> tuple[Term, ...]:
        return tuple(
            term(pod, item.get("podAffinityTerm") or {}, int(item.get("weight", 0)))
            for item in (affinity.get(kind) or {}).get(PREFERRED) or ()
        )

    return Terms(hard("podAffinity"), hard("podAntiAffinity"), soft("podAffinity"), soft("podAntiAffinity"))
