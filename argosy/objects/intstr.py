"""IntOrString: a number, or a percentage of one (maxSurge, maxUnavailable) or a port's name (targetPort)."""

from __future__ import annotations

import re

_PERCENT = re.compile(r"([0-9]{1,9})%", re.ASCII)

IntOrString = int | str


def percent(value: object) -> int | None:
    """N of `N%`; None for anything else."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) if match else None


def scaled(value: object, total: int, *, round_up: bool) -> int:
    """`value` itself, or that percentage of `total`, rounded up or down. Raises ValueError otherwise."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    share = percent(value)
    if share is None:
        raise ValueError(f"invalid value for IntOrString: invalid type: string is not a percentage: {value!r}")
    return -(-share * total // 100) if round_up else share * total // 100
