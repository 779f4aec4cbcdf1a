"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

NameOption = Annotated[str, typer.Option("--name", help="The cluster's name.")]
OutputOption = Annotated[str, typer.Option("-o", "--output", help="text or json.")]
DEFAULT_NAME = "argosy"


def check_output(output: str) -> bool:
    """True for JSON. Raises ValueError."""
    if output not in ("text", "json"):
        raise ValueError(f"--output {output}: text and json are supported")
    return output == "json"
