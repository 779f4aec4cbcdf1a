"""Environments to compile expressions in, and expressions to evaluate; the only importer of cel-expr-python.

An evaluation stops after 10,000 iterations of its loops (cel-cpp's own bound), some milliseconds. Loading the
library costs memory, so that it waits for the first expression.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

MAX_EXPRESSION_CHARS: Final = 64 << 10
_PLACE: Final = re.compile(r"^INVALID_ARGUMENT: |\s*\[INVALID_ARGUMENT\]$")
_CODE: Final = re.compile(r"^[A-Z_]+: ")
_NO_KEY: Final = re.compile(r'Key not found in map : "?(.*?)"?$')
_NO_INDEX: Final = re.compile(r"Index error: index=(-?\d+) size=\d+")


class CelError(Exception):
    """An expression that cannot be compiled or evaluated; the message is for its author."""


@cache
def _library() -> Any:
    from cel_expr_python import cel

    return cel


@cache
def _extensions() -> tuple[Any, ...]:
    from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

    return (
        ext_strings.ExtStrings(),
        ext_optional.ExtOptional(),
        ext_math.ExtMath(),
        ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
    )


@cache
def _functions() -> tuple[Any, ...]:
    from control_plane.apiserver.cel.functions import declarations

    return declarations(_library())


class Expression:
    """A compiled expression. `type` is CEL's name of its result: BOOL, STRING, DYN…"""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self.type: str = compiled.return_type().name()

    def evaluate(self, data: Mapping[str, Any]) -> Any:
        """The result as Python's own. Raises CelError."""
        try:
            result = self._compiled.eval(data=data)
        except RuntimeError as error:
            raise CelError(_shown(str(error))) from None
        value = result.value()
        if result.type().name() == "ERROR":
            raise CelError(_shown(str(value)))
        return value


class Environment:
    """Variables by name, of types in CEL's text form (`dyn`, `string`, `list(int)`, `pkg.Message`)."""

    def __init__(self, variables: Mapping[str, str], pool: Any = None) -> None:
        cel = _library()
        types = {name: _type(cel, text) for name, text in variables.items()}
        self._environment = cel.NewEnv(
            pool, variables=types, extensions=list(_extensions()), functions=list(_functions())
        )

    def compile(self, text: str) -> Expression:
        """Raises CelError, with every fault and its place."""
        if len(text) > MAX_EXPRESSION_CHARS:
            raise CelError(f"an expression may have at most {MAX_EXPRESSION_CHARS} characters")
        try:
            return Expression(self._environment.compile(text))
        except RuntimeError as error:
            raise CelError(_PLACE.sub("", str(error)).replace(" (in container '')", "")) from None


_SCALARS: Final = ("string", "int", "uint", "double", "bool", "bytes", "timestamp", "duration", "dyn", "null")


def _type(cel: Any, text: str) -> Any:
    """The library reads no nested types by itself."""
    if text in _SCALARS:
        return getattr(cel.Type, text.upper())
    if text.startswith("list("):
        return cel.Type.List(_type(cel, text[5:-1]))
    if text.startswith("map(string, "):
        return cel.Type.Map(cel.Type.STRING, _type(cel, text[12:-1]))
    return cel.Type(text)


def _shown(text: str) -> str:
    """cel-cpp's faults in the words of cel-go."""
    text = _CODE.sub("", text)
    for pattern, form in ((_NO_KEY, "no such key: {}"), (_NO_INDEX, "index out of bounds: {}")):
        match = pattern.search(text)
        if match:
            return form.format(match[1])
    if text.startswith("Iteration budget exceeded"):
        return "operation cancelled: actual cost limit exceeded"
    if text.startswith("No matching overloads found"):
        return f"no such overload: {text.partition(' : ')[2]}"
    return {"divide by zero": "division by zero"}.get(text, text)
