"""`argosy image`: image archives into the nodes, without a registry, and images made of Debian packages."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption
from argosy.cli.progress import Progress


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Images of the nodes.", no_args_is_help=True)
    group.command("load")(load)
    group.command("from-packages")(from_packages)
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
    _check_nodes(name)
    with progress.step(f"{len(files)} archive(s) loaded"):
        launch.load_images(layout, [str(file.resolve()) for file in files], node or ())


def _check_nodes(name: str) -> None:
    from deploy import launch
    from deploy.layout import Layout

    if not launch.current(Layout(name)).nodes:
        raise ValueError(f"no node of cluster {name!r} is on this machine: load images on the machines that joined")


def from_packages(
    image: Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="What the image is called.")],
    packages: Annotated[list[str], typer.Argument(help="Debian packages; what they need comes along.")],
    command: Annotated[str, typer.Option(help="What it runs, as one string: 'redis-server --port 6379'.")] = "",
    user: Annotated[str, typer.Option(help="Who runs it: NAME, UID or UID:GID; else root.")] = "",
    expose: Annotated[list[str] | None, typer.Option(help="A port it serves: 6379, 53/udp; more than once.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; more than once.")] = None,
    writable: Annotated[list[str] | None, typer.Option(help="A folder that the user owns; more than once.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="A path to leave out, * for any; more than once.")] = None,
    load: Annotated[bool, typer.Option("--load", help="Load it into every node.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the archive to this file.")] = None,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Make an image of Debian packages: fetched by apt, not installed; no Docker needed."""
    from deploy import launch, package_image
    from deploy.layout import Layout

    if not load and output is None:
        raise ValueError("say where the image is to go: --load, or --output FILE")
    if load:
        _check_nodes(name)
    spec = package_image.PackageImage(
        image, packages, shlex.split(command), user, expose or (), env or (), writable or (), without or ()
    )
    progress = Progress()
    with progress.step(f"{package_image.full_name(image)} made"):
        archive = package_image.build(spec)
    if output is not None:
        with progress.step(f"{output} written"):
            shutil.copyfile(archive, output)
    if load:
        with progress.step("loaded"):
            launch.load_images(Layout(name), [str(archive)])
