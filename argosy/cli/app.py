"""Puts the commands together, and turns errors that a user can act on into one message and exit code 1."""

from __future__ import annotations

import os
import sys

import typer

from argosy.cli import chaos, down, image, join, logs, node, server, status, token, up

app = typer.Typer(
    name="argosy",
    help="Kubernetes in Python: real clusters in seconds, on one machine (up) or on several (server, join).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (up, down, server, join, token, status, node, image, logs, chaos):
    command.register(app)


def run() -> None:
    """Run the command of this process's arguments; exits."""
    # System tools are in folders that a user's PATH may lack.
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    try:
        app()
    except Exception as error:
        if not _is_for_users(error):
            raise
        sys.stdout.flush()
        print(f"argosy: {error}", file=sys.stderr)
        sys.exit(1)


def _is_for_users(error: Exception) -> bool:
    """Errors that say what to do; anything else is a bug, and its traceback helps."""
    from argosy.objects.status import ApiError

    if isinstance(error, ApiError | ValueError | PermissionError | FileNotFoundError):
        return True
    return type(error).__module__.partition(".")[0] == "deploy"
