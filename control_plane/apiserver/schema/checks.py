"""Compiled checks: one pass over an object that does what Go's decoder does to it.

For each type a plain closure is made once. It walks the value, drops nulls and unknown fields in place, normalises
times and quantities, and reports unknown fields and wrong types. Paths are only built when there is something to
report: a closure returns its findings, and its caller prepends where it was. A generic JSON-schema pass takes
fifty times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from control_plane.apiserver.schema import formats
from control_plane.apiserver.schema.types import Scalar, Shape, Type

MAX_UNKNOWN = 100
"""Upstream reports no more strict errors than this."""


@dataclass(slots=True)
class Finding:
    """An unknown field (`message` empty), or a value that cannot be decoded."""

    path: list[str | int]
    """Outermost first; ints are list indices. Built inside out."""
    message: str = ""
    value: str = ""
    """What the wrong value is, for the message that needs the struct's name: `string`, `number 1.5`."""
    go_type: str = ""
    struct: str = ""
    """The innermost Go struct around the value."""


class MapKey(str):
    """A map's key in a path: Go's decoder leaves it out of its messages."""

    __slots__ = ()


Findings = list[Finding] | None
Check = Callable[[Any], Findings]
Convert = Callable[[Any], object]

_CONVERTERS: dict[Scalar, Convert] = {
    Scalar.TIME: formats.time,
    Scalar.MICRO_TIME: formats.micro_time,
    Scalar.QUANTITY: formats.quantity_text,
    Scalar.INT_OR_STRING: formats.int_or_string,
    Scalar.BYTES: formats.bytes_text,
}
_PLAIN: dict[Scalar, type] = {Scalar.STRING: str, Scalar.INT32: int, Scalar.INT64: int, Scalar.BOOL: bool}
_EMPTY: dict[Scalar, object] = {
    Scalar.STRING: "",
    Scalar.BYTES: "",
    Scalar.INT32: 0,
    Scalar.INT64: 0,
    Scalar.FLOAT: 0,
    Scalar.BOOL: False,
    Scalar.QUANTITY: "0",
    Scalar.INT_OR_STRING: 0,
}


@dataclass(slots=True)
class Entry:
    """How to treat one value: `expected` is its Python type (None: `convert` decides), `nested` looks inside."""

    expected: type | None
    nested: Check | None
    convert: Convert | None
    type: Type


class CheckCompiler:
    """Makes and keeps the checks of types."""

    def __init__(self) -> None:
        self._structs: dict[int, Check] = {}
        self._kept: list[Type] = []

    def struct(self, built: Type) -> Check:
        """The check of a STRUCT value that is known to be a dict."""
        known = self._structs.get(id(built))
        if known is not None:
            return known
        entries: dict[str, FieldEntry] = {}
        check = _struct_check(built.short_name, entries)
        self._structs[id(built)] = check
        self._kept.append(built)  # so that ids stay unique
        for name, item in built.fields.items():
            entry = self.entry(item.type)
            entries[name] = (entry.expected, entry.nested, entry.convert, entry.type, item.drop_zero)
        return check

    def entry(self, wanted: Type) -> Entry:
        match wanted.shape:
            case Shape.ANY:
                return Entry(None, None, _anything, wanted)
            case Shape.STRUCT:
                return Entry(dict, self.struct(wanted), None, wanted)
            case Shape.MAP:
                assert wanted.element is not None
                return Entry(dict, self._map(wanted.element), None, wanted)
            case Shape.LIST:
                assert wanted.element is not None
                return Entry(list, self._list(wanted.element), None, wanted)
        scalar = wanted.scalar
        assert scalar is not None
        if scalar in _CONVERTERS:
            return Entry(None, None, _CONVERTERS[scalar], wanted)
        if scalar is Scalar.FLOAT:
            return Entry(float, None, None, wanted)
        if scalar in (Scalar.INT32, Scalar.INT64):
            return Entry(int, _range_check(scalar), None, wanted)
        return Entry(_PLAIN[scalar], None, None, wanted)

    def _map(self, element: Type) -> Check:
        entry = self.entry(element)
        if element.scalar is Scalar.QUANTITY:
            entry.convert = formats.canonical_quantity
        return _map_check(entry, empty_of(element))

    def _list(self, element: Type) -> Check:
        return _list_check(self.entry(element), empty_of(element))


def empty_of(wanted: Type) -> Callable[[], object]:
    """What Go makes of null in a list or map: the zero value."""
    if wanted.shape is Shape.SCALAR and wanted.scalar is not None:
        value = _EMPTY.get(wanted.scalar)
        return lambda: value
    if wanted.shape is Shape.STRUCT:
        return dict
    return lambda: None


