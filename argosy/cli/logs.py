"""`argosy logs COMPONENT`: what a process of the cluster wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    component: Annotated[str, typer.Argument(help="As `argosy status` names it, such as etcd-1 or node-1/agent.")],
    name: NameOption = DEFAULT_NAME,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as more is written.")] = False,
    lines: Annotated[int, typer.Option("-n", "--tail", help="Only so many lines of the end; -1: all.")] = -1,
) -> None:
    """Show the log of a process of the cluster, of one that has ended too."""
    from deploy.layout import Layout

    folder = Path(Layout(name).logs)
    files = [folder / f"{component}{suffix}" for suffix in (".err", ".log")]
    there = [str(path) for path in files if path.is_file() and path.resolve().is_relative_to(folder)]
    if not there:
        known = sorted({str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.log")})
        raise FileNotFoundError(f"{component} has no log in {folder}; there are: {', '.join(known) or 'none'}")
    count = "+1" if lines < 0 else str(lines)
    line = ["tail", "-q", "-n", count, *(["-F"] if follow else []), *there]
    sys.stdout.flush()
    if follow:
        os.execvp(line[0], line)  # noqa: S606  # becomes tail
    subprocess.run(line, check=False)
