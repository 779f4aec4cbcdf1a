"""Which nodes a pod asks for: nodeSelector, and required and preferred node affinity.

Rules: k8s.io/component-helpers `scheduling/corev1/nodeaffinity`.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.objects.types import JsonObject

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _integer(text: object) -> int | None:
    try:
        return int(str(text))
    except ValueError:
        return None


def expression_matches(expression: JsonObject, labels: Mapping[str, str]) -> bool:
    """One NodeSelectorRequirement."""
    key, values = expression.get("key", ""), expression.get("values") or ()
    value = labels.get(key)
    match expression.get("operator"):
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            actual, bound = _integer(value), _integer(values[0] if values else None)
            if value is None or actual is None or bound is None:
                return False
            return actual > bound if operator == "Gt" else actual < bound
        case _:
            return False


def term_matches(term: JsonObject, labels: Mapping[str, str], name: str) -> bool:
    """All parts of a NodeSelectorTerm; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(expression_matches(item, labels) for item in expressions) and all(
        item.get("key") == "metadata.name" and expression_matches(item, {"metadata.name": name}) for item in fields
    )


def selector_matches(selector: JsonObject, labels: Mapping[str, str], name: str) -> bool:
    """Any term of a NodeSelector."""
    return any(term_matches(term, labels, name) for term in selector.get("nodeSelectorTerms") or ())


def required_selector(pod: JsonObject) -> JsonObject | None:
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    found: JsonObject | None = affinity.get(REQUIRED)
    return found


def has_requirements(pod: JsonObject) -> bool:
    return bool((pod.get("spec") or {}).get("nodeSelector")) or required_selector(pod) is not None


def matches(pod: JsonObject, labels: Mapping[str, str], name: str) -> bool:
    """Whether a node of that name and those labels is one that the pod asks for."""
    wanted = (pod.get("spec") or {}).get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    selector = required_selector(pod)
    return selector is None or selector_matches(selector, labels, name)


def preferred_terms(pod: JsonObject) -> list[JsonObject]:
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    return affinity.get(PREFERRED) or []


def preference(pod: JsonObject, labels: Mapping[str, str], name: str) -> int:
    """The sum of the weights of the preferred terms that match."""
    return sum(
        int(term.get("weight", 0))
        for term in preferred_terms(pod)
        if term_matches(term.get("preference") or {}, labels, name)
    )