def _anything(value: object) -> object:
    return value


def _range_check(scalar: Scalar) -> Check:
    low, high = formats.INT32 if scalar is Scalar.INT32 else formats.INT64

    def check(value: int) -> Findings:
        if low <= value <= high:
            return None
        return [Finding([], value=f"number {value}", go_type=scalar.value)]

    return check


def _mismatch(value: object, wanted: Type) -> Finding:
    shown = formats.json_name(value)
    if wanted.scalar in (Scalar.INT32, Scalar.INT64) and isinstance(value, float):
        shown = formats.number_name(value)
    return Finding([], value=shown, go_type=wanted.go_name)


def _wrong(value: object, wanted: Type, nested: Check | None, convert: Convert | None) -> tuple[object, Findings]:
    """The slow path of a value that is not of the expected Python type: (value to keep, findings)."""
    if convert is not None:
        try:
            return convert(value), None
        except ValueError as error:
            return value, [Finding([], message=str(error))]
    if wanted.scalar is Scalar.FLOAT and type(value) is int:
        return value, None
    del nested
    return value, [_mismatch(value, wanted)]


FieldEntry = tuple[type | None, Check | None, Convert | None, Type, bool]
"""An Entry unpacked for speed, and whether the zero value is dropped."""


def _struct_check(name: str, entries: dict[str, FieldEntry]) -> Check:
    get = entries.get

    def check(value: dict[str, Any]) -> Findings:
        findings: list[Finding] | None = None
        dropped: list[str] | None = None
        for key, item in value.items():
            entry = get(key)
            if entry is None:
                findings = findings if findings is not None else []
                findings.append(Finding([key]))
            elif not item and entry[4] and type(item) is (entry[0] or str):
                pass
            elif type(item) is entry[0]:
                nested = entry[1]
                if nested is None:
                    continue
                found = nested(item)
                if found is None:
                    continue
                findings = findings if findings is not None else []
                for finding in found:
                    finding.path.insert(0, key)
                    finding.struct = finding.struct or name
                findings += found
                continue
            elif item is not None:
                kept, found = _wrong(item, entry[3], entry[1], entry[2])
                if kept is not item:
                    value[key] = kept
                if found is None:
                    continue
                findings = findings if findings is not None else []
                for finding in found:
                    finding.path.insert(0, key)
                    finding.struct = finding.struct or name
                findings += found
                continue
            if dropped is None:
                dropped = []
            dropped.append(key)
        if dropped is not None:
            for key in dropped:
                del value[key]
        return findings

    return check


def _map_check(entry: Entry, empty: Callable[[], object]) -> Check:
    expected, nested, convert, wanted = entry.expected, entry.nested, entry.convert, entry.type

    def check(value: dict[str, Any]) -> Findings:
        findings: list[Finding] | None = None
        for key, item in value.items():
            if type(item) is expected:
                found = nested(item) if nested is not None else None
            elif item is None:
                value[key] = empty()
                continue
            else:
                kept, found = _wrong(item, wanted, nested, convert)
                if kept is not item:
                    value[key] = kept
            if found is not None:
                for finding in found:
                    finding.path.insert(0, MapKey(key))
                findings = found if findings is None else findings + found
        return findings

    return check


def _list_check(entry: Entry, empty: Callable[[], object]) -> Check:
    expected, nested, convert, wanted = entry.expected, entry.nested, entry.convert, entry.type

    def check(value: list[Any]) -> Findings:
        findings: list[Finding] | None = None
        for index, item in enumerate(value):
            if type(item) is expected:
                if nested is None:
                    continue
                found = nested(item)
            elif item is None:
                value[index] = empty()
                continue
            else:
                kept, found = _wrong(item, wanted, nested, convert)
                if kept is not item:
                    value[index] = kept
            if found is not None:
                for finding in found:
                    finding.path.insert(0, index)
                findings = found if findings is None else findings + found
        return findings

    return check


def path_text(path: list[str | int]) -> str:
    """`spec.containers[0].name`, as strict decoding and validation name fields."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def decoder_message(finding: Finding) -> str:
    """The text of Go's decoder for a value that cannot be decoded. Indices and map keys are not part of its paths."""
    if finding.message:
        return finding.message
    names = ".".join([finding.struct, *(part for part in finding.path if type(part) is str)])
    return f"json: cannot unmarshal {finding.value} into Go struct field {names} of type {finding.go_type}"
