"""Options that several commands have."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Annotated

import typer

NameOption = Annotated[str, typer.Option("--name", help="The cluster's name.")]
OutputOption = Annotated[str, typer.Option("-o", "--output", help="text or json.")]
DEFAULT_NAME = "argosy"


def own_name() -> str:
    """How to type the command that runs now: `argosy` where that is found, else the path of its script."""
    script = os.path.abspath(sys.argv[0])
    found = shutil.which("argosy")
    if os.path.basename(script) != "argosy" or (found and os.path.samefile(found, script)):
        return "argosy"
    return os.path.relpath(script) if script.startswith(os.getcwd() + "/") else script


def check_output(output: str) -> bool:
    """True for JSON. Raises ValueError."""
    if output not in ("text", "json"):
        raise ValueError(f"--output {output}: text and json are supported")
    return output == "json"
