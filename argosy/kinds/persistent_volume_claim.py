"""PersistentVolumeClaim: a namespace's request for storage, and its hold on the volume that it got."""

from __future__ import annotations

from argosy.kinds import columns, resources, storage_validation
from argosy.kinds.claim_spec import default_spec, requested, validate_spec
from argosy.kinds.kind import AGE_COLUMN, Kind, keep_status, status_subresource
from argosy.kinds.persistent_volume import phase
from argosy.objects import meta, quantity, storage
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported
from argosy.objects.types import JsonObject

IMMUTABLE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
RESIZE_STATES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)
_SIZE = "spec.resources.requests.storage"


def default(obj: JsonObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    default_spec(spec)
    status = obj.get("status")
    if isinstance(status, dict):
        resources.canonicalise(status.get("capacity"))


def _normalise_sources(spec: JsonObject) -> None:
    """dataSource and dataSourceRef say the same, whichever was given (pkg/api/persistentvolumeclaim)."""
    old, new = spec.get("dataSource"), spec.get("dataSourceRef")
    if isinstance(old, dict) and new is None:
        spec["dataSourceRef"] = dict(old)
    elif isinstance(new, dict) and old is None and not new.get("namespace"):
        spec["dataSource"] = {key: value for key, value in new.items() if key != "namespace"}


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = {"phase": "Pending"}
    _normalise_sources(meta.spec(obj))


def validate(obj: JsonObject) -> list[FieldError]:
    return validate_spec(obj.get("spec") or {}, "spec")


def _may_take_class(new: JsonObject, old: JsonObject) -> bool:
    """A claim without class may be given one, once: the default class that came later, or its old annotation's."""
    given, before = meta.spec(new).get("storageClassName"), meta.spec(old).get("storageClassName")
    noted = meta.annotations(old).get(storage.BETA_CLASS)
    return given is not None and before is None and (noted is None or noted == given)


def _comparable(new: JsonObject, old: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Both specs, with what may change of the new one taken from the old one."""
    after, before = meta.copy_object(meta.spec(new)), meta.copy_object(meta.spec(old))
    may_change: list[str] = [] if before.get("volumeName") else ["volumeName"]
    if _may_take_class(new, old):
        may_change.append("storageClassName")
    if columns.text_at(new, "status", "phase") == "Bound":
        requests = (after.get("resources") or {}).get("requests")
        if requests is not None and requested(before) is not None:
            requests["storage"] = requested(before)
        if after.get("volumeAttributesClassName") is not None:
            may_change.append("volumeAttributesClassName")
    for field in may_change:
        after.pop(field, None)
        before.pop(field, None)
    return _filled(after), _filled(before)


def _filled(spec: JsonObject) -> JsonObject:
    """Without empty values; an empty class name is not empty: it asks for no class."""
    return {
        key: value
        for key, value in spec.items()
        if value not in (None, [], {}) and (key == "storageClassName" or value)
    }


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    noted, before = (meta.annotations(item).get(storage.BETA_CLASS) for item in (new, old))
    upgraded = _may_take_class(new, old) and before is not None and noted is None
    if noted != before and not upgraded:
        path = f"metadata.annotations[{storage.BETA_CLASS}]"
        errors.append(invalid_value(path, noted or "", "field is immutable"))
    left, right = _comparable(new, old)
    if left != right:
        errors.append(forbidden_field("spec", IMMUTABLE))
    errors += _validate_smaller(new, old)
    mode = meta.spec(new).get("volumeMode")
    if mode != meta.spec(old).get("volumeMode"):
        errors.append(invalid_value("volumeMode", mode, "field is immutable"))
    if meta.spec(old).get("volumeAttributesClassName") is not None:
        given = meta.spec(new).get("volumeAttributesClassName")
        if not given:
            what = "nil" if given is None else "an empty string"
            detail = f"update from non-nil value to {what} is forbidden"
            errors.append(forbidden_field("spec.volumeAttributesClassName", detail))
    return errors


def _validate_smaller(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """A wish to grow that failed may be taken back, but never below what there is."""
    try:
        if quantity.compare(requested(meta.spec(new)) or 0, requested(meta.spec(old)) or 0) >= 0:
            return []
        held = (meta.status(old).get("capacity") or {}).get("storage", 0)
        if quantity.compare(requested(meta.spec(new)) or 0, held) > 0:
            return []
    except quantity.QuantityError:
        return []  # `validate` says what is wrong with it
    return [forbidden_field(_SIZE, "field can not be less than status.capacity")]


def validate_status_update(new: JsonObject, _old: JsonObject) -> list[FieldError]:
    status = new.get("status") or {}
    errors = storage_validation.validate_status_sizes(status.get("capacity"), "status.capacity")
    errors += storage_validation.validate_status_sizes(status.get("allocatedResources"), "status.allocatedResources")
    for key, state in sorted((status.get("allocatedResourceStatuses") or {}).items()):
        if state not in RESIZE_STATES:
            errors.append(not_supported("status.allocatedResourceStatus", key, RESIZE_STATES))
    return errors


def _when_bound(obj: JsonObject, value: str) -> str:
    return value if columns.text_at(obj, "spec", "volumeName") else ""


PERSISTENT_VOLUME_CLAIM = Kind(
    group="",
    version="v1",
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    namespaced=True,
    short_names=("pvc",),
    subresources=(status_subresource("", "v1", "PersistentVolumeClaim"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    fields={storage.SELECTED_NODE_FIELD: storage.selected_node},
    columns=(
        columns.computed("Status", phase, description="Whether it has a volume."),
        columns.text("Volume", "spec", "volumeName", description="The volume that it has."),
        columns.computed(
            "Capacity",
            lambda obj: _when_bound(obj, columns.text_at(obj, "status", "capacity", "storage")),
            description="How much the volume holds.",
        ),
        columns.computed(
            "Access Modes",
            lambda obj: _when_bound(obj, storage.short_modes(meta.status(obj).get("accessModes"))),
            description="How the volume can be mounted.",
        ),
        columns.computed("StorageClass", storage.claim_class, description="The class that it asks for."),
        columns.text(
            "VolumeAttributesClass",
            "spec",
            "volumeAttributesClassName",
            empty=columns.UNSET,
            description="The class of changeable attributes that it asks for.",
        ),
        AGE_COLUMN,
        columns.text(
            "VolumeMode",
            "spec",
            "volumeMode",
            empty=columns.UNSET,
            priority=1,
            description="A file system or a bare device.",
        ),
    ),
)
