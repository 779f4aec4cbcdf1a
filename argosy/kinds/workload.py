"""What Deployment and ReplicaSet (and later workloads) share: template, selector and replica checks, columns."""

from __future__ import annotations

from collections.abc import Mapping

from argosy.kinds import columns
from argosy.kinds.label_rules import validate_selector
from argosy.kinds.pod_validation import validate_template
from argosy.objects import selectors
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

NOT_NEGATIVE = "must be greater than or equal to 0"


def not_negative(spec: Mapping[str, object], *fields: str) -> list[FieldError]:
    errors = []
    for field in fields:
        value = spec.get(field)
        if isinstance(value, int) and value < 0:
            errors.append(invalid_value(f"spec.{field}", value, NOT_NEGATIVE))
    return errors


def validate_selector_and_template(spec: JsonObject) -> list[FieldError]:
    """The selector must be given, mean something and match the template's labels; pods must restart always."""
    errors: list[FieldError] = []
    selector = spec.get("selector")
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        errors += validate_selector(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            errors.append(invalid_value("spec.selector", selector, "empty selector is invalid for deployment"))
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if selector is None or (not errors and not selectors.from_object(selector).matches(labels or {})):
        detail = "`selector` does not match template `labels`"
        errors.append(invalid_value("spec.template.metadata.labels", labels, detail))
    errors += validate_template(template, "spec.template")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ["Always"]))
    if (template.get("spec") or {}).get("activeDeadlineSeconds") is not None:
        path = "spec.template.spec.activeDeadlineSeconds"
        errors.append(forbidden_field(path, "activeDeadlineSeconds in ReplicaSet is not Supported"))
    return errors


TEMPLATE_COLUMNS = (
    columns.computed(
        "Containers",
        lambda obj: columns.containers(columns.at(obj, "spec", "template", "spec")),
        priority=1,
        description="Names of the containers.",
    ),
    columns.computed(
        "Images",
        lambda obj: columns.images(columns.at(obj, "spec", "template", "spec")),
        priority=1,
        description="Their images.",
    ),
    columns.computed(
        "Selector",
        lambda obj: columns.label_selector(columns.at(obj, "spec", "selector")),
        priority=1,
        description="Labels of its pods.",
    ),
)


def validate_status_update(new: JsonObject, _old: JsonObject) -> list[FieldError]:
    """Counts are not negative, and parts are not more than the whole."""
    status = new.get("status") or {}
    errors: list[FieldError] = []
    whole = status.get("replicas", 0)
    for field in ("replicas", "updatedReplicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        value = status.get(field, 0)
        if value < 0:
            errors.append(invalid_value(f"status.{field}", value, NOT_NEGATIVE))
        elif value > whole:
            errors.append(invalid_value(f"status.{field}", value, "cannot be greater than status.replicas"))
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        detail = "cannot be greater than readyReplicas"
        errors.append(invalid_value("status.availableReplicas", status["availableReplicas"], detail))
    return errors
