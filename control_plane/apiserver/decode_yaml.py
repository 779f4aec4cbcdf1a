"""YAML request bodies, resolved as Kubernetes does (go-yaml to JSON), within bounds, duplicates reported.

Built from libyaml's events with a stack of our own: PyYAML's C constructor recurses and a few hundred kilobytes of
`[` end the process. Timestamps stay text, there are no sexagesimal numbers, keys become strings, and aliases may not
blow the document up.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_DEPTH = 256
MAX_NODES = 1_000_000
MAX_NODES_WITH_ALIASES = 100_000
"""A document of more nodes than this may use no alias, nor may aliases bring it there."""

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # pragma: no cover  # PyYAML without libyaml: slower, the same events
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_SPECIAL = frozenset((".inf", ".Inf", ".INF", "+.inf", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN"))
_MERGE = "tag:yaml.org,2002:merge"
_STR = "tag:yaml.org,2002:str"
_INTEGRAL_MAX = 1e21
"""Go writes floats below this without an exponent, so whole ones are integers in JSON."""


class YamlError(ValueError):
    """The text is not YAML that Kubernetes takes."""


class _Frame:
    """One open mapping or sequence."""

    __slots__ = ("anchor", "key", "merges", "seen", "value")

    def __init__(self, value: dict[str, Any] | list[Any], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | _MergeKey | None = None
        self.merges: list[dict[str, Any]] = []
        self.seen: set[str] = set()


class _MergeKey:
    """What `<<` is as a key, unless it is quoted."""


_MERGE_KEY = _MergeKey()


class _Builder:
    def __init__(self) -> None:
        self.stack: list[_Frame] = []
        self.anchors: dict[str, Any] = {}
        self.nodes = 0
        self.duplicates: list[str] = []
        self.root: Any = None

    def open(self, value: dict[str, Any] | list[Any], event: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise YamlError("yaml: exceeded max depth")
        if self.stack:
            frame = self.stack[-1]
            if isinstance(frame.value, dict) and frame.key is None:
                raise YamlError(f"yaml: line {event.start_mark.line + 1}: a mapping's key must be a scalar")
        self.stack.append(_Frame(value, event.anchor))

    def close(self) -> None:
        frame = self.stack.pop()
        value = frame.value
        if isinstance(value, dict):
            for merged in frame.merges:
                for key, item in merged.items():
                    value.setdefault(key, self._copied(item))
        if frame.anchor:
            self.anchors[frame.anchor] = value
        self.add(value, None)

    def alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            raise YamlError(f"yaml: unknown anchor '{event.anchor}' referenced")
        self.add(self._copied(self.anchors[event.anchor]), event)

    def scalar(self, event: Any) -> None:
        value = _merge_or_value(event)
        if event.anchor:
            self.anchors[event.anchor] = "<<" if value is _MERGE_KEY else value
        if value is _MERGE_KEY and not self._at_key():
            value = "<<"
        self.add(value, event)

    def _at_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None

    def add(self, value: Any, event: Any) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise YamlError("yaml: document is too large")
        if not self.stack:
            self.root = value
            return
        frame = self.stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is None:
            self._key(frame, value, event)
        elif isinstance(frame.key, _MergeKey):
            frame.key = None
            frame.merges.extend(_merged(value))
        else:
            frame.value[frame.key] = value
            frame.key = None

    def _key(self, frame: _Frame, value: Any, event: Any) -> None:
        if isinstance(value, dict | list):
            raise YamlError("yaml: a mapping's key must be a scalar")
        if isinstance(value, _MergeKey):
            frame.key = value
            return
        key = value if isinstance(value, str) else _key_text(value)
        if key in frame.seen:
            line = event.start_mark.line + 1 if event is not None else 0
            self.duplicates.append(f'line {line}: key "{key}" already set in map')
        frame.seen.add(key)
        frame.key = key

    def _copied(self, value: Any) -> Any:
        """An alias's value, as a copy of its own: objects are changed in place later."""
        copied, count = _copy(
            value, MAX_NODES_WITH_ALIASES - self.nodes if self.nodes < MAX_NODES_WITH_ALIASES else 0
        )
        self.nodes += count
        return copied


