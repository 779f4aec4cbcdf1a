"""`argosy down`: stop a cluster and remove everything of it but its logs."""

from __future__ import annotations

import os

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption
from argosy.cli.progress import Progress


def register(app: typer.Typer) -> None:
    app.command("down")(down)


def down(name: NameOption = DEFAULT_NAME) -> None:
    """Stop a cluster and remove everything of it but its logs, whatever state it is in."""
    from deploy import cleanup, kubeconfig, launch
    from deploy.layout import Layout

    layout = Layout(name)
    if os.geteuid() != 0:
        raise PermissionError("removing a cluster needs root: run it with sudo")
    file = kubeconfig.path(os.environ)
    if not cleanup.exists(layout):
        kubeconfig.remove(file, name)
        print(f"There is no cluster {name!r}.")
        return
    progress = Progress()
    with launch.changing(layout), progress.step(f"cluster {name!r} is removed"):
        launch.stop(layout)
        kubeconfig.remove(file, name)
    print(f"Its logs are in {layout.logs}.")
