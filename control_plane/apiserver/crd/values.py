"""Whether an object's values are what its schema allows: types, bounds, patterns, enums, combinations, list keys.

A node's checks are compiled when it is first met, so that a large schema costs what its objects use. On an update,
what did not change is not complained about again (KEP-4008, ratcheting). Messages are those of kube-openapi's
validators, as apiextensions-apiserver `pkg/apiserver/validation/validation.go` hands them on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from argosy.objects import status as errors
from argosy.objects.status import CauseType, FieldError
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd import formats
from control_plane.apiserver.crd.structure import RESERVED, Node, correlated, key_of

MISSING: Final = object()
MAX_ERRORS: Final = 200
NOWHERE: Final = "<nil>"
"""Where upstream says that a combination (oneOf…) failed."""

Check = Callable[[Any, str, list[FieldError]], None]
_BLOCKING: Final = (
    CauseType.NOT_SUPPORTED,
    CauseType.REQUIRED,
    CauseType.TOO_LONG,
    CauseType.TOO_MANY,
    CauseType.TYPE_INVALID,
)
NOT_CHECKED: Final = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def validate(value: Any, node: Node, path: str = "", old: Any = MISSING) -> list[FieldError]:
    """What is wrong with a value; `old` is the value that it replaces."""
    found: list[FieldError] = []
    _walk(value, node, path, old, found, root=not path)
    return found[:MAX_ERRORS]


def blocks_rules(found: list[FieldError]) -> bool:
    """Whether CEL rules make no sense on an object with these errors."""
    return any(error.cause in _BLOCKING for error in found)


def _walk(value: Any, node: Node, path: str, old: Any, found: list[FieldError], root: bool = False) -> None:
    if (old is not MISSING and old == value and type(old) is type(value)) or len(found) >= MAX_ERRORS:
        return
    checks = node.checks
    if checks is None:
        checks = node.checks = _compile(node)
    if value is None:
        _check_null(node, path, found)
        return
    before = len(found)
    for check in checks:
        check(value, path, found)
        if len(found) > before and found[-1].cause is CauseType.TYPE_INVALID and check is checks[0]:
            return
    if isinstance(value, dict):
        _walk_map(value, node, path, old, found, root or node.embedded)
    elif isinstance(value, list) and node.items is not None:
        _walk_list(value, node, path, old, found)


def _check_null(node: Node, path: str, found: list[FieldError]) -> None:
    if node.nullable or not (node.type or node.int_or_string):
        return
    found.append(_wrong_type(node, path, "null"))


def _walk_map(
    value: dict[str, Any], node: Node, path: str, old: Any, found: list[FieldError], resource: bool
) -> None:
    before = old if isinstance(old, dict) else {}
    properties, additional = node.properties, node.additional
    for key, item in value.items():
        child = properties.get(key) or additional
        if child is None or (resource and key in RESERVED and not child.properties and not child.type):
            continue
        _walk(item, child, f"{path}.{key}" if path else key, before.get(key, MISSING), found)


def _walk_list(value: list[Any], node: Node, path: str, old: Any, found: list[FieldError]) -> None:
    items = node.items
    assert items is not None
    before = correlated(old, node) if old is not MISSING else {}
    for index, item in enumerate(value):
        key = key_of(item, node) if before else None
        _walk(item, items, f"{path}[{index}]", before.get(key, MISSING) if key is not None else MISSING, found)


def _named(path: str, text: str) -> str:
    return f"{path} in body {text}" if path else f"in body {text}"


def _invalid(path: str, value: Any, text: str) -> FieldError:
    return errors.invalid_value(path or NOWHERE, value, _named(path, text))


_GO_TYPES: Final[dict[type, str]] = {
    str: "string",
    bool: "boolean",
    dict: "object",
    list: "array",
    int: "integer",
    float: "number",
    type(None): "null",
}


def _wrong_type(node: Node, path: str, given: str) -> FieldError:
    wanted = "integer,string" if node.int_or_string else node.type
    return errors.type_invalid(path or NOWHERE, given, _named(path, f'must be of type {wanted}: "{given}"'))


def _compile(node: Node) -> tuple[Check, ...]:
    """The type first; its failure ends the others."""
    checks: list[Check] = [_type_check(node)]
    schema = node.schema
    values = schema.get("enum")
    if isinstance(values, list) and values:
        checks.append(_enum(values))
    checks += _number_checks(schema, node)
    checks += _string_checks(schema)
    checks += _list_checks(schema, node)
    checks += _map_checks(schema)
    for listed, compile_ in ((node.all_of, _all_of), (node.any_of, _any_of), (node.one_of, _one_of)):
        if listed:
            checks.append(compile_(listed))
    if node.none_of is not None:
        checks.append(_none_of(node.none_of))
    return tuple(checks)


def _type_check(node: Node) -> Check:
    wanted: tuple[type, ...]
    if node.int_or_string:
        wanted = (int, str)
    else:
        wanted = {
            "string": (str,),
            "boolean": (bool,),
            "object": (dict,),
            "array": (list,),
            "integer": (int,),
            "number": (int, float),
        }.get(node.type, ())

    def check(value: Any, path: str, found: list[FieldError]) -> None:
        kind = type(value)
        if not wanted or kind in wanted:
            return
        if kind is float and int in wanted and value.is_integer():
            return
        found.append(_wrong_type(node, path, _GO_TYPES.get(kind, "unknown")))

    return check


def _enum(values: list[Any]) -> Check:
    shown = [value if isinstance(value, str) else orjson.dumps(value).decode() for value in values]

    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if not any(type(value) is type(each) and value == each for each in values):
            found.append(errors.not_supported(path or NOWHERE, value, shown))

    return check


def _bound(schema: JsonObject, name: str) -> int | float | None:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number_checks(schema: JsonObject, node: Node) -> list[Check]:
    low, high, step = _bound(schema, "minimum"), _bound(schema, "maximum"), _bound(schema, "multipleOf")
    above, below = schema.get("exclusiveMinimum") is True, schema.get("exclusiveMaximum") is True
    limits = {"int32": (-(1 << 31), (1 << 31) - 1)}.get(str(schema.get("format", "")))
    if node.type not in ("integer", "number"):
        limits = None
    if low is None and high is None and step is None and limits is None:
        return []

    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return
        if limits is not None and not limits[0] <= value <= limits[1]:
            text = f"Checked value must be of type {node.type} with format int32 in {path}"
            found.append(errors.invalid_value(path or NOWHERE, value, text))
        if high is not None and (value >= high if below else value > high):
            found.append(
                _invalid(path, value, f"should be less than {'' if below else 'or equal to '}{_number(high)}")
            )
        if low is not None and (value <= low if above else value < low):
            text = f"should be greater than {'' if above else 'or equal to '}{_number(low)}"
            found.append(_invalid(path, value, text))
        if step and not _is_multiple(value, step):
            found.append(_invalid(path, value, f"should be a multiple of {_number(step)}"))

    return [check]


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    quotient = value / step
    return abs(quotient - round(quotient)) < 1e-9


def compiled_pattern(text: str) -> re.Pattern[str] | None:
    """A Go pattern as Python's; None for one that Python cannot read."""
    try:
        return re.compile(_from_go(text))
    except (re.error, RecursionError, OverflowError):
        return None


