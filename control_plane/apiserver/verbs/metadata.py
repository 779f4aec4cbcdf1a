"""Object metadata on writes: names, what clients cannot set, what cannot change, and what is checked.

Rules: k8s.io/apiserver `registry/rest` (create.go, update.go, meta.go) and apimachinery `pkg/api/validation`.
"""

from __future__ import annotations

from typing import Final

import orjson

from argosy.host import Host, rfc3339
from argosy.kinds.kind import Kind
from argosy.objects import generate, meta, names
from argosy.objects import status as errors
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject

MAX_ANNOTATIONS_BYTES: Final = 256 << 10
FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
STANDARD_FINALIZERS: Final = ("kubernetes", ORPHAN, FOREGROUND)
IMMUTABLE: Final = "field is immutable"


def prepare_create(obj: JsonObject, kind: Kind, namespace: str, host: Host) -> None:
    """uid, creation time and generation are the server's; deletion fields and selfLink are nobody's."""
    metadata = obj["metadata"]
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"):
        metadata.pop(key, None)
    metadata["uid"] = host.rng.uuid()
    metadata["creationTimestamp"] = rfc3339(host.clock.now())
    if kind.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    if kind.has_generation:
        metadata["generation"] = 1
    if metadata.get("generateName") and not metadata.get("name"):
        metadata["name"] = generate.name(metadata["generateName"], host.rng)


def prepare_update(new: JsonObject, old: JsonObject) -> None:
    """What an update can never alter is taken from the old object, in place."""
    metadata, before = new["metadata"], old["metadata"]
    for key in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if key in before:
            metadata[key] = before[key]
        else:
            metadata.pop(key, None)
    metadata.pop("selfLink", None)
    if "generateName" in before:
        metadata.setdefault("generateName", before["generateName"])


def drop_repeated_owners(obj: JsonObject, *, patched: bool) -> str:
    """The same owner twice is once, in place; gives the warning about it (apiserver `endpoints/handlers/rest.go`)."""
    owners = obj["metadata"].get("ownerReferences") or []
    kept: list[JsonObject] = []
    repeated: list[str] = []
    seen: set[bytes] = set()
    for owner in owners:
        written = orjson.dumps(owner, option=orjson.OPT_SORT_KEYS)
        if written in seen:
            repeated.append(str(owner.get("uid", "")))
        else:
            kept.append(owner)
        seen.add(written)
    if not repeated:
        return ""
    obj["metadata"]["ownerReferences"] = kept
    when = " after mutating admission happens" if patched else ""
    return (
        f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, "
        "and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        + ", ".join(repeated)
    )


def name_complaints(kind: Kind, name: str) -> list[str]:
    if kind.name_validator is not None:
        complaint = kind.name_validator(name)
        return [complaint] if complaint else []
    if kind.name_is_path_segment:
        return names.check_path_segment(name)
    return names.check_subdomain(name)


def validate(obj: JsonObject, kind: Kind) -> list[FieldError]:
    metadata = obj["metadata"]
    found: list[FieldError] = []
    name = metadata.get("name", "")
    if metadata.get("generateName"):
        found += [
            errors.invalid_value("metadata.generateName", metadata["generateName"], text)
            for text in name_complaints(kind, metadata["generateName"].rstrip("-.") or "x")
        ]
    if not name:
        found.append(errors.required("metadata.name", "name or generateName is required"))
    else:
        found += [errors.invalid_value("metadata.name", name, text) for text in name_complaints(kind, name)]
    if kind.namespaced:
        space = metadata.get("namespace", "")
        found += [errors.invalid_value("metadata.namespace", space, text) for text in names.check_label(space)]
    found += validate_labels(metadata.get("labels"), "metadata.labels")
    found += validate_annotations(metadata.get("annotations"), "metadata.annotations")
    found += _validate_owners(metadata.get("ownerReferences") or [])
    found += _validate_finalizers(metadata.get("finalizers") or [], kind)
    return found


