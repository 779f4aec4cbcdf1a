"""The messages of the API: field numbers, JSON names and types, read from `tables` when first needed.

The notation, one message after the other:

    PodSpec
      1 volumes []Volume; 4 terminationGracePeriodSeconds *int64; 7 nodeSelector map[string]string;

A field is `NUMBER NAME TYPE` in Go's words. `*` is a Go pointer: its zero is kept, while the zero of a plain scalar
means absent (Go writes it always). `~` for a name: the message's fields belong to the one around it. Types of other
packages are `package.Type`. These have a JSON form of their own: Quantity, Time, MicroTime, Duration, IntOrString,
RawExtension, FieldsV1, and Strings (a message around a list of strings).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache

PACKAGES = {
    "meta.k8s.io/v1": "meta",
    "v1": "core",
    "admissionregistration.k8s.io/v1": "admissionregistration",
    "apiregistration.k8s.io/v1": "apiregistration",
    "apps/v1": "apps",
    "authentication.k8s.io/v1": "authentication",
    "authorization.k8s.io/v1": "authorization",
    "autoscaling/v1": "autoscaling_v1",
    "autoscaling/v2": "autoscaling_v2",
    "batch/v1": "batch",
    "certificates.k8s.io/v1": "certificates",
    "coordination.k8s.io/v1": "coordination",
    "discovery.k8s.io/v1": "discovery",
    "events.k8s.io/v1": "events",
    "networking.k8s.io/v1": "networking",
    "node.k8s.io/v1": "node",
    "policy/v1": "policy",
    "rbac.authorization.k8s.io/v1": "rbac",
    "scheduling.k8s.io/v1": "scheduling",
    "storage.k8s.io/v1": "storage",
}
"""The table of each apiVersion."""

META = "meta"
META_KINDS = frozenset(("DeleteOptions", "Status"))
"""Kinds of meta/v1 that clients send under any apiVersion."""


class Form(Enum):
    """How a value travels and what its JSON is."""

    STRING = auto()
    BYTES = auto()
    BOOL = auto()
    INT32 = auto()
    INT64 = auto()
    DOUBLE = auto()
    MESSAGE = auto()
    QUANTITY = auto()
    TIME = auto()
    MICRO_TIME = auto()
    DURATION = auto()
    INT_OR_STRING = auto()
    RAW = auto()
    """Embedded JSON under field 1."""
    STRINGS = auto()


_FORMS = {
    "string": Form.STRING,
    "bytes": Form.BYTES,
    "bool": Form.BOOL,
    "int32": Form.INT32,
    "int64": Form.INT64,
    "float64": Form.DOUBLE,
    "Quantity": Form.QUANTITY,
    "Time": Form.TIME,
    "MicroTime": Form.MICRO_TIME,
    "Duration": Form.DURATION,
    "IntOrString": Form.INT_OR_STRING,
    "RawExtension": Form.RAW,
    "FieldsV1": Form.RAW,
    "Strings": Form.STRINGS,
}


@dataclass(slots=True)
class ProtoField:
    name: str
    """In JSON; `~` for a message whose fields belong to the one around it."""
    form: Form
    pointer: bool
    repeated: bool
    is_map: bool
    message: str
    """`package.Type` of a MESSAGE; empty otherwise."""
    absent_when_empty: bool = False
    """A plain scalar whose zero says nothing."""


@dataclass(slots=True)
class Message:
    name: str
    fields: dict[int, ProtoField] = field(default_factory=dict)


@cache
def package(name: str) -> dict[str, Message]:
    """The messages of one table by their short names. Raises KeyError for an unknown table."""
    if name not in PACKAGES.values():
        raise KeyError(name)
    text: str = importlib.import_module(f"control_plane.apiserver.protobuf.tables.{name}").MESSAGES
    messages: dict[str, Message] = {}
    current: Message | None = None
    for line in text.splitlines():
        if not line.startswith(" "):
            current = messages[line] = Message(f"{name}.{line}")
            continue
        assert current is not None, "a table starts with a message's name"
        for part in line.split(";"):
            if part.strip():
                number, json_name, declared = part.split()
                current.fields[int(number)] = _field(json_name, declared, name)
    return messages


def message(qualified: str) -> Message:
    """The message `package.Type`. Raises KeyError."""
    owner, _, short = qualified.rpartition(".")
    return package(owner)[short]


def for_kind(api_version: str, kind: str) -> Message | None:
    """The message of an envelope's type; None when there is none."""
    table = PACKAGES.get(api_version)
    if kind in META_KINDS:
        table = META
    return package(table).get(kind) if table else None


@dataclass(frozen=True, slots=True)
class Held:
    """How Go holds a struct's fields, by JSON name."""

    structs: frozenset[str] = frozenset()
    """Structs themselves, not pointers: always there."""
    zeros: frozenset[str] = frozenset()
    """Scalars, lists and maps whose zero value cannot be told from absence."""


_API = "io.k8s.api."
_META_API = "io.k8s.apimachinery.pkg.apis.meta.v1."


def held(definition: str) -> Held:
    """Of an OpenAPI definition's name; empty for one without a table."""
    if definition.startswith(_META_API):
        table, short = META, definition[len(_META_API) :]
    elif definition.startswith(_API) and definition.count(".") == 5:
        group, version, short = definition[len(_API) :].split(".")
        table = group if group in PACKAGES.values() and version == "v1" else f"{group}_{version}"
    else:
        return Held()
    if table not in PACKAGES.values() or short not in package(table):
        return Held()
    structs: set[str] = set()
    zeros: set[str] = set()
    for item in flattened(package(table)[short]):
        if item.repeated or item.is_map:
            zeros.add(item.name)
        elif not item.pointer and item.form is Form.MESSAGE:
            structs.add(item.name)
        elif not item.pointer and item.form in _PLAIN:
            zeros.add(item.name)
    return Held(frozenset(structs), frozenset(zeros))


_PLAIN = frozenset((Form.STRING, Form.BYTES, Form.BOOL, Form.INT32, Form.INT64))


def flattened(wanted: Message) -> Iterator[ProtoField]:
    """The fields as JSON has them: those of inlined messages among them."""
    for item in wanted.fields.values():
        if item.name == "~":
            yield from flattened(message(item.message))
        else:
            yield item


def _field(name: str, declared: str, owner: str) -> ProtoField:
    text = declared
    repeated = text.startswith("[]")
    is_map = text.startswith("map[string]")
    text = text.removeprefix("[]").removeprefix("map[string]")
    pointer = text.startswith("*")
    text = text.removeprefix("*")
    form = _FORMS.get(text, Form.MESSAGE)
    qualified = ""
    if form is Form.MESSAGE:
        qualified = text if "." in text else f"{owner}.{text}"
    plain = form in _PLAIN and not (pointer or repeated or is_map)
    return ProtoField(name, form, pointer, repeated, is_map, qualified, plain)
