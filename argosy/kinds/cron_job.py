"""CronJob: Jobs at the times of a schedule."""

from __future__ import annotations

import re

from argosy.kinds import columns
from argosy.kinds.job_validation import validate_spec
from argosy.kinds.kind import AGE_COLUMN, Column, Kind, keep_status, status_subresource
from argosy.kinds.pod_default import default_template
from argosy.kinds.workload import NOT_NEGATIVE
from argosy.objects import cron, durations, meta
from argosy.objects.status import FieldError, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

POLICIES = ("Allow", "Forbid", "Replace")
MAX_NAME_CHARS = 52
"""A Job's name is 11 characters longer, and a label may have 63."""
_ZONE_PART = re.compile(r"[A-Za-z._0-9+-]{1,14}", re.ASCII)


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    for field, value in (("suspend", False), ("successfulJobsHistoryLimit", 3), ("failedJobsHistoryLimit", 1)):
        if spec.get(field) is None:
            spec[field] = value
    template = spec.get("jobTemplate")
    if not isinstance(template, dict):
        template = spec["jobTemplate"] = {}
    template.setdefault("metadata", {})
    if not isinstance(template.get("spec"), dict):
        template["spec"] = {}
    default_template(template["spec"])


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = {}


def _validate_zone(name: object) -> list[FieldError]:
    path = "spec.timeZone"
    if name is None:
        return []
    text = str(name)
    if not text:
        return [invalid_value(path, text, "timeZone must be nil or non-empty string")]
    for part in text.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part):
            return [invalid_value(path, text, f"unknown time zone {text}")]
    if text.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [invalid_value(path, text, detail)]
    try:
        cron.zone(text)
    except cron.CronError as error:
        return [invalid_value(path, text, str(error))]
    return []


def _validate_schedule(text: str) -> list[FieldError]:
    path = "spec.schedule"
    if not text:
        return [required(path)]
    errors: list[FieldError] = []
    try:
        cron.parse(text)
    except cron.CronError as error:
        errors.append(invalid_value(path, text, str(error)))
    return errors


def _without_zone(new: JsonObject, old: JsonObject | None) -> list[FieldError]:
    """A zone within the schedule is kept where it has been, and else refused."""
    path, spec = "spec.schedule", new.get("spec") or {}
    text = str(spec.get("schedule") or "")
    if "TZ" not in text:
        return []
    if old is None or "TZ" not in str((old.get("spec") or {}).get("schedule") or ""):
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [invalid_value(path, text, detail)]
    if spec.get("timeZone") is not None:
        return [invalid_value(path, text, "cannot use both timeZone field and TZ or CRON_TZ in schedule")]
    return []


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors = _validate_schedule(str(spec.get("schedule") or ""))
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        value = spec.get(field)
        if isinstance(value, int) and value < 0:
            errors.append(invalid_value(f"spec.{field}", value, NOT_NEGATIVE))
    policy = spec.get("concurrencyPolicy")
    if policy not in POLICIES:
        errors.append(not_supported("spec.concurrencyPolicy", policy, POLICIES))
    job, path = (spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec"
    errors += validate_spec(job, path)
    if job.get("selector") is not None:
        errors.append(invalid_value(f"{path}.selector", job["selector"], "`selector` will be auto-generated"))
    if job.get("manualSelector"):
        errors.append(not_supported(f"{path}.manualSelector", job["manualSelector"], ("nil", "false")))
    return errors


def validate_create(obj: JsonObject) -> list[FieldError]:
    errors = _without_zone(obj, None) + _validate_zone((obj.get("spec") or {}).get("timeZone"))
    if len(meta.name(obj)) > MAX_NAME_CHARS:
        errors.append(invalid_value("metadata.name", meta.name(obj), "must be no more than 52 characters"))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    errors = _without_zone(new, old)
    zone = (new.get("spec") or {}).get("timeZone")
    if zone != (old.get("spec") or {}).get("timeZone"):
        errors += _validate_zone(zone)
    return errors


def _pods(obj: JsonObject) -> object:
    return columns.at(obj, "spec", "jobTemplate", "spec", "template", "spec")


def _last_schedule(obj: JsonObject, now: float) -> str:
    last = columns.at(obj, "status", "lastScheduleTime")
    return durations.age(last, now) if last else columns.NONE


CRON_JOB = Kind(
    group="batch",
    version="v1",
    kind="CronJob",
    plural="cronjobs",
    singular="cronjob",
    namespaced=True,
    short_names=("cj",),
    categories=("all",),
    subresources=(status_subresource("batch", "v1", "CronJob"),),
    default=default,
    validate=validate,
    validate_create=validate_create,
    validate_update=validate_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    columns=(
        columns.text("Schedule", "spec", "schedule", description="When Jobs are made."),
        columns.text("Timezone", "spec", "timeZone", empty=columns.NONE, description="The schedule's."),
        columns.computed("Suspend", lambda obj: str(bool(columns.at(obj, "spec", "suspend"))), kind="boolean"),
        columns.computed("Active", lambda obj: len(columns.items_at(obj, "status", "active")), kind="integer"),
        Column("Last Schedule", _last_schedule, description="When a Job was last due."),
        AGE_COLUMN,
        columns.computed("Containers", lambda obj: columns.containers(_pods(obj)), priority=1),
        columns.computed("Images", lambda obj: columns.images(_pods(obj)), priority=1),
        columns.computed(
            "Selector",
            lambda obj: columns.label_selector(columns.at(obj, "spec", "jobTemplate", "spec", "selector")),
            priority=1,
        ),
    ),
    has_generation=True,
)