def validate_labels(labels: dict[str, str] | None, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key, value in (labels or {}).items():
        found += [errors.invalid_value(path, key, text) for text in names.check_qualified_name(key)]
        found += [errors.invalid_value(path, value, text) for text in names.check_label_value(value or "")]
    return found


def validate_annotations(annotations: dict[str, str] | None, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    size = 0
    for key, value in (annotations or {}).items():
        found += [errors.invalid_value(path, key, text) for text in names.check_qualified_name(key.lower())]
        size += len(key) + len(value or "")
    if size > MAX_ANNOTATIONS_BYTES:
        found.append(errors.too_long(path, MAX_ANNOTATIONS_BYTES))
    return found


def _validate_owners(owners: list[JsonObject]) -> list[FieldError]:
    found: list[FieldError] = []
    controllers: list[str] = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for key, detail in (
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ):
            if not owner.get(key):
                found.append(errors.invalid_value(f"{path}.{key}", owner.get(key, ""), detail))
        if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
            detail = "/v1, Kind=Event is disallowed from being an owner"
            found.append(errors.invalid_value(path, owner, detail))
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind', '')}/{owner.get('name', '')}")
    if len(controllers) > 1:
        detail = (
            'Only one reference can have Controller set to true. Found "true" in references for '
            f"{controllers[0]} and {controllers[1]}"
        )
        found.append(errors.invalid_value("metadata.ownerReferences", owners, detail))
    return found


def _validate_finalizers(finalizers: list[str], kind: Kind) -> list[FieldError]:
    found: list[FieldError] = []
    lenient = kind.custom or kind.group == "apiextensions.k8s.io"  # upstream's apiextensions server has no such rule
    for name in finalizers:
        found += [
            errors.invalid_value("metadata.finalizers", name, text) for text in names.check_qualified_name(name)
        ]
    for index, name in enumerate(finalizers):
        if "/" not in name and name not in STANDARD_FINALIZERS and not lenient:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(errors.invalid_value(f"metadata.finalizers[{index}]", name, detail))
    if FOREGROUND in finalizers and ORPHAN in finalizers:
        detail = f"finalizer {ORPHAN} and {FOREGROUND} cannot be both set"
        found.append(errors.invalid_value("metadata.finalizers", finalizers, detail))
    return found


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Beyond `validate`: identity stays, and a deleted object gets no new finalizers."""
    found: list[FieldError] = []
    for key in ("name", "namespace"):
        if new["metadata"].get(key) != old["metadata"].get(key):
            found.append(errors.invalid_value(f"metadata.{key}", new["metadata"].get(key), IMMUTABLE))
    if meta.is_deleting(old):
        added = [name for name in meta.finalizers(new) if name not in meta.finalizers(old)]
        if added:
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {added!r}"
            found.append(errors.forbidden_field("metadata.finalizers", detail.replace("'", '"')))
    return found


def bump_generation(new: JsonObject, old: JsonObject, kind: Kind, subresource: str = "") -> None:
    """One more when anything but metadata and status changed."""
    if not kind.has_generation:
        return
    counted = kind.custom and not kind.has_status  # without the subresource, status is a field like others
    changed = _specification(old, counted) != _specification(new, counted)
    if kind.generation_counts_annotations and subresource != "status":
        changed = changed or meta.annotations(old) != meta.annotations(new)
    generation = meta.generation(old)
    new["metadata"]["generation"] = generation + 1 if changed else max(generation, 1)


def _specification(obj: JsonObject, status: bool = False) -> JsonObject:
    left_out = ("metadata", "apiVersion", "kind", *(() if status else ("status",)))
    return {key: value for key, value in obj.items() if key not in left_out}


def unchanged(new: JsonObject, old: JsonObject) -> bool:
    """Whether a write would change nothing but who-wrote-what times: then nothing is written."""
    if new.keys() != old.keys():
        return False
    for key, value in new.items():
        if key == "metadata":
            if _without_bookkeeping(value) != _without_bookkeeping(old[key]):
                return False
            if _owners(value) != _owners(old[key]):
                return False
        elif value != old[key]:
            return False
    return True


def _without_bookkeeping(metadata: JsonObject) -> JsonObject:
    return {key: value for key, value in metadata.items() if key not in ("managedFields", "resourceVersion")}


def _owners(metadata: JsonObject) -> list[JsonObject]:
    return [
        {key: value for key, value in entry.items() if key != "time"} for entry in metadata.get("managedFields") or ()
    ]
