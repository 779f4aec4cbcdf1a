"""RuntimeClass: a name for a handler of the container runtime, with its overhead and where it runs."""

from __future__ import annotations

from argosy.kinds import columns, resources
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects import names
from argosy.objects.status import FieldError, invalid_value
from argosy.objects.types import JsonObject


def default(obj: JsonObject) -> None:
    overhead = obj.get("overhead")
    if isinstance(overhead, dict):
        resources.canonicalise(overhead.get("podFixed"))


def validate(obj: JsonObject) -> list[FieldError]:
    handler = obj.get("handler", "")
    errors = [invalid_value("handler", handler, text) for text in names.check_label(handler)]
    overhead = obj.get("overhead") or {}
    return errors + resources.validate_list(overhead.get("podFixed"), "overhead.podFixed")


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    if new.get("handler") != old.get("handler"):
        return [invalid_value("handler", new.get("handler"), "field is immutable")]
    return []


RUNTIME_CLASS = Kind(
    group="node.k8s.io",
    version="v1",
    kind="RuntimeClass",
    plural="runtimeclasses",
    singular="runtimeclass",
    namespaced=False,
    default=default,
    validate=validate,
    validate_update=validate_update,
    unconditional_update=False,
    columns=(
        columns.text("Handler", "handler", description="The runtime's configuration that it stands for."),
        AGE_COLUMN,
    ),
)
