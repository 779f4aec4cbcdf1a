"""Job: pods that run to completion, a number of times."""

from __future__ import annotations

from argosy.host import parse_rfc3339
from argosy.kinds import columns, workload
from argosy.kinds.job_status import validate_status_update
from argosy.kinds.job_validation import (
    CONTROLLER_UID,
    INDEXED,
    NON_INDEXED,
    own_labels,
    validate_job_selector,
    validate_spec,
)
from argosy.kinds.kind import AGE_COLUMN, Column, Kind, keep_status, status_subresource
from argosy.kinds.pod_default import default_template
from argosy.objects import conditions, durations, meta, names
from argosy.objects.status import FieldError, invalid_value
from argosy.objects.types import JsonObject

BACKOFF_LIMIT = 6
MAX_INT32 = (1 << 31) - 1
IMMUTABLE = "field is immutable"
FIXED = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates")


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    policy = spec.get("podFailurePolicy")
    for field, value in (
        ("parallelism", 1),
        ("backoffLimit", BACKOFF_LIMIT if spec.get("backoffLimitPerIndex") is None else MAX_INT32),
        ("completionMode", NON_INDEXED),
        ("suspend", False),
        ("manualSelector", False),
        ("podReplacementPolicy", "TerminatingOrFailed" if policy is None else "Failed"),
    ):
        if spec.get(field) is None:
            spec[field] = value
    for rule in (policy or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern["status"] = pattern.get("status") or "True"
    default_template(spec)
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if labels and not meta.labels(obj):
        obj["metadata"] = {**meta.metadata(obj), "labels": dict(labels)}


def prepare_create(obj: JsonObject) -> None:
    """Labels and selector are made of the Job's uid, unless the user chose their own; conflicting ones are refused
    by `validate`."""
    obj["status"] = {}
    spec = obj["spec"]
    if spec.get("manualSelector"):
        return
    uid = meta.uid(obj)
    metadata = spec["template"]["metadata"] = dict(spec["template"].get("metadata") or {})
    given = metadata.get("labels") or {}
    metadata["labels"] = {**own_labels(meta.name(obj), uid), **given}
    if meta.labels(obj) == given:
        # It had none of its own: it has the template's.
        obj["metadata"] = {**meta.metadata(obj), "labels": dict(metadata["labels"])}
    selector = dict(spec.get("selector") or {})
    selector["matchLabels"] = {CONTROLLER_UID: uid, **(selector.get("matchLabels") or {})}
    spec["selector"] = selector


def validate(obj: JsonObject) -> list[FieldError]:
    spec, name = obj.get("spec") or {}, meta.name(obj)
    errors = validate_job_selector(obj) + validate_spec(spec, "spec")
    completions = spec.get("completions")
    if spec.get("completionMode") == INDEXED and isinstance(completions, int) and completions > 0:
        longest = f"{name}-{completions - 1}"
        if names.check_label(longest):
            detail = f"will not able to create pod with invalid DNS label: {longest}"
            errors.append(invalid_value("metadata.name", name, detail))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    errors: list[FieldError] = []
    if after.get("completions") != before.get("completions"):
        completions = after.get("completions")
        if after.get("completionMode") != INDEXED:
            errors.append(invalid_value("spec.completions", completions, IMMUTABLE))
        elif completions is not None and completions != after.get("parallelism"):
            detail = "can only be modified in tandem with spec.parallelism"
            errors.append(invalid_value("spec.completions", completions, detail))
    for field in FIXED:
        if after.get(field) != before.get(field):
            errors.append(invalid_value(f"spec.{field}", after.get(field), IMMUTABLE))
    template = before.get("template") or {}
    if before.get("suspend"):
        template = _with_scheduling(template, after.get("template") or {}, old)
    if after.get("template") != template:
        errors.append(invalid_value("spec.template", after.get("template"), IMMUTABLE))
    return errors


def _with_scheduling(old: JsonObject, new: JsonObject, job: JsonObject) -> JsonObject:
    """The old template with what may change while the Job is suspended taken from the new one: where its pods go,
    and what they ask for, so that a queueing controller can decide that (KEP-2926, KEP-5440).

    Only while it has no pods: it never started, or its suspension is over with.
    """
    resting = conditions.is_true(job, "Suspended") and not meta.status(job).get("active")
    if meta.status(job).get("startTime") and not resting:
        return old
    result = {**old, "spec": dict(old.get("spec") or {}), "metadata": dict(old.get("metadata") or {})}
    after = new.get("spec") or {}
    _take(result["spec"], after, *SCHEDULING)
    _take(result["metadata"], new.get("metadata") or {}, "labels", "annotations")
    affinity, wanted = dict(result["spec"].get("affinity") or {}), after.get("affinity")
    _take(affinity, wanted or {}, "nodeAffinity")
    if affinity or wanted is not None:
        result["spec"]["affinity"] = affinity
    else:
        result["spec"].pop("affinity", None)
    for group in ("containers", "initContainers"):
        before, now = result["spec"].get(group) or [], after.get(group) or []
        if [item.get("name") for item in before] == [item.get("name") for item in now] and before:
            result["spec"][group] = [dict(item) for item in before]
            for item, other in zip(result["spec"][group], now, strict=True):
                _take(item, other, "resources")
    return result


def _take(target: JsonObject, source: JsonObject, *fields: str) -> None:
    for field in fields:
        if field in source:
            target[field] = source[field]
        else:
            target.pop(field, None)


def state(obj: JsonObject) -> str:
    """The Status column."""
    for kind in ("Complete", "Failed"):
        if conditions.is_true(obj, kind):
            return kind
    if meta.is_deleting(obj):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if conditions.is_true(obj, kind):
            return kind
    return "Running"


def _completions(obj: JsonObject) -> str:
    done, wanted = columns.number_at(obj, "status", "succeeded"), columns.at(obj, "spec", "completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallelism = columns.number_at(obj, "spec", "parallelism")
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(obj: JsonObject, now: float) -> str:
    status = meta.status(obj)
    if not status.get("startTime"):
        return ""
    end = parse_rfc3339(status["completionTime"]) if status.get("completionTime") else now
    return durations.human(end - parse_rfc3339(status["startTime"]))


JOB = Kind(
    group="batch",
    version="v1",
    kind="Job",
    plural="jobs",
    singular="job",
    namespaced=True,
    categories=("all",),
    subresources=(status_subresource("batch", "v1", "Job"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    columns=(
        columns.computed("Status", state, description="What has become of it."),
        columns.computed("Completions", _completions, description="Pods that succeeded, of those wanted."),
        Column("Duration", _duration, description="Time from its start to its end, or until now."),
        AGE_COLUMN,
        *workload.TEMPLATE_COLUMNS,
    ),
    fields={"status.successful": lambda obj: str(columns.number_at(obj, "status", "succeeded"))},
    has_generation=True,
)