_POSIX: Final = {
    "[:alnum:]": "0-9A-Za-z",
    "[:alpha:]": "A-Za-z",
    "[:digit:]": "0-9",
    "[:lower:]": "a-z",
    "[:upper:]": "A-Z",
    "[:punct:]": r"!-/:-@\[-`{-~",
    "[:space:]": r"\t\n\v\f\r ",
    "[:word:]": "0-9A-Za-z_",
    "[:xdigit:]": "0-9A-Fa-f",
}


def _from_go(text: str) -> str:
    """RE2's spelling of what Python spells otherwise; `$` is the end of the text, `\\d` and `\\w` are ASCII."""
    for name, members in _POSIX.items():
        text = text.replace(name, members)
    text = text.replace(r"\z", r"\Z").replace("(?P<", "(?P<")
    flags = re.match(r"\(\?[a-zA-Z]+\)", text)
    head = flags[0] if flags else ""
    body = text[len(head) :]
    if "m" not in head:
        body = re.sub(r"(?<!\\)((?:\\\\)*)\$(?=\)|\||$)", r"\1\\Z", body)
    return f"{head}(?a:{body})" if "a" not in head else text


def _string_checks(schema: JsonObject) -> list[Check]:
    checks: list[Check] = []
    shortest, longest = _bound(schema, "minLength"), _bound(schema, "maxLength")
    if shortest is not None or longest is not None:
        checks.append(_length(shortest, longest))
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and pattern and (compiled := compiled_pattern(pattern)) is not None:
        checks.append(_pattern(pattern, compiled))
    name = schema.get("format")
    fits = formats.check_of(name) if isinstance(name, str) and name else None
    if fits is not None:
        checks.append(_format(str(name), fits))
    return checks


