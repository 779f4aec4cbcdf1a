"""Typed accessors for the metadata that every object has, and the few helpers everyone needs."""

from typing import Any

from argosy.objects.types import JsonObject


def copy(value: Any) -> Any:
    """A deep copy of decoded JSON; several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy(item) for item in value]
    return value


def copy_object(obj: JsonObject) -> JsonObject:
    """A deep copy that its holder may change."""
    return {key: copy(item) for key, item in obj.items()}


def metadata(obj: JsonObject) -> JsonObject:
    """`metadata` for reading; an empty dict when absent."""
    value = obj.get("metadata")
    return value if isinstance(value, dict) else {}


def name(obj: JsonObject) -> str:
    return str(metadata(obj).get("name", ""))


def namespace(obj: JsonObject) -> str:
    return str(metadata(obj).get("namespace", ""))


def uid(obj: JsonObject) -> str:
    return str(metadata(obj).get("uid", ""))


def resource_version(obj: JsonObject) -> str:
    return str(metadata(obj).get("resourceVersion", ""))


def generation(obj: JsonObject) -> int:
    return int(metadata(obj).get("generation", 0))


def labels(obj: JsonObject) -> dict[str, str]:
    return metadata(obj).get("labels") or {}


def annotations(obj: JsonObject) -> dict[str, str]:
    return metadata(obj).get("annotations") or {}


def finalizers(obj: JsonObject) -> list[str]:
    return metadata(obj).get("finalizers") or []


def owner_references(obj: JsonObject) -> list[JsonObject]:
    return metadata(obj).get("ownerReferences") or []


def controller_of(obj: JsonObject) -> JsonObject | None:
    """The owner reference with `controller: true`."""
    return next((owner for owner in owner_references(obj) if owner.get("controller")), None)


def is_deleting(obj: JsonObject) -> bool:
    return bool(metadata(obj).get("deletionTimestamp"))


def spec(obj: JsonObject) -> JsonObject:
    return obj.get("spec") or {}


def status(obj: JsonObject) -> JsonObject:
    return obj.get("status") or {}


def key(obj: JsonObject) -> str:
    """`namespace/name`, or `name` for cluster scope: the key of caches and work queues."""
    space = namespace(obj)
    return f"{space}/{name(obj)}" if space else name(obj)


def split_key(text: str) -> tuple[str, str]:
    """(namespace, name) of a `key`."""
    space, _, short = text.rpartition("/")
    return space, short


def owner_reference(owner: JsonObject, *, controller: bool = True, block: bool = True) -> JsonObject:
    """A reference to `owner` (which must carry apiVersion and kind)."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": controller,
        "blockOwnerDeletion": block,
    }