def load(body: bytes) -> tuple[Any, list[str]]:
    """The first document as JSON values, and at most one text that lists its duplicate keys. Raises YamlError."""
    builder = _Builder()
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise YamlError("yaml: invalid leading UTF-8 octet") from None
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.ScalarEvent):
                builder.scalar(event)
            elif isinstance(event, yaml.MappingStartEvent):
                builder.open({}, event)
            elif isinstance(event, yaml.SequenceStartEvent):
                builder.open([], event)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                builder.close()
            elif isinstance(event, yaml.AliasEvent):
                builder.alias(event)
            elif isinstance(event, yaml.DocumentEndEvent):
                break
    except yaml.YAMLError as error:
        raise YamlError(_problem(error)) from None
    if not builder.duplicates:
        return builder.root, []
    return builder.root, ["yaml: unmarshal errors:\n  " + "\n  ".join(builder.duplicates)]


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and "nesting depth" in (error.problem or ""):
        # libyaml has a limit of its own since PyYAML 6.0.4, and reads ahead of ours.
        return "yaml: exceeded max depth"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"error converting YAML to JSON: yaml: line {error.problem_mark.line + 1}: {error.problem}"
    return f"error converting YAML to JSON: yaml: {str(error).splitlines()[0]}"


def _merge_or_value(event: Any) -> Any:
    text: str = event.value
    if event.implicit[0] and event.tag is None:
        return _MERGE_KEY if text == "<<" else _resolve(text)
    tag = event.tag
    if tag in (None, "!", _STR) or (not event.style and event.implicit[1]):
        return text
    if tag == _MERGE:
        return _MERGE_KEY
    if tag == "tag:yaml.org,2002:binary":
        return text.replace("\n", "").strip()
    if tag.startswith("tag:yaml.org,2002:"):
        return _resolve(text)
    return text


def _resolve(text: str) -> Any:
    """A plain scalar's value, by the rules of YAML 1.1 as go-yaml reads them."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    first = text[0]
    if not (first.isdigit() or first in "+-."):
        return text
    if _INT.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number.is_integer() and abs(number) < _INTEGRAL_MAX:
            return int(number)
        if number in (float("inf"), float("-inf")):
            raise YamlError(f"json: unsupported value: {text}")
        return number
    if text in _SPECIAL:
        raise YamlError(f"json: unsupported value: {text}")
    return text


def _integer(text: str) -> Any:
    plain = text.replace("_", "")
    sign = -1 if plain[0] == "-" else 1
    digits = plain.lstrip("+-")
    base = 10
    for prefix, radix in (("0b", 2), ("0x", 16), ("0o", 8)):
        if digits.startswith(prefix):
            digits, base = digits[2:], radix
    if base == 10 and len(digits) > 1 and digits[0] == "0":
        base = 8
    if len(digits) > 64:
        return float(plain) if base == 10 else text
    try:
        return sign * int(digits, base)
    except ValueError:
        return text


def _key_text(value: object) -> str:
    """A key that is no string in YAML, as JSON has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _merged(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise YamlError("yaml: map merge requires map or sequence of maps as the value")


def _copy(value: Any, budget: int) -> tuple[Any, int]:
    """A deep copy and its number of nodes. Raises YamlError beyond the budget."""
    if budget <= 0:
        raise YamlError("yaml: document contains excessive aliasing")
    if isinstance(value, dict):
        total = 1
        result: dict[str, Any] = {}
        for key, item in value.items():
            result[key], count = _copy(item, budget - total)
            total += count
        return result, total
    if isinstance(value, list):
        total = 1
        items: list[Any] = []
        for item in value:
            copied, count = _copy(item, budget - total)
            items.append(copied)
            total += count
        return items, total
    return value, 1
