"""`argosy image load`: image archives into the nodes, without a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption
from argosy.cli.progress import Progress


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Images of the nodes.", no_args_is_help=True)
    group.command("load")(load)
    app.add_typer(group, name="image")


def load(
    files: Annotated[list[Path], typer.Argument(help="Archives made by `docker save` or in OCI layout.")],
    name: NameOption = DEFAULT_NAME,
    node: Annotated[list[str] | None, typer.Option(help="Only into this node; more than once.")] = None,
) -> None:
    """Load Docker or OCI image archives into every node."""
    from deploy import launch
    from deploy.layout import Layout

    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: there is no such file")
    layout, progress = Layout(name), Progress()
    if not launch.current(layout).nodes:
        raise ValueError(f"no node of cluster {name!r} is on this machine: load images on the machines that joined")
    with progress.step(f"{len(files)} archive(s) loaded"):
        launch.load_images(layout, [str(file.resolve()) for file in files], node or ())
