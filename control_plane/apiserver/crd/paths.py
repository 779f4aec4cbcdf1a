"""Simple paths (`.spec.replicas`) and the JSONPath of printer columns, compiled to functions of an object.

What printer columns use of kubectl's JSONPath: fields (`.a`, `['a']`, `.a\\.b`), list elements by index or slice,
`[*]`, `..name` and filters such as `[?(@.type=="Ready")]`. Upstream: client-go `util/jsonpath`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

Getter = Callable[[Any], list[Any]]
"""All values at a path."""
_STEP: Final = re.compile(
    r"\.\.(?P<deep>(?:\\.|[^.\[\\])+)"
    r"|\.(?P<name>(?:\\.|[^.\[\\])+)"
    r"|\[(?P<quote>['\"])(?P<key>.*?)(?P=quote)\]"
    r"|\[(?P<number>-?\d+)\]"
    r"|\[(?P<slice>-?\d*:-?\d*(?::-?\d*)?)\]"
    r"|\[(?P<all>\*)\]"
    r"|\[\?\((?P<filter>.*?)\)\]"
)
_FILTER: Final = re.compile(r"\s*@(?P<path>[^=!<>\s]*)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*")


class PathError(ValueError):
    """The path cannot be understood."""


def simple(path: str) -> tuple[str, ...]:
    """`.spec.replicas` → its names."""
    return tuple(path.removeprefix(".").split("."))


def value_at(obj: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(name)
    return obj


def compiled(path: str) -> Getter:
    """Raises PathError."""
    steps: list[Callable[[Any], Iterator[Any]]] = []
    at = 0
    if path == ".":
        return lambda obj: [obj]
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise PathError(f"cannot understand {path[at:]!r} in the path {path!r}")
        steps.append(_step(match))
        at = match.end()

    def get(obj: Any) -> list[Any]:
        found = [obj]
        for step in steps:
            found = [value for item in found for value in step(item)]
            if not found:
                break
        return found

    return get


def _step(match: re.Match[str]) -> Callable[[Any], Iterator[Any]]:
    name = match["name"] if match["name"] is not None else match["key"]
    if name == "*" or match["all"]:
        return _everything
    if name is not None:
        return _field(re.sub(r"\\(.)", r"\1", name))
    if match["deep"] is not None:
        return _deep(match["deep"])
    if match["number"] is not None:
        return _index(int(match["number"]))
    if match["slice"] is not None:
        parts = [int(part) if part else None for part in match["slice"].split(":")]
        return _slice(slice(*parts))
    return _filter(match["filter"])


def _everything(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _field(name: str) -> Callable[[Any], Iterator[Any]]:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _deep(name: str) -> Callable[[Any], Iterator[Any]]:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            if name in value:
                yield value[name]
            for item in value.values():
                yield from step(item)
        elif isinstance(value, list):
            for item in value:
                yield from step(item)

    return step


def _index(number: int) -> Callable[[Any], Iterator[Any]]:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= number < len(value):
            yield value[number]

    return step


def _slice(wanted: slice) -> Callable[[Any], Iterator[Any]]:
    if wanted.step == 0:
        raise PathError("a slice's step must not be 0")

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[wanted]

    return step


_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}


def _filter(text: str) -> Callable[[Any], Iterator[Any]]:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise PathError(f"cannot understand the filter {text!r}")
    get = compiled(match["path"] or ".")
    operator = match["operator"]
    if operator is None:
        return lambda value: (item for item in _everything(value) if get(item))
    compare, wanted = _COMPARE[operator], _literal(match["value"])

    def holds(item: Any) -> bool:
        found = get(item)
        try:
            return bool(found) and compare(found[0], wanted)
        except TypeError:
            return False

    return lambda value: (item for item in _everything(value) if holds(item))


def _literal(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise PathError(f"{text!r} is no value to compare with") from None


def shown(value: Any) -> str:
    """A value as a string column shows it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    return orjson.dumps(value).decode()
