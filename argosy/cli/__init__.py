"""The command line: `argosy up | down | server | join | token | status | node | image | logs`, one command per file.

The commands' work is in `deploy`, imported when a command runs, so that `argosy --help` and `argosy[SDK only]` need
none of it.
"""

from __future__ import annotations


def main() -> None:
    """The console script."""
    from argosy.cli.app import run

    run()