def _length(shortest: float | None, longest: float | None) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if not isinstance(value, str):
            return
        if longest is not None and len(value) > longest:
            found.append(errors.too_long(path or NOWHERE, int(longest)))
        if shortest is not None and len(value) < shortest:
            found.append(_invalid(path, value, f"should be at least {int(shortest)} chars long"))

    return check


def _pattern(text: str, compiled: re.Pattern[str]) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if isinstance(value, str) and compiled.search(value) is None:
            found.append(_invalid(path, value, f"should match '{text}'"))

    return check


def _format(name: str, fits: Callable[[str], bool]) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if isinstance(value, str) and not fits(value):
            text = f"must be of type {name}: {orjson.dumps(value).decode()}"
            found.append(_invalid(path, value, text))

    return check


def _list_checks(schema: JsonObject, node: Node) -> list[Check]:
    checks: list[Check] = []
    fewest, most = _bound(schema, "minItems"), _bound(schema, "maxItems")

    def count(value: Any, path: str, found: list[FieldError]) -> None:
        if not isinstance(value, list):
            return
        if fewest is not None and len(value) < fewest:
            found.append(_invalid(path, len(value), f"should have at least {int(fewest)} items"))
        if most is not None and len(value) > most:
            found.append(errors.too_many(path or NOWHERE, len(value), int(most)))

    if fewest is not None or most is not None:
        checks.append(count)
    if node.list_type in ("set", "map"):
        checks.append(_unique(node))
    return checks


def _unique(node: Node) -> Check:
    """The elements of sets and maps differ (`pkg/apiserver/schema/listtype`)."""

    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if not isinstance(value, list):
            return
        seen: set[bytes] = set()
        for index, item in enumerate(value):
            shown: Any = item
            if node.list_type == "map":
                if not isinstance(item, dict):
                    continue
                shown = {name: item[name] for name in node.map_keys if name in item}
            written = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
            if written in seen:
                found.append(errors.duplicate(f"{path}[{index}]", shown))
            seen.add(written)

    return check


def _map_checks(schema: JsonObject) -> list[Check]:
    checks: list[Check] = []
    fewest, most = _bound(schema, "minProperties"), _bound(schema, "maxProperties")
    required = schema.get("required")
    names = [str(name) for name in required] if isinstance(required, list) else []

    def count(value: Any, path: str, found: list[FieldError]) -> None:
        if not isinstance(value, dict):
            return
        if fewest is not None and len(value) < fewest:
            found.append(_invalid(path, len(value), f"should have at least {int(fewest)} properties"))
        if most is not None and len(value) > most:
            found.append(errors.too_many(path or NOWHERE, len(value), int(most)))

    def present(value: Any, path: str, found: list[FieldError]) -> None:
        if isinstance(value, dict):
            for name in names:
                if name not in value:
                    found.append(errors.required(f"{path}.{name}" if path else name))

    if fewest is not None or most is not None:
        checks.append(count)
    if names:
        checks.append(present)
    return checks


def _combination(path: str, text: str) -> FieldError:
    return errors.invalid_value(NOWHERE, "", f'"{path}" {text}')


def _failures(value: Any, node: Node, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    _walk(value, node, path, MISSING, found)
    return found


def _count(failures: list[FieldError]) -> int:
    return len(failures)


def _all_of(listed: tuple[Node, ...]) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        results = [_failures(value, node, path) for node in listed]
        failed = [result for result in results if result]
        for result in failed:
            found.extend(result)
        if failed:
            none = ". None validated" if len(failed) == len(results) else ""
            found.append(_combination(path, f"must validate all the schemas (allOf){none}"))

    return check


def _any_of(listed: tuple[Node, ...]) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        results: list[list[FieldError]] = []
        for node in listed:
            result = _failures(value, node, path)
            if not result:
                return
            results.append(result)
        found.append(_combination(path, "must validate at least one schema (anyOf)"))
        fewest = min(results, key=_count)
        found.extend(fewest)

    return check


def _one_of(listed: tuple[Node, ...]) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        results = [_failures(value, node, path) for node in listed]
        valid = sum(1 for result in results if not result)
        if valid == 1:
            return
        tail = f"Found {valid} valid alternatives" if valid else "Found none valid"
        found.append(_combination(path, f"must validate one and only one schema (oneOf). {tail}"))
        if not valid:
            fewest = min(results, key=_count)
            found.extend(fewest)

    return check


def _none_of(node: Node) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if not _failures(value, node, path):
            found.append(_combination(path, "must not validate the schema (not)"))

    return check
