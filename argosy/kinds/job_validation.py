"""Rules for Jobs and for the Job templates of CronJobs (pkg/apis/batch/validation)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from argosy.kinds.label_rules import validate_selector
from argosy.kinds.pod_validation import validate_template
from argosy.kinds.workload import NOT_NEGATIVE
from argosy.objects import intervals, names, selectors
from argosy.objects.status import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)
from argosy.objects.types import JsonObject

INDEXED = "Indexed"
NON_INDEXED = "NonIndexed"
MAX_PARALLELISM = 100_000
MAX_FAILED_INDEXES = 100_000
MANY_COMPLETIONS = 100_000
MAX_FOR_MANY = 10_000
"""Of parallelism and failed indexes, with a back-off limit per index and that many completions."""
MAX_RULES = 20
MAX_EXIT_CODES = 255
MAX_PATTERNS = 20
MAX_MANAGER_CHARS = 63
MAX_INDEXES_BYTES = 64 << 10
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATUSES = ("False", "True", "Unknown")
COUNTS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_URL_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


def validate_spec(spec: JsonObject, path: str) -> list[FieldError]:
    """A JobSpec, selector aside: that of a CronJob's template has none."""
    errors = [
        invalid_value(f"{path}.{field}", spec[field], NOT_NEGATIVE)
        for field in COUNTS
        if isinstance(spec.get(field), int) and spec[field] < 0
    ]
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("managedBy") is not None:
        errors += _validate_manager(str(spec["managedBy"]), f"{path}.managedBy")
    errors += _validate_mode(spec, path)
    template = spec.get("template") or {}
    if spec.get("podFailurePolicy") is not None:
        errors += _validate_failure_policy(spec, template.get("spec") or {}, f"{path}.podFailurePolicy.rules")
    if spec.get("successPolicy") is not None:
        errors += _validate_success_policy(spec, f"{path}.successPolicy")
    errors += _validate_replacement(spec, f"{path}.podReplacementPolicy")
    errors += validate_template(template, f"{path}.template")
    return errors + _validate_restart(spec, template, f"{path}.template.spec.restartPolicy")


