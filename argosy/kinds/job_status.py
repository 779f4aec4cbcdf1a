"""What a Job's status may say, and what it may not take back (pkg/apis/batch/validation, ValidateJobStatusUpdate).

Other controllers than ours write it too, where `managedBy` names them.
"""

from __future__ import annotations

from argosy.kinds.job_validation import INDEXED
from argosy.kinds.workload import NOT_NEGATIVE
from argosy.objects import conditions, intervals
from argosy.objects.status import CauseType, FieldError, duplicate, invalid_value, required
from argosy.objects.types import JsonObject

COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
TERMINAL = ("Failed", "Complete", "FailureTarget")


def validate_status_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    status, before = new.get("status") or {}, old.get("status") or {}
    errors = _validate_counts(status)
    errors += _validate_conditions(new, status) + _validate_finished(new, status)
    errors += _validate_indexes(new.get("spec") or {}, status)
    for kind in TERMINAL:
        if conditions.is_true(old, kind) and not conditions.is_true(new, kind):
            errors.append(_conditions(f"cannot disable the terminal {kind}=True condition"))
    for field in ("failed", "succeeded"):
        # An elastic Job that shrinks loses completed indexes.
        if field == "succeeded" and (new.get("spec") or {}).get("completionMode") == INDEXED:
            continue
        if (status.get(field) or 0) < (before.get(field) or 0):
            detail = f"cannot decrease the {field} counter"
            errors.append(invalid_value(f"status.{field}", status.get(field) or 0, detail))
    ended, ended_before = status.get("completionTime"), before.get("completionTime")
    if ended and ended_before and ended != ended_before:
        errors.append(invalid_value("status.completionTime", ended, "completionTime cannot be mutated"))
    suspended = bool((new.get("spec") or {}).get("suspend"))
    if before.get("startTime") and not status.get("startTime") and not suspended:
        errors.append(required("status.startTime", "startTime cannot be removed for unsuspended job"))
    if conditions.is_true(old, "SuccessCriteriaMet") and not conditions.is_true(new, "SuccessCriteriaMet"):
        errors.append(_conditions("cannot disable the SuccessCriteriaMet=True condition"))
    return errors


def _conditions(detail: str) -> FieldError:
    return FieldError(CauseType.INVALID, "status.conditions", f"Invalid value: {detail}")


def _validate_counts(status: JsonObject) -> list[FieldError]:
    errors = [
        invalid_value(f"status.{field}", status[field], NOT_NEGATIVE)
        for field in COUNTS
        if isinstance(status.get(field), int) and status[field] < 0
    ]
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for index, uid in enumerate((status.get("uncountedTerminatedPods") or {}).get(field) or ()):
            path = f"status.uncountedTerminatedPods.{field}[{index}]"
            if not uid:
                errors.append(invalid_value(path, uid, "must not be empty"))
            elif uid in seen:
                errors.append(duplicate(path, uid))
            seen.add(uid)
    ready = status.get("ready") or 0
    if ready > max(0, status.get("active") or 0):
        errors.append(invalid_value("status.ready", ready, "cannot set more ready pods than active"))
    return errors


def _validate_conditions(job: JsonObject, status: JsonObject) -> list[FieldError]:
    complete, failed = conditions.is_true(job, "Complete"), conditions.is_true(job, "Failed")
    target, met = conditions.is_true(job, "FailureTarget"), conditions.is_true(job, "SuccessCriteriaMet")
    found = [
        (complete and failed, "cannot set Complete=True and Failed=true conditions"),
        (complete and target, "cannot set Complete=True and FailureTarget=true conditions"),
        (failed and not target, "cannot set Failed=True condition without the FailureTarget=true condition"),
        (complete and not met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
        (met and failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (met and target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
    ]
    errors = [_conditions(detail) for wrong, detail in found if wrong]
    began, ended = status.get("startTime"), status.get("completionTime")
    if ended and not complete:
        detail = "cannot set completionTime when there is no Complete=True condition"
        errors.append(invalid_value("status.completionTime", ended, detail))
    if complete and not ended:
        errors.append(required("status.completionTime", "completionTime is required for Complete jobs"))
    if began and ended and ended < began:
        detail = "completionTime cannot be set before startTime"
        errors.append(invalid_value("status.completionTime", ended, detail))
    return errors


def _validate_finished(job: JsonObject, status: JsonObject) -> list[FieldError]:
    if not (conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")):
        return []
    errors: list[FieldError] = []
    if status.get("active"):
        errors.append(invalid_value("status.active", status["active"], "active>0 is invalid for finished job"))
    if status.get("terminating"):
        detail = "terminating>0 is invalid for finished job"
        errors.append(invalid_value("status.terminating", status["terminating"], detail))
    if not status.get("startTime"):
        errors.append(required("status.startTime", "startTime is required for finished job"))
    uncounted = status.get("uncountedTerminatedPods") or {}
    if uncounted.get("succeeded") or uncounted.get("failed"):
        detail = "uncountedTerminatedPods needs to be empty for finished job"
        errors.append(invalid_value("status.uncountedTerminatedPods", uncounted, detail))
    return errors


def _validate_indexes(spec: JsonObject, status: JsonObject) -> list[FieldError]:
    completions = spec.get("completions")
    done, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    errors: list[FieldError] = []
    for field, text in (("completedIndexes", done), ("failedIndexes", failed)):
        if completions is None or not text:
            continue
        try:
            intervals.check(text, completions)
        except intervals.IntervalError as error:
            errors.append(invalid_value(f"status.{field}", text, f"error parsing {field}: {error}"))
    if done and spec.get("completionMode") != INDEXED:
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errors.append(invalid_value("status.completedIndexes", done, detail))
    if failed is not None and spec.get("backoffLimitPerIndex") is None:
        detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errors.append(invalid_value("status.failedIndexes", failed, detail))
    elif failed and completions is not None and not errors:
        overlap = intervals.first_overlap(intervals.parse(done, completions), intervals.parse(failed, completions))
        if overlap is not None:
            detail = f"failedIndexes and completedIndexes overlap at index: {overlap}"
            errors.append(invalid_value("status.failedIndexes", failed, detail))
    return errors
