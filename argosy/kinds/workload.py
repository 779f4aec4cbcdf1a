"""What the workload kinds share: checks of template, selector, replicas and steps of a rollout, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.kinds import columns
from argosy.kinds.label_rules import validate_selector
from argosy.kinds.pod_validation import validate_template
from argosy.objects import intstr, selectors
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


def validate_selector_and_template(
    spec: JsonObject, owner: str = "deployment", pods_of: str = "ReplicaSet", *, volumes: Sequence[JsonObject] = ()
) -> list[FieldError]:
    """The selector must be given, mean something and match the template's labels; pods must restart always.

    `owner` and `pods_of` are what messages call the kind; `volumes` are those that pods get besides the template's.
    """
    errors: list[FieldError] = []
    selector = spec.get("selector")
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        errors += validate_selector(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            errors.append(invalid_value("spec.selector", selector, f"empty selector is invalid for {owner}"))
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if selector is None or (not errors and not selectors.from_object(selector).matches(labels or {})):
        detail = "`selector` does not match template `labels`"
        errors.append(invalid_value("spec.template.metadata.labels", labels, detail))
    return errors + validate_pods(template, pods_of, volumes)


def validate_pods(template: JsonObject, pods_of: str, volumes: Sequence[JsonObject] = ()) -> list[FieldError]:
    """A template of pods that run until they are deleted."""
    spec = template.get("spec") or {}
    if volumes:
        own = [
            volume for volume in spec.get("volumes") or () if all(volume.get("name") != v["name"] for v in volumes)
        ]
        errors = validate_template({**template, "spec": {**spec, "volumes": [*own, *volumes]}}, "spec.template")
    else:
        errors = validate_template(template, "spec.template")
    policy = spec.get("restartPolicy")
    if policy != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ["Always"]))
    if spec.get("activeDeadlineSeconds") is not None:
        path = "spec.template.spec.activeDeadlineSeconds"
        errors.append(forbidden_field(path, f"activeDeadlineSeconds in {pods_of} is not Supported"))
    return errors


def validate_step(value: object, path: str, *, most_percent: int | None = None) -> list[FieldError]:
    """How many pods at once: a number or a percentage, of `most_percent` at most."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [] if value >= 0 else [invalid_value(path, value, NOT_NEGATIVE)]
    share = intstr.percent(value)
    if share is None:
        detail = (
            "a valid percent string must be a numeric string followed by an ending '%' "
            "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
        )
        return [invalid_value(path, value, detail)]
    if most_percent is not None and share > most_percent:
        return [invalid_value(path, value, f"must not be greater than {most_percent}%")]
    return []


def collisions_decremented(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """status.collisionCount makes names of revisions unique; it only rises."""
    before, after = ((each.get("status") or {}).get("collisionCount") for each in (old, new))
    if before is not None and (after is None or after < before):
        return [invalid_value("status.collisionCount", after or 0, "cannot be decremented")]
    return []


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
