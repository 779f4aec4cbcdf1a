"""Rules for the metadata of every object (apimachinery `pkg/api/validation`); the API server calls them."""

from __future__ import annotations

from argosy.kinds.kind import Kind
from argosy.kinds.label_rules import validate_annotations, validate_labels
from argosy.objects import meta, names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, required
from argosy.objects.types import JsonObject

STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
IMMUTABLE = "field is immutable"
IMMUTABLE_FIELDS = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def name_complaints(kind: Kind, name: str) -> list[str]:
    """What is wrong with an object's name."""
    if kind.name_validator is not None:
        complaint = kind.name_validator(name)
        return [complaint] if complaint else []
    if kind.name_is_path_segment:
        return names.check_path_segment(name)
    return names.check_subdomain(name)


def _validate_names(kind: Kind, metadata: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    prefix, name = metadata.get("generateName", ""), metadata.get("name", "")
    if prefix:
        # A generated name goes on after the prefix, so that it may end in a dash.
        masked = prefix[:-1] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
        errors += [invalid_value("metadata.generateName", prefix, text) for text in name_complaints(kind, masked)]
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid_value("metadata.name", name, text) for text in name_complaints(kind, name)]
    space = metadata.get("namespace", "")
    if kind.namespaced:
        if not space:
            errors.append(required("metadata.namespace"))
        else:
            errors += [invalid_value("metadata.namespace", space, text) for text in names.check_label(space)]
    elif space:
        errors.append(forbidden_field("metadata.namespace", "not allowed on this type"))
    return errors


def _validate_owners(owners: list[JsonObject]) -> list[FieldError]:
    errors: list[FieldError] = []
    controllers: list[str] = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        if not str(owner.get("apiVersion", "")).rpartition("/")[2]:
            errors.append(
                invalid_value(f"{path}.apiVersion", owner.get("apiVersion", ""), "version must not be empty")
            )
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                errors.append(invalid_value(f"{path}.{field}", owner.get(field, ""), "must not be empty"))
        if owner.get("apiVersion") in ("v1", "events.k8s.io/v1") and owner.get("kind") == "Event":
            errors.append(
                invalid_value(path, owner, f"{owner['apiVersion']}, Kind=Event is disallowed from being an owner")
            )
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind')}/{owner.get('name')}")
    if len(controllers) > 1:
        detail = (
            'Only one reference can have Controller set to true. Found "true" in references for '
            f"{controllers[0]} and {controllers[1]}"
        )
        errors.append(invalid_value("metadata.ownerReferences", owners, detail))
    return errors


def _validate_finalizers(finalizers: list[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, name in enumerate(finalizers):
        path = f"metadata.finalizers[{index}]"
        complaints = names.check_qualified_name(name)
        errors += [invalid_value("metadata.finalizers", name, text) for text in complaints]
        if not complaints and "/" not in name and name not in STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid_value(path, name, detail))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid_value("metadata.finalizers", finalizers, detail))
    return errors


def validate(kind: Kind, obj: JsonObject) -> list[FieldError]:
    """Names, labels, annotations, owners and finalizers of an object that is to be stored."""
    metadata = meta.metadata(obj)
    return [
        *_validate_names(kind, metadata),
        *validate_labels(metadata.get("labels"), "metadata.labels"),
        *validate_annotations(metadata.get("annotations"), "metadata.annotations"),
        *_validate_owners(metadata.get("ownerReferences") or []),
        *_validate_finalizers(metadata.get("finalizers") or []),
    ]


def validate_update(kind: Kind, new: JsonObject, old: JsonObject) -> list[FieldError]:
    """What an update must not change, beyond `validate` of the new object."""
    after, before = meta.metadata(new), meta.metadata(old)
    errors: list[FieldError] = []
    if before.get("deletionTimestamp"):
        added = [name for name in after.get("finalizers") or () if name not in (before.get("finalizers") or ())]
        if added:
            shown = ", ".join(f'"{name}"' for name in sorted(added))
            detail = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{shown}}}"
            )
            errors.append(forbidden_field("metadata.finalizers", detail))
    for field in IMMUTABLE_FIELDS:
        if after.get(field) != before.get(field):
            errors.append(invalid_value(f"metadata.{field}", after.get(field), IMMUTABLE))
    if not kind.unconditional_update and not after.get("resourceVersion"):
        detail = "must be specified for an update"
        errors.append(invalid_value("metadata.resourceVersion", after.get("resourceVersion", ""), detail))
    return errors