def _validate_manager(name: str, path: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    host, _, rest = name.partition("/")
    if not host or not rest:
        return [invalid_value(path, name, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = [invalid_value(path, host, text) for text in names.check_subdomain(host)]
    if not re.fullmatch(_URL_PATH, rest):
        errors.append(invalid_value(path, rest, f"Invalid path (regex used for validation is '{_URL_PATH}')"))
    if len(name) > MAX_MANAGER_CHARS:
        errors.append(too_long(path, MAX_MANAGER_CHARS))
    return errors


def _validate_mode(spec: JsonObject, path: str) -> list[FieldError]:
    mode = spec.get("completionMode")
    per_index, most_failed = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    if mode is None or mode == NON_INDEXED:
        return [
            invalid_value(f"{path}.{field}", value, "requires indexed completion mode")
            for field, value in (("backoffLimitPerIndex", per_index), ("maxFailedIndexes", most_failed))
            if value is not None
        ]
    if mode != INDEXED:
        return [not_supported(f"{path}.completionMode", mode, (NON_INDEXED, INDEXED))]
    errors: list[FieldError] = []
    completions, parallelism = spec.get("completions"), spec.get("parallelism")

    def bounded(field: str, value: int | None, limit: int, why: str) -> None:
        if value is not None and value > limit:
            errors.append(invalid_value(f"{path}.{field}", value, f"must be less than or equal to {why}"))

    if completions is None:
        errors.append(required(f"{path}.completions", f"when completion mode is {INDEXED}"))
    mode_text = f"{MAX_PARALLELISM} when completion mode is {INDEXED}"
    bounded("parallelism", parallelism, MAX_PARALLELISM, mode_text)
    if completions is not None:
        bounded("maxFailedIndexes", most_failed, completions, "completions")
    bounded("maxFailedIndexes", most_failed, MAX_FAILED_INDEXES, str(MAX_FAILED_INDEXES))
    if completions is not None and completions > MANY_COMPLETIONS and per_index is not None:
        if most_failed is None:
            detail = f"must be specified when completions is above {MANY_COMPLETIONS}"
            errors.append(required(f"{path}.maxFailedIndexes", detail))
        many = f"{MAX_FOR_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
        bounded("parallelism", parallelism, MAX_FOR_MANY, many)
        bounded("maxFailedIndexes", most_failed, MAX_FOR_MANY, many)
    return errors


def _validate_replacement(spec: JsonObject, path: str) -> list[FieldError]:
    policy = spec.get("podReplacementPolicy")
    known = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    return [] if policy is None or policy in known else [not_supported(path, policy, known)]


def _validate_restart(spec: JsonObject, template: JsonObject, path: str) -> list[FieldError]:
    policy = (template.get("spec") or {}).get("restartPolicy") or ""
    if policy in ("", "Always"):
        return [required(path, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [not_supported(path, policy, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        return [invalid_value(path, policy, detail)]
    return []


def _choice(value: object, known: tuple[str, ...], path: str) -> list[FieldError]:
    if not value:
        shown = " ".join(f'"{item}"' for item in known)
        return [required(path, f"valid values: [{shown}]")]
    return [] if value in known else [not_supported(path, value, known)]


def _validate_failure_policy(spec: JsonObject, pod: JsonObject, path: str) -> list[FieldError]:
    rules = spec["podFailurePolicy"].get("rules") or []
    errors = [too_many(path, len(rules), MAX_RULES)] if len(rules) > MAX_RULES else []
    containers = {item.get("name") for group in ("containers", "initContainers") for item in pod.get(group) or ()}
    for index, rule in enumerate(rules):
        where, action = f"{path}[{index}]", rule.get("action")
        codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            detail = "requires the backoffLimitPerIndex to be set"
            errors.append(invalid_value(f"{where}.action", action, detail))
        else:
            errors += _choice(action, ACTIONS, f"{where}.action")
        if codes is not None:
            errors += _validate_exit_codes(codes, containers, f"{where}.onExitCodes")
        if patterns:
            errors += _validate_patterns(patterns, f"{where}.onPodConditions")
        if codes is not None and patterns:
            errors.append(_whole(where, "specifying both OnExitCodes and OnPodConditions is not supported"))
        if codes is None and not patterns:
            errors.append(_whole(where, "specifying one of OnExitCodes and OnPodConditions is required"))
    return errors


def _whole(path: str, detail: str) -> FieldError:
    """A value that upstream leaves out of the message."""
    found = invalid_value(path, "", detail)
    return FieldError(found.cause, path, f"Invalid value: {detail}")


def _validate_patterns(patterns: list[JsonObject], path: str) -> list[FieldError]:
    errors = [too_many(path, len(patterns), MAX_PATTERNS)] if len(patterns) > MAX_PATTERNS else []
    for index, pattern in enumerate(patterns):
        kind = str(pattern.get("type") or "")
        errors += [invalid_value(f"{path}[{index}].type", kind, text) for text in names.check_qualified_name(kind)]
        errors += _choice(pattern.get("status"), STATUSES, f"{path}[{index}].status")
    return errors


def _validate_exit_codes(codes: JsonObject, containers: set[object], path: str) -> list[FieldError]:
    operator, name, values = codes.get("operator"), codes.get("containerName"), codes.get("values") or []
    errors = _choice(operator, OPERATORS, f"{path}.operator")
    if name is not None and name not in containers:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid_value(f"{path}.containerName", name, detail))
    if not values:
        errors.append(invalid_value(f"{path}.values", values, "at least one value is required"))
    elif len(values) > MAX_EXIT_CODES:
        errors.append(too_many(f"{path}.values", len(values), MAX_EXIT_CODES))
    seen: set[int] = set()
    for index, value in enumerate(values):
        where = f"{path}.values[{index}]"
        if operator == "In" and value == 0:
            errors.append(invalid_value(where, value, "must not be 0 for the In operator"))
        if value in seen:
            errors.append(duplicate(where, value))
        seen.add(value)
    if values != sorted(values):
        errors.append(invalid_value(f"{path}.values", values, "must be ordered"))
    return errors


def _validate_success_policy(spec: JsonObject, path: str) -> list[FieldError]:
    policy = spec["successPolicy"]
    if spec.get("completionMode") != INDEXED:
        return [invalid_value(path, policy, "requires indexed completion mode")]
    rules, errors = policy.get("rules") or [], []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        errors.append(required(f"{path}.rules", detail))
    if len(rules) > MAX_RULES:
        errors.append(too_many(f"{path}.rules", len(rules), MAX_RULES))
    completions = spec.get("completions") or 0
    for index, rule in enumerate(rules):
        errors += _validate_success_rule(rule, completions, f"{path}.rules[{index}]")
    return errors


def _validate_success_rule(rule: JsonObject, completions: int, path: str) -> list[FieldError]:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    errors: list[FieldError] = []
    if indexes is None and count is None:
        detail = "at least one of succeededCount or succeededIndexes must be specified"
        errors.append(required(path, detail))
    named = 0
    if indexes is not None:
        where = f"{path}.succeededIndexes"
        if len(indexes) > MAX_INDEXES_BYTES:
            errors.append(too_long(where, MAX_INDEXES_BYTES))
        try:
            named = intervals.check(indexes, completions)
        except intervals.IntervalError as error:
            errors.append(invalid_value(where, indexes, f"error parsing succeededIndexes: {error}"))
    if count is not None:
        where, limit = f"{path}.succeededCount", "must be less than or equal to"
        if count < 0:
            errors.append(invalid_value(where, count, NOT_NEGATIVE))
        if count > completions:
            detail = f"{limit} {completions} (the number of specified completions)"
            errors.append(invalid_value(where, count, detail))
        if indexes is not None and count > named:
            detail = f"{limit} {named} (the number of indexes in the specified succeededIndexes field)"
            errors.append(invalid_value(where, count, detail))
    return errors


CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
LEGACY_CONTROLLER_UID = "controller-uid"
LEGACY_JOB_NAME = "job-name"


def own_labels(name: str, uid: str) -> dict[str, str]:
    """What tells a Job's pods from all others."""
    return {
        LEGACY_CONTROLLER_UID: uid,
        LEGACY_JOB_NAME: name,
        CONTROLLER_UID: uid,
        JOB_NAME: name,
    }


def validate_job_selector(obj: Mapping[str, JsonObject]) -> list[FieldError]:
    """The generated labels are on the template and only they are selected; or the selector is the user's own, and
    matches the template."""
    spec, metadata = obj.get("spec") or {}, obj.get("metadata") or {}
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    path = "spec.template.metadata"
    errors: list[FieldError] = []
    if selector is None:
        errors.append(required("spec.selector"))
    elif not spec.get("manualSelector"):
        wanted = own_labels(metadata.get("name", ""), metadata.get("uid", ""))
        for key, value in wanted.items():
            where, detail = f"{path}.labels[{key}]", f"must be '{value}'"
            if key not in labels:
                errors.append(required(where, detail))
            if labels.get(key) != value:
                errors.append(invalid_value(where, labels, detail))
        if not _selects(selector, wanted):
            errors.append(invalid_value("spec.selector", selector, "`selector` not auto-generated"))
    if selector is not None:
        errors += validate_selector(selector, "spec.selector")
    if not _selects(selector, labels):
        detail = "`selector` does not match template `labels`"
        errors.append(invalid_value(f"{path}.labels", labels, detail))
    return errors


def _selects(selector: JsonObject | None, labels: Mapping[str, str]) -> bool:
    """A broken selector is told of elsewhere."""
    try:
        return selectors.from_object(selector).matches(labels)
    except selectors.SelectorError:
        return True
