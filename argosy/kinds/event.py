"""Event: something that happened to an object. Stored as core/v1; events.k8s.io/v1 is another view of it."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import Column, FieldGetter, Kind, Version
from argosy.objects import durations, names
from argosy.objects.status import FieldError, invalid_value, required
from argosy.objects.types import JsonObject

EVENTS_GROUP = "events.k8s.io"
REASON_MAX = 128
NOTE_MAX = 1024

# events.k8s.io/v1 name -> core/v1 name, both ways; what is in neither column keeps its name.
_RENAMED = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_RENAMED_BACK = {core: new for new, core in _RENAMED.items()}


def to_storage(obj: JsonObject) -> JsonObject:
    """events.k8s.io/v1 to core/v1."""
    result = {_RENAMED.get(key, key): value for key, value in obj.items()}
    result["apiVersion"] = "v1"
    return result


def from_storage(obj: JsonObject) -> JsonObject:
    """core/v1 to events.k8s.io/v1."""
    result = {_RENAMED_BACK.get(key, key): value for key, value in obj.items()}
    result["apiVersion"] = f"{EVENTS_GROUP}/v1"
    return result


def validate(obj: JsonObject) -> list[FieldError]:
    involved = obj.get("involvedObject") or {}
    own, other = (obj.get("metadata") or {}).get("namespace", ""), involved.get("namespace", "")
    if other and other != own:
        return [invalid_value("involvedObject.namespace", other, "does not match event.namespace")]
    if not other and own not in ("", "default", "kube-system"):
        return [invalid_value("involvedObject.namespace", other, "does not match event.namespace")]
    return []


def validate_new_form(obj: JsonObject) -> list[FieldError]:
    """What events.k8s.io/v1 asks of new events (pkg/apis/core/validation/events.go); `obj` is in the core form."""
    errors: list[FieldError] = []
    if not obj.get("eventTime"):
        errors.append(required("eventTime"))
    controller = obj.get("reportingComponent") or ""
    if not controller:
        errors.append(required("reportingController"))
    else:
        errors += [
            invalid_value("reportingController", controller, text) for text in names.check_qualified_name(controller)
        ]
    for field, shown, limit in (
        ("reportingInstance", "reportingInstance", REASON_MAX),
        ("action", "action", REASON_MAX),
        ("reason", "reason", REASON_MAX),
    ):
        text = obj.get(field) or ""
        if not text:
            errors.append(required(shown))
        elif len(text) > limit:
            errors.append(invalid_value(shown, "", f"can have at most {limit} characters"))
    if len(obj.get("message") or "") > NOTE_MAX:
        errors.append(invalid_value("note", "", f"can have at most {NOTE_MAX} characters"))
    if obj.get("type") not in ("Normal", "Warning"):
        errors.append(invalid_value("type", "", "has invalid value: " + str(obj.get("type") or "")))
    for field, shown in (
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
    ):
        if obj.get(field):
            errors.append(invalid_value(shown, "", "needs to be unset"))
    if (obj.get("source") or {}).get("component") or (obj.get("source") or {}).get("host"):
        errors.append(invalid_value("deprecatedSource", "", "needs to be unset"))
    return errors


def _first_seen(obj: JsonObject, now: float) -> str:
    return durations.age(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def _last_seen(obj: JsonObject, now: float) -> str:
    series = obj.get("series")
    if isinstance(series, dict):
        return durations.age(series.get("lastObservedTime"), now)
    if obj.get("lastTimestamp"):
        return durations.age(obj["lastTimestamp"], now)
    return _first_seen(obj, now)


def _count(obj: JsonObject) -> int:
    series = obj.get("series")
    if isinstance(series, dict):
        return columns.number_at(series, "count")
    return columns.number_at(obj, "count") or 1


def _object(obj: JsonObject) -> str:
    kind = columns.text_at(obj, "involvedObject", "kind").lower()
    name = columns.text_at(obj, "involvedObject", "name")
    return f"{kind}/{name}" if name else kind


def _source(obj: JsonObject) -> str:
    component = columns.text_at(obj, "source", "component") or columns.text_at(obj, "reportingComponent")
    host = columns.text_at(obj, "source", "host") or columns.text_at(obj, "reportingInstance")
    return f"{component}, {host}" if host else component


def _reporting(obj: JsonObject) -> str:
    return columns.text_at(obj, "reportingComponent")


def _source_field(obj: JsonObject) -> str:
    return columns.text_at(obj, "source", "component") or _reporting(obj)


def _involved(field: str) -> FieldGetter:
    return lambda obj: columns.text_at(obj, "involvedObject", field)


def _reason(obj: JsonObject) -> str:
    return columns.text_at(obj, "reason")


def _type(obj: JsonObject) -> str:
    return columns.text_at(obj, "type")


_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

NEW_FORM = Version(
    "v1",
    to_storage,
    from_storage,
    group=EVENTS_GROUP,
    fields={
        **{f"regarding.{name}": _involved(name) for name in _REFERENCE},
        "reason": _reason,
        "reportingController": _reporting,
        "type": _type,
    },
    validate_create=validate_new_form,
)

EVENT = Kind(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    namespaced=True,
    short_names=("ev",),
    versions=(NEW_FORM,),
    validate=validate,
    allow_create_on_update=True,
    columns=(
        Column("Last Seen", _last_seen, description="When it happened last."),
        columns.text("Type", "type", description="Normal or Warning."),
        columns.text("Reason", "reason", description="What happened, in one word."),
        columns.computed("Object", _object, description="What it happened to."),
        columns.text("Subobject", "involvedObject", "fieldPath", priority=1, description="The part concerned."),
        columns.computed("Source", _source, priority=1, description="Who says so."),
        columns.computed(
            "Message", lambda obj: columns.text_at(obj, "message").strip(), description="The same, at length."
        ),
        Column("First Seen", _first_seen, priority=1, description="When it happened first."),
        columns.computed("Count", _count, kind="integer", priority=1, description="How often."),
        Column("Name", lambda obj, _now: columns.text_at(obj, "metadata", "name"), priority=1, format="name"),
    ),
    fields={
        **{f"involvedObject.{name}": _involved(name) for name in _REFERENCE},
        "reason": _reason,
        "reportingComponent": _reporting,
        "source": _source_field,
        "type": _type,
    },
)
