"""JSON values as YAML in block style, as sigs.k8s.io/yaml writes them: keys sorted, doubtful text in double quotes.

PyYAML takes half a minute for a list of 5,000 pods, in which the server would answer nobody; this is JSON only, and
linear.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import orjson

_PLAIN: Final = re.compile(r"[A-Za-z_/$][ -~]*", re.ASCII)
_DOUBTFUL: Final = re.compile(r": |:$| #|[\"'\\]| $")
"""Text that cannot be anything but text; what is not sure is quoted."""
_UNSEEN: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON lets stand in a text, and YAML does not."""
LONG_CHARS: Final = 256
"""Texts from here on are not remembered."""
_WORDS: Final = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


def dump(value: Any) -> bytes:
    """The whole document."""
    lines: list[str] = []
    _block(value, "", "", lines)
    lines.append("")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@lru_cache(maxsize=16384)
def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and not _DOUBTFUL.search(value) and value.lower() not in _WORDS:
        return value
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", orjson.dumps(value).decode())


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value) if len(value) < LONG_CHARS else _text.__wrapped__(value)
    if isinstance(value, dict | list):
        return "{}" if isinstance(value, dict) else "[]"
    return orjson.dumps(value).decode()


def _block(value: Any, head: str, indent: str, lines: list[str]) -> None:
    """`value` after `head` (a key or a dash, with its indentation); deeper lines start with `indent`."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            item = value[key]
            start = f"{head or indent}{_scalar(key)}:"
            head = ""
            if isinstance(item, dict) and item:
                lines.append(start)
                _block(item, "", indent + "  ", lines)
            elif isinstance(item, list) and item:
                lines.append(start)
                _block(item, "", indent, lines)
            else:
                lines.append(f"{start} {_scalar(item)}")
    elif isinstance(value, list) and value:
        for item in value:
            start = f"{head or indent}- "
            head = ""
            _block(item, start, indent + "  ", lines)
    else:
        lines.append(f"{head or indent}{_scalar(value)}")
