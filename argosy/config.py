"""Flags from dataclasses: each field of a process's Config is one `--kebab-case` flag.

A field is declared with `option(default, help)`; without a default the flag is required. Types: str, int, float,
bool (`--flag` / `--no-flag`) and tuple[str, ...] (comma-separated). Every process has one flag more, which is about
its machine and not about what it does: `--fault-controls` (argosy.fault_controls).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, Final, TypeVar, cast, get_type_hints

from argosy import fault_controls

C = TypeVar("C")
FAULT_CONTROLS: Final = "--fault-controls"


def option(default: Any = dataclasses.MISSING, help: str = "") -> Any:  # noqa: A002  # argparse's own word
    """Declare one flag; units belong into the field's name (`lease_ms`) or the help."""
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})


def parser(config: type[object], program: str, description: str) -> argparse.ArgumentParser:
    """The argument parser of a dataclass."""
    result = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    hints = get_type_hints(config)
    for item in dataclasses.fields(cast(Any, config)):
        flag = "--" + item.name.replace("_", "-")
        hint = hints[item.name]
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        text = item.metadata.get("help", "")
        default = None if required else item.default
        if hint is bool:
            result.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=text)
        elif hint == tuple[str, ...]:
            result.add_argument(flag, type=_list, default=default, required=required, help=text)
        elif hint in (str, int, float):
            result.add_argument(flag, type=hint, default=default, required=required, help=text)
        else:
            raise TypeError(f"{config.__name__}.{item.name}: flags of type {hint} are not supported")
    return result


def parse(config: type[C], program: str, description: str, arguments: Sequence[str] | None = None) -> C:
    """Parse `arguments` (default: the process's). Exits with 2 and a message on a bad flag."""
    reading = parser(config, program, description)
    reading.add_argument(FAULT_CONTROLS, metavar="FILE", default="", help="faults of its clock and disk, for tests")
    values = vars(reading.parse_args(arguments))
    controls = str(values.pop("fault_controls"))
    if arguments is None:
        try:
            fault_controls.use(controls)
        except (OSError, ValueError) as error:
            reading.error(f"{FAULT_CONTROLS}: {error}")
    return config(**values)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)
