"""CustomResourceDefinition (apiextensions.k8s.io/v1): a resource that a user adds to the API.

Here are its names, defaults, columns and the rules of everything but the schemas; those are the API server's
(`control_plane/apiserver/crd/schema_rules.py`), which compiles them anyway. Upstream: apiextensions-apiserver
`pkg/apis/apiextensions` (v1/defaults.go, validation/validation.go) and `pkg/registry/customresourcedefinition`.
"""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.crd_validation import validate_names, validate_spec
from argosy.kinds.kind import Kind, status_subresource
from argosy.objects import conditions, meta
from argosy.objects.status import FieldError, invalid_value
from argosy.objects.types import JsonObject

GROUP = "apiextensions.k8s.io"
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
ESTABLISHED = "Established"
NAMES_ACCEPTED = "NamesAccepted"
TERMINATING = "Terminating"
WEBHOOK_PORT = 443
IMMUTABLE = "field is immutable"
PENDING_DELETION = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"


def default(obj: JsonObject) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    if not names.get("singular"):
        names["singular"] = kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = kind + "List"
    if not spec.get("preserveUnknownFields"):
        spec.pop("preserveUnknownFields", None)
    conversion = spec.setdefault("conversion", {})
    if not conversion.get("strategy"):
        conversion["strategy"] = "None"
    service = columns.at(conversion, "webhook", "clientConfig", "service")
    if isinstance(service, dict) and not service.get("port"):
        service["port"] = WEBHOOK_PORT


def storage_version(obj: JsonObject) -> str:
    """The name of the version that is stored; empty when none is marked."""
    for version in columns.items_at(obj, "spec", "versions"):
        if version.get("storage"):
            return str(version.get("name", ""))
    return ""


def _store_version(obj: JsonObject) -> None:
    status = obj.setdefault("status", {})
    stored = list(status.get("storedVersions") or ())
    version = storage_version(obj)
    if version and version not in stored:
        stored.append(version)
    obj["status"] = {**status, "storedVersions": stored}


def prepare_create(obj: JsonObject) -> None:
    obj["status"] = {}
    _store_version(obj)


def prepare_update(new: JsonObject, old: JsonObject) -> None:
    new["status"] = dict(old.get("status") or {})
    _store_version(new)


def prepare_delete(obj: JsonObject, now: str) -> None:
    """In place, when a deletion begins: the objects go first, and the conditions say so."""
    metadata = obj["metadata"]
    finalizers = list(metadata.get("finalizers") or ())
    if CLEANUP_FINALIZER not in finalizers:
        metadata["finalizers"] = [*finalizers, CLEANUP_FINALIZER]
    condition = conditions.make(TERMINATING, True, now, "InstanceDeletionPending", PENDING_DELETION)
    status = dict(obj.get("status") or {})
    status["conditions"] = conditions.with_condition(list(status.get("conditions") or ()), condition)
    obj["status"] = status


def validate(obj: JsonObject) -> list[FieldError]:
    spec = meta.spec(obj)
    name = meta.name(obj)
    errors: list[FieldError] = []
    wanted = f"{columns.text_at(spec, 'names', 'plural')}.{spec.get('group', '')}"
    if name and name != wanted:
        errors.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    errors += validate_spec(spec)
    status = meta.status(obj)
    errors += validate_names(status.get("acceptedNames") or {}, "status.acceptedNames")
    return errors + _validate_stored_versions(obj)


def _validate_stored_versions(obj: JsonObject) -> list[FieldError]:
    path = "status.storedVersions"
    stored = meta.status(obj).get("storedVersions") or []
    if not stored:
        return [invalid_value(path, stored, "must have at least one stored version")]
    errors: list[FieldError] = []
    present = storage_version(obj)
    if present and present not in stored:
        errors.append(invalid_value(path, stored, f"must have the storage version {present}"))
    served = {version.get("name") for version in columns.items_at(obj, "spec", "versions")}
    for index, version in enumerate(stored):
        if version not in served:
            detail = (
                f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {version} and removes "
                f"{version} from status.storedVersions"
            )
            errors.append(invalid_value(f"{path}[{index}]", version, detail))
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    immutable: list[tuple[str, ...]] = [("group",), ("names", "plural")]
    if conditions.is_true(old, ESTABLISHED):
        immutable = [("scope",), ("names", "kind"), *immutable]
    for path in immutable:
        value = columns.at(new, "spec", *path)
        if value != columns.at(old, "spec", *path):
            errors.append(invalid_value(".".join(("spec", *path)), value, IMMUTABLE))
    return errors


def validate_status_update(new: JsonObject, _old: JsonObject) -> list[FieldError]:
    return validate_names(meta.status(new).get("acceptedNames") or {}, "status.acceptedNames")


def _versions(obj: JsonObject) -> str:
    shown = [
        f"{version.get('name', '')}(storage)" if version.get("storage") else str(version.get("name", ""))
        for version in columns.items_at(obj, "spec", "versions")
        if version.get("served")
    ]
    return ",".join(sorted(shown))


def _short_names(obj: JsonObject) -> str:
    names = columns.at(obj, "spec", "names", "shortNames")
    return ",".join(names) if isinstance(names, list) else ""


CUSTOM_RESOURCE_DEFINITION = Kind(
    group=GROUP,
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(status_subresource(GROUP, "v1", "CustomResourceDefinition"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_delete=prepare_delete,
    has_generation=True,
    unconditional_update=False,
    columns=(
        columns.text("Scope", "spec", "scope", description="Cluster or Namespaced."),
        columns.computed("Versions", _versions, description="Served versions."),
        columns.computed(
            "Created At",
            lambda obj: columns.text_at(obj, "metadata", "creationTimestamp"),
            kind="date",
            description="When it was created.",
        ),
        columns.text("Group", "spec", "group", priority=1, description="API group."),
        columns.text("Kind", "spec", "names", "kind", priority=1, description="Kind of the custom resource."),
        columns.computed("ShortNames", _short_names, priority=1, description="Short names."),
        columns.computed(
            "Established",
            lambda obj: conditions.is_true(obj, ESTABLISHED),
            kind="boolean",
            priority=1,
            description="Whether it is served.",
        ),
    ),
)
