"""`python -m argosy.cli`: the same as the `argosy` command."""

from argosy.cli import main

main()
